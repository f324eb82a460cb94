//! Seeded simulation of the ownership protocol: the daemon's own state machines
//! on virtual time, with everything going wrong that can. `seeds` says how to run
//! one seed and how to run many, `invariants` what must hold.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod clock;
mod cluster;
mod faults;
mod invariants;
mod lan;
mod node;
mod record;
mod requests;
mod scenarios;
mod seeds;
mod store;
mod watching;
mod world;

use scenarios::{calm, hands, losses, moves, probes, spread, storms};
use seeds::explore;

#[test]
fn storm_of_failures() {
    explore(1, |seed| storms::storm(seed, storms::FAILURES));
}

#[test]
fn storm_of_api_trouble() {
    explore(1, |seed| storms::storm(seed, storms::API_TROUBLE));
}

#[test]
fn storm_of_changes() {
    explore(1, |seed| storms::storm(seed, storms::CHANGES));
}

#[test]
fn storm_of_drains() {
    explore(1, |seed| storms::storm(seed, storms::DRAINS));
}

#[test]
fn storm_of_hands() {
    explore(1, |seed| storms::storm(seed, storms::HANDS));
}

#[test]
fn storm_of_renames() {
    explore(1, |seed| storms::storm(seed, storms::RENAMES));
}

#[test]
fn storm_with_clocks_apart() {
    explore(1, |seed| storms::storm(seed, storms::DRIFTING));
}

#[test]
fn storm_with_one_clock_fast() {
    explore(1, |seed| storms::storm(seed, storms::ONE_FAST));
}

#[test]
fn first_claims_are_probed_and_takeovers_are_not() {
    explore(4, probes::first);
}

#[test]
fn storm_of_failures_with_probing() {
    explore(8, probes::storm);
}

#[test]
fn who_is_killed_while_it_probes_probes_again() {
    explore(4, probes::killed);
}

#[test]
fn rest_is_cheap() {
    explore(4, calm::rest);
}

#[test]
fn nothing_moves_for_an_outage() {
    explore(2, calm::outage);
}

#[test]
fn nothing_moves_for_a_restart_of_the_api_server() {
    explore(4, calm::restart);
}

#[test]
fn nothing_moves_for_a_frozen_watch() {
    explore(2, calm::frozen);
}

#[test]
fn nothing_moves_for_an_edited_lease() {
    explore(2, hands::edited);
}

#[test]
fn nothing_moves_for_a_lease_edited_before_an_outage() {
    explore(2, hands::edited_before_an_outage);
}

#[test]
fn a_lease_that_cannot_be_restored_does_no_harm() {
    explore(2, hands::unrestored);
}

#[test]
fn an_unseen_successor_is_not_robbed() {
    explore(2, hands::unseen_successor);
}

#[test]
fn an_unseen_session_is_not_robbed() {
    explore(2, hands::unseen_session);
}

#[test]
fn a_late_take_changes_nothing() {
    explore(2, hands::late_take);
}

#[test]
fn a_late_release_changes_nothing() {
    explore(2, hands::late_release);
}

#[test]
fn a_late_creation_changes_nothing() {
    explore(2, hands::late_creation);
}

#[test]
fn a_dead_holder_is_replaced_in_time() {
    explore(2, losses::crash);
}

#[test]
fn a_holder_that_is_back_and_may_not_is_replaced() {
    explore(2, losses::back_elsewhere);
}

#[test]
fn a_daemon_drained_before_it_knows_anything_does_no_harm() {
    explore(1, losses::drained_unknowing);
}

#[test]
fn a_node_whose_link_is_back_makes_way_for_its_successors() {
    explore(2, losses::relinked);
}

#[test]
fn a_last_survivor_answers_for_all() {
    explore(2, losses::last_survivor);
}

#[test]
fn a_holder_cut_off_is_replaced() {
    explore(1, losses::holder_cut_off);
}

#[test]
fn a_follower_cut_off_changes_nothing() {
    explore(4, losses::follower_cut_off);
}

#[test]
fn a_stopped_holder_that_goes_on_stays_silent() {
    explore(1, losses::stopped);
}

#[test]
fn a_daemon_restarted_on_trust_claims_no_more() {
    explore(2, losses::restarted_on_trust);
}

#[test]
fn answers_that_come_late_entitle_to_nothing() {
    explore(2, losses::slow_answers);
}

#[test]
fn a_holder_that_knows_it_was_fenced_is_silent() {
    explore(2, losses::fenced_and_told);
}

#[test]
fn a_lone_node_answers_again() {
    explore(2, losses::alone);
}

#[test]
fn planned_moves_have_no_gap() {
    explore(1, moves::planned);
}

#[test]
fn a_thousand_vips_are_spread_evenly() {
    explore(300, spread::thousand);
}

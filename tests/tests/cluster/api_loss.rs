//! The API server is away, and comes back: nothing moves, and nothing is rewritten.

use std::time::Duration;

use announcer_apiserver::Outage;
use announcer_tests::cluster::Timing;

use crate::{Mode, QUICK, outage::outage};

// The longest first and side by side: tests begin in the order of their names.
#[test]
fn a_whole_minute_without_the_server_is_held_through() {
    faulty(Mode::Hold, Outage::Refuse, Timing::DEFAULT, Duration::from_secs(60));
}

#[test]
fn a_whole_minute_without_the_server_moves_nothing_that_was_withdrawn() {
    faulty(Mode::Withdraw, Outage::Refuse, Timing::DEFAULT, Duration::from_secs(60));
}

#[test]
fn hold_answers_through_a_refusing_server() {
    faulty(Mode::Hold, Outage::Refuse, QUICK, QUICK.lease * 4);
}

#[test]
fn hold_answers_through_a_black_hole() {
    faulty(Mode::Hold, Outage::BlackHole, QUICK, QUICK.lease * 4);
}

#[test]
fn withdraw_goes_dark_in_time_for_a_refusing_server() {
    faulty(Mode::Withdraw, Outage::Refuse, QUICK, QUICK.lease * 4);
}

#[test]
fn withdraw_goes_dark_in_time_for_a_black_hole() {
    faulty(Mode::Withdraw, Outage::BlackHole, QUICK, QUICK.lease * 4);
}

fn faulty(mode: Mode, how: Outage, timing: Timing, length: Duration) {
    outage(mode, timing, length, |cluster, away| {
        let outage = cluster.server().faults().outage(how);
        away.pass();
        outage.end();
    });
}

//! What is explored. `cargo xtask test` runs this module beside everything else.

use std::time::{Duration, Instant};

use announcer::ownership::{heartbeat::OnApiLoss, timing::Timing};
use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    landmarks::{Landmark, Landmarks},
    node,
    scope::{Faults, Orders, Scope},
    story,
};

/// Explores all of it, and says how much that was. Fails with the shortest path to
/// what is broken, and if it found fewer states than `least`, or did not come
/// across all of `landmarks`.
#[expect(clippy::print_stderr, reason = "for a person who runs it with --nocapture")]
fn explore(mut scope: Scope, least: usize, landmarks: &[Landmark]) {
    let number = |name| std::env::var(name).map_or(0, |n| n.parse().expect("a small number"));
    scope.faults = scope.faults.and(number("MODEL_FAULTS"));
    scope.horizon += u16::from(number("MODEL_TICKS"));
    let begun = Instant::now();
    let checker = scope.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let scope = checker.model();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    let (depth, took) = (checker.max_depth(), begun.elapsed().as_secs_f32());
    eprintln!("{states} states, {steps} transitions, {depth} deep, {took:.1} s, {:?}", scope.seen);
    if let Some(path) = checker.discovery("sound") {
        panic!("{}", story::tell(scope, path));
    }
    assert!(checker.is_done(), "the exploration was cut short");
    assert!(states >= least, "no more than {states} states: it has not done what it should");
    for landmark in landmarks.iter().chain([&Landmark::Ended]) {
        assert!(scope.seen.count(*landmark) > 0, "no path came across {landmark:?}");
    }
}

/// Two nodes with clocks of the same rate, settled, and the first one has the VIP.
fn two_nodes(orders: Orders, horizon: u16, faults: Faults) -> Scope {
    Scope {
        names: node::names(2),
        vip: "192.0.2.10".parse().expect("a VIP"),
        timing: Timing::new(10 * TICK, 4 * TICK).expect("timings that work together"),
        handover_timeout: 6 * TICK,
        rebalance: None,
        on_loss: OnApiLoss::Withdraw,
        tick: TICK,
        rates: vec![SAME; 2],
        orders,
        settled: 25,
        horizon,
        calm: 30,
        faults,
        seen: Landmarks::default(),
    }
}

/// A tenth of the lease duration. Twice that is the margin.
const TICK: Duration = Duration::from_millis(100);

/// Rates of clocks: one that is right, and one that is too fast by all that the
/// margin allows. For what D less margin is to the one is D to the other.
const SAME: (u64, u64) = (1, 1);
const FAST: (u64, u64) = (5, 4);

const NONE: Faults = Faults {
    all: 0,
    late: 0,
    pauses: 0,
    crashes: 0,
    power: 0,
    cuts: 0,
    outages: 0,
    hands: 0,
    deletions: 0,
    drains: 0,
};

/// Whatever may happen, but once in all.
const ANY: Faults = Faults {
    all: 1,
    late: 1,
    pauses: 1,
    crashes: 1,
    power: 1,
    cuts: 1,
    outages: 1,
    hands: 1,
    deletions: 1,
    drains: 1,
};

#[test]
fn one_breakdown_in_every_order() {
    let faults = Faults { all: 1, late: 1, pauses: 1, crashes: 1, power: 1, cuts: 1, ..NONE };
    explore(
        two_nodes(Orders::Every, 14, faults),
        280_000,
        &[
            Landmark::Fenced,
            Landmark::FenceRefused,
            Landmark::TakenOver,
            Landmark::Adopted,
            Landmark::WentOn,
            Landmark::LostSession,
            Landmark::AppliedLate,
            Landmark::Conflict,
        ],
    );
}

#[test]
fn one_breakdown_in_every_order_where_nodes_hold_on() {
    let faults = Faults { all: 1, late: 1, pauses: 1, crashes: 1, cuts: 1, ..NONE };
    let scope = two_nodes(Orders::Every, 15, faults);
    explore(
        Scope { on_loss: OnApiLoss::Hold, ..scope },
        360_000,
        &[Landmark::TakenOver, Landmark::Adopted, Landmark::Yielded],
    );
}

#[test]
fn one_breakdown_in_every_order_while_the_other_clock_is_fast() {
    let faults = Faults { all: 1, late: 1, pauses: 1, cuts: 1, ..NONE };
    let scope = two_nodes(Orders::Every, 16, faults);
    explore(
        Scope { rates: vec![SAME, FAST], ..scope },
        190_000,
        &[Landmark::Fenced, Landmark::FenceRefused, Landmark::TakenOver],
    );
}

#[test]
fn a_lease_deleted_or_edited_in_every_order() {
    let faults = Faults { all: 2, hands: 2, deletions: 1, ..NONE };
    explore(
        two_nodes(Orders::Every, 13, faults),
        340_000,
        &[Landmark::Restored, Landmark::LostSession, Landmark::Conflict],
    );
}

#[test]
fn a_node_drained_in_every_order() {
    explore(
        two_nodes(Orders::Every, 14, Faults { all: 1, drains: 1, ..NONE }),
        27_000,
        &[Landmark::HandedOver, Landmark::Yielded],
    );
}

#[test]
fn all_nodes_boot_in_every_order() {
    let scope = two_nodes(Orders::Every, 15, Faults { all: 1, late: 1, ..NONE });
    explore(Scope { settled: 0, ..scope }, 70_000, &[Landmark::Taken, Landmark::Conflict]);
}

#[test]
fn all_nodes_boot_while_something_breaks() {
    // Not with the VIP lease deleted: see the known limits in ARCHITECTURE.md.
    let scope = two_nodes(Orders::Usual, 14, Faults { deletions: 0, ..ANY });
    explore(Scope { settled: 0, ..scope }, 140_000, &[Landmark::AppliedLate, Landmark::Fenced]);
}

#[test]
fn two_breakdowns_while_the_other_clock_is_fast() {
    let faults = Faults { all: 2, late: 1, pauses: 1, cuts: 1, ..NONE };
    explore(
        Scope { rates: vec![SAME, FAST], ..two_nodes(Orders::Usual, 13, faults) },
        570_000,
        &[Landmark::FenceRefused, Landmark::TakenOver, Landmark::WentOn],
    );
}

#[test]
fn a_death_and_another_breakdown() {
    let faults = Faults { all: 2, late: 1, crashes: 1, pauses: 1, ..NONE };
    explore(
        two_nodes(Orders::Usual, 13, faults),
        540_000,
        &[Landmark::Adopted, Landmark::TakenOver, Landmark::AppliedLate],
    );
}

#[test]
fn an_outage_and_another_breakdown() {
    let faults = Faults { all: 2, late: 1, outages: 1, pauses: 1, ..NONE };
    explore(
        Scope { on_loss: OnApiLoss::Hold, ..two_nodes(Orders::Usual, 11, faults) },
        530_000,
        &[Landmark::WentOn, Landmark::AppliedLate],
    );
}

#[test]
fn a_lease_deleted_or_edited_while_something_breaks() {
    let faults = Faults { all: 2, late: 1, cuts: 1, hands: 1, deletions: 1, ..NONE };
    explore(
        two_nodes(Orders::Usual, 8, faults),
        150_000,
        &[Landmark::Restored, Landmark::Conflict],
    );
}

#[test]
fn a_node_starts_while_a_lease_is_deleted_or_edited_in_every_order() {
    let faults = Faults { all: 2, power: 1, hands: 1, deletions: 1, ..NONE };
    explore(
        two_nodes(Orders::Every, 3, faults),
        370_000,
        &[Landmark::Restored, Landmark::Conflict],
    );
}

#[test]
fn a_lease_deleted_while_a_watch_is_late() {
    let faults = Faults { all: 2, late: 1, hands: 1, deletions: 1, ..NONE };
    explore(
        two_nodes(Orders::Usual, 14, faults),
        160_000,
        &[Landmark::Restored, Landmark::FenceRefused],
    );
}

#[test]
fn a_node_drained_while_something_breaks() {
    let faults = Faults { all: 2, late: 1, cuts: 1, drains: 1, ..NONE };
    explore(
        two_nodes(Orders::Usual, 8, faults),
        300_000,
        &[Landmark::HandedOver, Landmark::Yielded],
    );
}

#[test]
fn a_vip_moved_to_where_it_belongs_while_something_breaks() {
    // The other node is trusted with it three lease durations after its boot.
    let scope = Scope { settled: 39, ..two_nodes(Orders::Usual, 10, ANY) };
    explore(
        Scope { rebalance: Some(TICK), ..scope },
        69_000,
        &[Landmark::HandedOver, Landmark::Yielded, Landmark::Restored],
    );
}

#[test]
fn a_vip_moved_to_where_it_belongs_while_its_lease_is_edited_and_messages_are_late() {
    let faults = Faults { all: 2, late: 1, hands: 1, deletions: 1, ..NONE };
    let scope = Scope { settled: 40, ..two_nodes(Orders::Usual, 9, faults) };
    explore(
        Scope { rebalance: Some(TICK), ..scope },
        140_000,
        &[Landmark::HandedOver, Landmark::Yielded, Landmark::Restored],
    );
}

#[test]
fn three_nodes_and_one_breakdown() {
    let scope = two_nodes(Orders::Usual, 14, ANY);
    explore(
        Scope { names: node::names(3), rates: vec![SAME, FAST, SAME], ..scope },
        120_000,
        &[Landmark::Fenced, Landmark::TakenOver, Landmark::HandedOver, Landmark::Conflict],
    );
}

#[test]
fn three_nodes_and_two_breakdowns() {
    let scope = two_nodes(Orders::Usual, 11, Faults { all: 2, late: 1, crashes: 1, ..NONE });
    explore(
        Scope { names: node::names(3), rates: vec![SAME; 3], ..scope },
        690_000,
        &[Landmark::Fenced, Landmark::TakenOver, Landmark::Adopted, Landmark::AppliedLate],
    );
}

#[test]
fn three_nodes_and_one_is_drained_in_every_order() {
    // Without a tick in which all of them renew: that alone makes a million states.
    let scope = two_nodes(Orders::Every, 2, Faults { all: 1, drains: 1, ..NONE });
    explore(
        Scope { names: node::names(3), rates: vec![SAME; 3], ..scope },
        3_400,
        &[Landmark::HandedOver, Landmark::Yielded],
    );
}

#[test]
fn a_node_drained_while_its_lease_is_deleted_or_edited() {
    let faults = Faults { all: 2, drains: 1, hands: 1, deletions: 1, ..NONE };
    explore(
        two_nodes(Orders::Usual, 12, faults),
        270_000,
        &[Landmark::HandedOver, Landmark::Restored],
    );
}

//! The API server is away, and comes back: nothing moves, and nothing is rewritten.

use std::time::{Duration, Instant};

use announcer_apiserver::{Audited, LEASES, Match, Outage, Verb};
use announcer_tests::{
    cluster::{Cluster, NodeLease, SOON, Timing},
    probe::ProbeHandle,
    recording::Recording,
};

use crate::{Mode, QUICK, held_by_node_1, leases, millis};

// The longest first and side by side: tests begin in the order of their names.
#[test]
fn a_whole_minute_without_the_server_is_held_through() {
    outage(Mode::Hold, Outage::Refuse, Timing::DEFAULT, Duration::from_secs(60));
}

#[test]
fn a_whole_minute_without_the_server_moves_nothing_that_was_withdrawn() {
    outage(Mode::Withdraw, Outage::Refuse, Timing::DEFAULT, Duration::from_secs(60));
}

#[test]
fn hold_answers_through_a_refusing_server() {
    outage(Mode::Hold, Outage::Refuse, QUICK, QUICK.lease * 4);
}

#[test]
fn hold_answers_through_a_black_hole() {
    outage(Mode::Hold, Outage::BlackHole, QUICK, QUICK.lease * 4);
}

#[test]
fn withdraw_goes_dark_in_time_for_a_refusing_server() {
    outage(Mode::Withdraw, Outage::Refuse, QUICK, QUICK.lease * 4);
}

#[test]
fn withdraw_goes_dark_in_time_for_a_black_hole() {
    outage(Mode::Withdraw, Outage::BlackHole, QUICK, QUICK.lease * 4);
}

fn outage(mode: Mode, how: Outage, timing: Timing, length: Duration) {
    let mut cluster = mode.cluster(3, timing);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_renewals(1).unwrap();
    let before = leases(&cluster);

    let began = Instant::now();
    let outage = cluster.server().faults().outage(how);
    let in_force = Instant::now();
    if mode == Mode::Withdraw {
        let last = probe.wait_until_dark(Duration::from_millis(100), SOON).unwrap().unwrap();
        let went_on = last.sent.saturating_duration_since(in_force);
        println!("answered without the API server: {:.0} ms", millis(went_on));
        assert!(went_on <= timing.validity(), "{went_on:?}");
    }
    let rest = (began + length).saturating_duration_since(Instant::now());
    probe.wait_requests(usize::try_from(rest.as_millis()).unwrap()).unwrap();
    let ended = Instant::now();
    outage.end();

    let holder = cluster.lab().node(1).mac;
    let back = probe.wait_answer_by(holder, SOON).unwrap();
    println!("answers again: {:.0} ms", millis(back.at.saturating_duration_since(ended)));
    // Long enough for everybody to take what seems to be free.
    cluster.wait_lease_duration().unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "nothing moved");
    let rewritten = writes_but_renewals(&cluster, began);
    assert!(rewritten.is_empty(), "{rewritten:#?}");
    check_wire(mode, &cluster, probe);
}

fn check_wire(mode: Mode, cluster: &Cluster, probe: ProbeHandle) {
    let recording: Recording = probe.stop().unwrap();
    let holder = cluster.lab().node(1).mac;
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [holder]);
    assert_eq!(recording.duplicated(), 0);
    let gaps = recording.gaps();
    match mode {
        Mode::Hold => assert!(gaps.is_empty(), "{gaps:?}"),
        Mode::Withdraw => assert_eq!(gaps.len(), 1, "{gaps:?}"),
    }
}

/// What was written since `from`, but for each announcer's renewals of its own lease.
fn writes_but_renewals(cluster: &Cluster, from: Instant) -> Vec<Audited> {
    let mut writes = cluster.audit().recent(&Match::any().writes());
    writes.retain(|entry| {
        let request = &entry.request;
        let renewal = request.verb == Verb::Update
            && request.resource == Some(LEASES)
            && request.name == NodeLease::name(&request.client);
        entry.at >= from && entry.wrote.is_some() && !renewal
    });
    writes
}

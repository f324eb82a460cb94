//! Announcers that hang.

use std::time::{Duration, Instant};

use announcer_tests::{
    cluster::{SOON, Timing},
    daemon::Signal,
};

use crate::{VIP, cluster, held_by_node_1, millis};

#[test]
fn a_stopped_announcer_falls_silent_by_itself_and_does_not_come_back() {
    let timing = Timing::DEFAULT;
    let mut cluster = cluster(3, timing, []);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    let hung = lab.node(1);
    let session = cluster.node_lease(1).unwrap().session;

    let daemon = cluster.daemon(1).unwrap();
    daemon.signal(Signal::Stop).unwrap();
    let stopped = Instant::now();
    let last = probe.wait_until_dark(Duration::from_millis(100), SOON).unwrap().unwrap();
    let went_on = last.sent.saturating_duration_since(stopped);
    println!("answered after SIGSTOP: {:.0} ms", millis(went_on));
    assert_eq!(last.mac, hung.mac);
    assert!(went_on <= timing.validity(), "{went_on:?}");

    let successor = lab.node(cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap());
    let first = probe.wait_answer_by(successor.mac, SOON).unwrap();
    println!("dark: {:.0} ms", millis(first.sent.saturating_duration_since(last.sent)));
    daemon.signal(Signal::Cont).unwrap();
    // It notices, and begins anew.
    cluster
        .wait_for_node_lease(1, SOON, |lease| lease.is_open() && lease.session != session)
        .unwrap();
    cluster.wait_renewals(3).unwrap();
    assert_ne!(cluster.holder(VIP), Some(1));
    let recording = probe.stop().unwrap();
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    let after = recording.between(first.sent, recording.to);
    let answerers: Vec<_> = after.answerers().into_keys().collect();
    assert_eq!((answerers, after.unanswered()), (vec![successor.mac], 0));
}

//! Announcers that are ended and restarted: nothing is lost.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use announcer_tests::{
    arp::{ArpFrame, Mac},
    capture::Injector,
    cluster::{Cluster, SOON, Timing},
    lab::CLIENT_NIC,
    neighbour,
};

use crate::{
    VIP, cluster, held_by_node_1, millis, quick,
    wire::{OVERLAP, handed_over, steady},
};

#[test]
fn a_killed_announcer_that_is_back_in_time_has_lost_nothing() {
    // Longer than the default, for machines on which a start takes long.
    let timing = Timing { lease: Duration::from_secs(6), renew: Duration::from_secs(1) };
    let mut cluster = cluster(3, timing, []);
    let probe = held_by_node_1(&mut cluster);
    let leases = |cluster: &Cluster| (cluster.vip_lease(VIP), cluster.node_lease(1));
    let before = leases(&cluster);
    for _ in 0..2 {
        cluster.kill(1).unwrap();
        cluster.start(1).unwrap();
    }
    // Until what the killed ones had promised is long over.
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "no lease moved");
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn an_orderly_end_hands_over_without_a_gap() {
    let mut cluster = cluster(3, Timing::DEFAULT, []);
    let probe = held_by_node_1(&mut cluster);
    let first = cluster.lab().node(1).mac;
    assert_eq!(neighbour::resolve(cluster.lab().client(), VIP, SOON).unwrap(), first);

    cluster.terminate(1, SOON).unwrap();
    let holder = cluster.holder(VIP).unwrap();
    assert_ne!(holder, 1);
    let successor = cluster.lab().node(holder).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    neighbour::wait_for_mac(cluster.lab().client(), VIP, successor, SOON).unwrap();
    probe.wait_requests(500).unwrap();
    let recording = probe.stop().unwrap();

    let overlaps = recording.overlaps();
    let overlap: Duration = overlaps.iter().map(|o| o.to.saturating_duration_since(o.from)).sum();
    println!("answered by two: {} in {:.1} ms", recording.contested(), millis(overlap));
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    assert!(overlap <= OVERLAP, "{overlaps:?}");
    assert_eq!(recording.answerers().len(), 2, "one successor");
    assert_eq!(neighbour::mac_of(cluster.lab().client(), VIP).unwrap(), Some(successor));
}

/// The announcement at which the old holder stops is not lost among those of a stranger.
#[test]
fn a_stranger_that_claims_the_vip_all_the_time_does_not_prolong_a_handover() {
    const STRANGER: Mac = Mac([0x02, 0, 0, 0, 0xbb, 1]);
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let injector = Injector::open(cluster.lab().client(), CLIENT_NIC).unwrap();
    let claim = ArpFrame::request(STRANGER, VIP, VIP).to_padded_bytes();
    let ended = AtomicBool::new(false);
    let holder = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) && injector.send(&claim).is_ok() {
                thread::sleep(Duration::from_millis(2));
            }
        });
        let over = cluster.terminate(1, SOON);
        let holder = over.and_then(|()| cluster.wait_for_holder(VIP, SOON, |n| n != 1));
        let more = probe.wait_requests(300);
        ended.store(true, Ordering::Relaxed);
        more.and(holder)
    });
    let successor = cluster.lab().node(holder.unwrap()).mac;
    handed_over(&probe.stop().unwrap(), successor);
}

#[test]
fn a_rolling_restart_loses_nothing() {
    let mut cluster = cluster(3, Timing::DEFAULT, []);
    let probe = held_by_node_1(&mut cluster);
    for n in 1..=3 {
        cluster.terminate(n, SOON).unwrap();
        cluster.start(n).unwrap();
    }
    let holder = cluster.holder(VIP).unwrap();
    probe.wait_answer_by(cluster.lab().node(holder).mac, SOON).unwrap();
    probe.wait_requests(500).unwrap();
    let recording = probe.stop().unwrap();
    println!("answered by two: {} of {}", recording.contested(), recording.requests.len());
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

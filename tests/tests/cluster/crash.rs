//! Nodes that vanish, and come back.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use announcer_tests::{
    arp::Op,
    backend::http_get,
    cluster::{SOON, Timing},
    lab::Link,
    neighbour,
    topology::Cut,
};

use crate::{Mode, QUICK, VIP, cluster, held_by_node_1, millis, wire::steady};

const ROUNDS: usize = 5;
/// Linux ignores a second announcement within 1 s (net.ipv4.neigh.*.locktime); rounds
/// are 1.1 s apart, less what the machine took to send the first of two.
const LOCKTIME: Duration = Duration::from_secs(1);

#[test]
fn after_a_crash_exactly_one_other_node_answers_and_tells_everybody() {
    let mut cluster = cluster(3, Timing::DEFAULT, []);
    let _backend = cluster.serve("web", VIP).unwrap();
    let probe = held_by_node_1(&mut cluster);
    let (lab, vip) = (cluster.lab(), SocketAddrV4::new(VIP, 80));
    let crashed = lab.node(1);
    cluster.wait_forwarded(VIP, SOON).unwrap();
    assert_eq!(http_get(lab.client(), vip, SOON).unwrap().status, 200);
    assert_eq!(neighbour::mac_of(lab.client(), VIP).unwrap(), Some(crashed.mac));

    let cut = lab.cut(crashed, Link::All, Cut::Silent).unwrap();
    let gone = Instant::now();
    let successor = lab.node(cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap());
    let first = probe.wait_answer_by(successor.mac, SOON).unwrap();
    neighbour::wait_for_mac(lab.client(), VIP, successor.mac, SOON).unwrap();
    assert_eq!(http_get(lab.client(), vip, SOON).unwrap().status, 200);
    probe.wait_announcements(2 * ROUNDS, SOON, |a| a.mac == successor.mac).unwrap();
    // Long enough for a round too many.
    probe.wait_requests(1500).unwrap();
    let recording = probe.stop().unwrap();
    println!("crash to first answer: {:.0} ms", millis(first.at.saturating_duration_since(cut)));

    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    assert_eq!(recording.gaps().len(), 1, "{:?}", recording.gaps());
    let after = recording.between(gone, recording.to);
    assert_eq!(after.answerers().into_keys().collect::<Vec<_>>(), [successor.mac]);

    let announced = after.announcements;
    assert!(announced.iter().all(|a| a.mac == successor.mac), "{announced:?}");
    let of = |op| announced.iter().filter(move |a| a.op == op).map(|a| a.at);
    for op in [Op::Request, Op::Reply] {
        let times: Vec<_> = of(op).collect();
        assert_eq!(times.len(), ROUNDS, "{op:?}");
        let apart: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(apart.iter().all(|&gap| gap > LOCKTIME), "{op:?}: {apart:?}");
    }
    let news = announced.iter().map(|a| a.at).min().unwrap();
    println!("crash to announcement: {:.0} ms", millis(news.saturating_duration_since(cut)));
}

#[test]
fn a_node_that_comes_back_leaves_the_vip_to_its_successor() {
    comes_back(Mode::Hold);
}

#[test]
fn a_node_that_comes_back_without_trust_does_not_answer_once() {
    comes_back(Mode::Withdraw);
}

/// Who was cut off and fenced does not disturb its successor for good: with `hold` it may
/// answer until it has heard of it, with `withdraw` not once.
fn comes_back(mode: Mode) {
    let mut cluster = mode.cluster(2, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    let (returning, successor) = (lab.node(1), lab.node(2));
    let session = cluster.node_lease(1).unwrap().session;
    lab.cut(returning, Link::All, Cut::Silent).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    probe.wait_answer_by(successor.mac, SOON).unwrap();
    lab.restore(returning, Link::All).unwrap();
    // It notices, and begins anew.
    cluster
        .wait_for_node_lease(1, SOON, |lease| lease.is_open() && lease.session != session)
        .unwrap();
    let from = Instant::now();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.holder(VIP), Some(2));
    let recording = probe.stop().unwrap();
    println!("{mode:?}: {} answered by two after the return", recording.contested());
    // It may have to wait for the end of a request that it sent while it was cut off.
    let bound = if mode == Mode::Hold { QUICK.lease } else { Duration::ZERO };
    let both: Duration = recording.overlaps().iter().map(|o| o.to - o.from).sum();
    assert!(both <= bound, "{both:?}: {:?}", recording.overlaps());
    steady(&recording.between(from, recording.to), successor.mac);
}

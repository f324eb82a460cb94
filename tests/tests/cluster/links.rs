//! Interfaces that policies name, and cables that are pulled.

use std::{net::Ipv4Addr, time::Instant};

use announcer_tests::{
    arp::Mac,
    cluster::SOON,
    lab::{CLIENT_MAC, CLIENT_NIC, Link, UPLINK},
    link, neighbour,
    netns::NetNs,
    probe::Probe,
    topology::{Cut, Nic, Segment},
};
use serde_json::{Value, json};

use crate::{
    QUICK, QUIET, STAY, VIP, cluster, held_by_node_1, millis, quick,
    wire::{answerers, handed_over, interrupted, steady},
};

pub(crate) const SECOND: &str = "ens19";

/// Another LAN with a client of its own.
pub(crate) fn second_lan() -> (Segment, NetNs) {
    let mut lan = Segment::new("second LAN").unwrap();
    let client = NetNs::new("second client").unwrap();
    let address = Some((Ipv4Addr::new(203, 0, 113, 1), 24));
    lan.attach(&client, &Nic { name: CLIENT_NIC, mac: CLIENT_MAC, address }).unwrap();
    (lan, client)
}

/// The MAC of node `n`'s second interface.
pub(crate) fn second_mac(n: u8) -> Mac {
    Mac([0x02, 0, 0, 3, 0, n])
}

#[test]
fn a_vip_is_answered_on_the_interfaces_that_its_policy_names() {
    let interfaces = format!("/^({UPLINK}|{SECOND})$/");
    let args = STAY.into_iter().chain(["--interface", &*interfaces]);
    let mut cluster = cluster(2, QUICK, args);
    // Node 1 has one uplink only.
    let (mut lan, client) = second_lan();
    let nic = Nic { name: SECOND, mac: second_mac(2), address: None };
    lan.attach(&cluster.lab().node(2).ns, &nic).unwrap();
    cluster.install_policies().unwrap();
    let on = |interfaces: Value| cluster.set_policy("all", json!({ "interfaces": interfaces }));
    on(json!(["^ens"])).unwrap();
    cluster.create_service("web", VIP).unwrap();
    let first = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let second = Probe::new(VIP).start(&client, CLIENT_NIC).unwrap();
    cluster.start(1).unwrap();
    let [one, two] = [1, 2].map(|n| cluster.lab().node(n).mac);
    first.wait_answer_by(one, SOON).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_renewals(2).unwrap();
    assert_eq!(answerers(&second.snapshot()), [], "its holder is not on that LAN");

    // Only node 2 has such an interface: node 1 hands over, and both fall silent here.
    let on = |interfaces: Value| cluster.set_policy("all", json!({ "interfaces": interfaces }));
    on(json!([format!("^{SECOND}$")])).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    second.wait_answer_by(second_mac(2), SOON).unwrap();
    first.wait_until_dark(QUIET, SOON).unwrap();
    let held = cluster.vip_lease(VIP);

    // On both, and on the other: it stays with node 2.
    on(json!([format!("^{SECOND}$"), format!("^{UPLINK}$")])).unwrap();
    first.wait_answer_by(two, SOON).unwrap();
    cluster.wait_renewals(1).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    let on_second = second.snapshot();
    let since = on_second.answerers()[&second_mac(2)].first.sent;
    steady(&on_second.between(since, on_second.to - QUIET), second_mac(2));
    on(json!([format!("^{UPLINK}$")])).unwrap();
    second.wait_until_dark(QUIET, SOON).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);

    let (first, second) = (first.stop().unwrap(), second.stop().unwrap());
    assert_eq!((first.contested(), first.duplicated()), (0, 0));
    assert_eq!((answerers(&second), second.duplicated()), (vec![second_mac(2)], 0));
}

/// That one is not planned: what it holds is dark from the moment that nobody hears it.
#[test]
fn a_holder_that_loses_its_carrier_gives_way_at_once() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    neighbour::resolve(lab.client(), VIP, SOON).unwrap();
    let cut = lab.cut(lab.node(1), Link::Lan, Cut::Carrier).unwrap();
    // The kernel tells of it when it gets round to it: once a second for all namespaces.
    let told = link::wait_for_lost_carrier(&lab.node(1).ns, UPLINK, SOON).unwrap();
    let holder = cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    let successor = lab.node(holder).mac;
    let first = probe.wait_answer_by(successor, SOON).unwrap();
    println!("carrier lost to answer: {:.0} ms", millis(first.at.saturating_duration_since(cut)));
    neighbour::wait_for_mac(lab.client(), VIP, successor, SOON).unwrap();
    cluster.wait_for_node_lease(1, SOON, |lease| !lease.is_open()).unwrap();

    let restored = Instant::now();
    lab.restore(lab.node(1), Link::Lan).unwrap();
    cluster.wait_for_node_lease(1, SOON, |lease| lease.is_open()).unwrap();
    cluster.wait_renewals(2).unwrap();
    assert_eq!(cluster.holder(VIP), Some(holder));
    let recording = probe.stop().unwrap();
    steady(&recording.between(restored, recording.to), successor);
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    // It says so itself: nobody waits for its lease to run out.
    interrupted(&recording.between(told, recording.to), QUICK.renew, successor);
}

#[test]
fn nodes_that_all_lost_their_carrier_answer_again_one_at_a_time() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    for node in lab.nodes() {
        lab.cut(node, Link::Lan, Cut::Carrier).unwrap();
    }
    probe.wait_until_dark(QUIET, SOON).unwrap();
    for n in 1..=3 {
        lab.restore(lab.node(n), Link::Lan).unwrap();
    }
    let first = probe.wait_answer(SOON, |_| true).unwrap();
    for n in 1..=3 {
        cluster.wait_for_node_lease(n, SOON, |lease| lease.is_open()).unwrap();
    }
    cluster.wait_lease_duration().unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    let holder = lab.node(cluster.holder(VIP).unwrap()).mac;
    handed_over(&recording.between(first.sent, recording.to), holder);
}

/// What it held is dark from the moment that it has no name that is meant.
#[test]
fn a_holder_whose_uplink_is_renamed_gives_way_at_once_and_may_hold_again_with_its_name() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let [one, two] = [1, 2].map(|n| cluster.lab().node(n).mac);
    let ns = cluster.lab().node(1).ns.clone();
    let rename = |from, to| {
        let commands =
            format!("link set {from} down\nlink set {from} name {to}\nlink set {to} up\n");
        ns.ip(&commands).unwrap();
    };
    rename(UPLINK, "spare0");
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    probe.wait_answer_by(two, SOON).unwrap();
    cluster.wait_for_node_lease(1, SOON, |lease| !lease.is_open()).unwrap();

    rename("spare0", UPLINK);
    cluster.wait_for_node_lease(1, SOON, |lease| lease.is_open()).unwrap();
    cluster.wait_renewals(2).unwrap();
    cluster.terminate(2, SOON).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    probe.wait_answer_by(one, SOON).unwrap();
    assert_eq!(probe.stop().unwrap().duplicated(), 0);
}

#[test]
fn a_holder_with_another_mac_is_found_by_it_and_known_by_it() {
    const OTHER_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x77]);
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    neighbour::resolve(lab.client(), VIP, SOON).unwrap();
    let held = cluster.vip_lease(VIP);
    lab.node(1).ns.ip(&format!("link set {UPLINK} address {OTHER_MAC}")).unwrap();
    probe.wait_answer_by(OTHER_MAC, SOON).unwrap();
    neighbour::wait_for_mac(lab.client(), VIP, OTHER_MAC, SOON).unwrap();
    cluster.wait_for_mac(1, OTHER_MAC, SOON).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    drop(probe);
}

//! Which Services, on which nodes, on which interfaces.

use announcer_tests::{
    cluster::SOON,
    lab::{CLIENT_NIC, UPLINK},
    probe::Probe,
    topology::Nic,
};
use serde_json::json;

use crate::{
    OTHER, QUICK, QUIET, STAY, THIRD, VIP, answered_by, ask, cluster,
    links::{SECOND, second_lan, second_mac},
    policies::{service, with_zones, zones},
    quick,
    wire::{answerers, handed_over, steady},
};

#[test]
fn a_service_is_answered_where_any_of_the_policies_that_select_it_says() {
    let mut cluster = with_zones(quick(3));
    cluster.install_policies().unwrap();
    let of = |apps: &[&str], at: &[&str]| {
        let app = json!({ "key": "app", "operator": "In", "values": apps });
        json!({ "serviceSelector": { "matchExpressions": [app] }, "nodeSelector": zones(at) })
    };
    cluster.set_policy("red", of(&["red"], &["a"])).unwrap();
    cluster.set_policy("blue", of(&["blue"], &["a"])).unwrap();
    for (app, vip) in [("red", VIP), ("blue", OTHER), ("green", THIRD)] {
        service(&cluster, app, json!({ "app": app }), vip);
    }
    let green = ask(&cluster, THIRD);
    cluster.start(1).unwrap();
    cluster.start_idle(2).unwrap();
    cluster.start_idle(3).unwrap();

    // Two policies on one node, and a Service that no policy selects.
    let [red, blue] = [VIP, OTHER].map(|vip| answered_by(&cluster, vip, 1));
    cluster.wait_lease_duration_of(&[1]).unwrap();
    assert_eq!(answerers(&green.snapshot()), []);
    assert_eq!(cluster.vip_lease(THIRD), None);

    // A policy for two Services: one of them had a place already.
    let [one, two] = [1, 2].map(|n| cluster.lab().node(n).mac);
    cluster.set_policy("cold", of(&["blue", "green"], &["b"])).unwrap();
    green.wait_answer_by(two, SOON).unwrap();
    cluster.wait_renewals_of(&[1, 2], 2).unwrap();
    assert_eq!(cluster.holder(OTHER), Some(1), "it may move, and need not");
    cluster.delete_policy("blue").unwrap();
    cluster.wait_for_holder(OTHER, SOON, |n| n == 2).unwrap();
    blue.wait_answer_by(two, SOON).unwrap();
    blue.wait_requests(300).unwrap();
    let moved = blue.snapshot();
    handed_over(&moved.between(moved.from, moved.to - QUIET), two);

    cluster.delete_policy("cold").unwrap();
    for (probe, vip) in [(blue, OTHER), (green, THIRD)] {
        probe.wait_until_dark(QUIET, SOON).unwrap();
        cluster.wait_released(vip, SOON).unwrap();
        let recording = probe.stop().unwrap();
        assert_eq!(recording.duplicated(), 0);
        assert!(vip == OTHER || answerers(&recording) == [two]);
    }
    steady(&red.stop().unwrap(), one);
}

#[test]
fn two_policies_for_two_interfaces_are_answered_where_their_nodes_have_them() {
    let interfaces = format!("/^({UPLINK}|{SECOND})$/");
    let args = STAY.into_iter().chain(["--interface", &*interfaces]);
    let mut cluster = with_zones(cluster(3, QUICK, args));
    let (mut lan, client) = second_lan();
    let nic = Nic { name: SECOND, mac: second_mac(2), address: None };
    lan.attach(&cluster.lab().node(2).ns, &nic).unwrap();
    cluster.install_policies().unwrap();
    let on = |interface: &str, at: &[&str]| json!({ "interfaces": [format!("^{interface}$")], "nodeSelector": zones(at) });
    cluster.set_policy("second", on(SECOND, &["a", "b"])).unwrap();
    cluster.create_service("web", VIP).unwrap();
    let first = ask(&cluster, VIP);
    let second = Probe::new(VIP).start(&client, CLIENT_NIC).unwrap();

    // Node 1 is selected and has no such interface, node 3 neither.
    cluster.start_idle(1).unwrap();
    cluster.start_idle(3).unwrap();
    first.wait_requests(300).unwrap();
    assert_eq!(answerers(&first.snapshot()), []);
    // By another policy it answers on the interface that it has.
    let [one, two] = [1, 2].map(|n| cluster.lab().node(n).mac);
    cluster.set_policy("first", on(UPLINK, &["a"])).unwrap();
    first.wait_answer_by(one, SOON).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_renewals_of(&[1, 2], 2).unwrap();
    assert_eq!(cluster.holder(VIP), Some(1), "node 2 may have it, too");
    assert_eq!(answerers(&second.snapshot()), [], "its holder is not on that LAN");

    // Each policy's interface on the policy's own nodes, the other one's LAN is silent.
    cluster.delete_policy("first").unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    let since = second.wait_answer_by(second_mac(2), SOON).unwrap();
    first.wait_until_dark(QUIET, SOON).unwrap();
    assert_eq!(answerers(&first.snapshot()), [one]);

    // Both policies select node 2: on both, with the MAC of each.
    let held = cluster.vip_lease(VIP);
    cluster.set_policy("first", on(UPLINK, &["b", "c"])).unwrap();
    first.wait_answer_by(two, SOON).unwrap();
    cluster.wait_renewals_of(&[2], 2).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held, "nothing changed hands");
    let (first, second) = (first.stop().unwrap(), second.stop().unwrap());
    assert_eq!((first.contested(), first.duplicated()), (0, 0));
    assert_eq!(answerers(&second), [second_mac(2)]);
    steady(&second.between(since.sent, second.to), second_mac(2));
}

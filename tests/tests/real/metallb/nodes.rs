//! Nodes that may not announce for a while, that are labelled or join later, and a
//! speaker that dies.

use announcer_tests::{
    cluster::{Cluster, NAMESPACE, SOON, VipLease},
    neighbour,
    probe::ProbeHandle,
};
use serde_json::json;

use crate::{
    QUICK, QUIET, VIP, answered_by, arrived, cluster,
    eligibility::{EXCLUDED, NO_NETWORK, Setting},
    held_by_node_1,
    policies::{ZONE, zones},
    quick,
    wire::{handed_over, interrupted, steady},
};

#[test]
fn network_unavailable_moves_the_vip_and_it_returns() {
    moves_and_returns(NO_NETWORK);
}

#[test]
fn the_exclude_label_moves_the_vip_and_it_returns() {
    moves_and_returns(EXCLUDED);
}

fn moves_and_returns((what, set, unset): Setting) {
    let mut cluster = cluster(3, QUICK, []);
    cluster.create_service("web", VIP).unwrap();
    cluster.start_all().unwrap();
    // Until everybody has been there for long enough to have what belongs to it.
    for _ in 0..3 {
        cluster.wait_lease_duration().unwrap();
    }
    let home = cluster.wait_for_holder(VIP, SOON, |_| true).unwrap();
    let probe = answered_by(&cluster, VIP, home);
    neighbour::resolve(cluster.lab().client(), VIP, SOON).unwrap();

    println!("node {home}: {what}");
    set(&cluster, home);
    let elsewhere = cluster.wait_for_holder(VIP, SOON, |n| n != home).unwrap();
    arrived(&cluster, &probe, elsewhere);
    unset(&cluster, home);
    cluster.wait_for_holder(VIP, SOON, |n| n == home).unwrap();
    arrived(&cluster, &probe, home);
    cluster.wait_renewals(2).unwrap();
    assert_eq!(cluster.holder(VIP), Some(home), "and it stays");
    handed_over(&probe.stop().unwrap(), cluster.lab().node(home).mac);
}

#[test]
fn nodes_that_are_labelled_or_join_later_are_selected_from_then_on() {
    let mut cluster = quick(3);
    cluster.install_policies().unwrap();
    cluster.set_policy("all", json!({ "nodeSelector": zones(&["a"]) })).unwrap();
    cluster.delete_node("node-3").unwrap();
    cluster.set_node_label(1, ZONE, Some("a")).unwrap();
    cluster.create_service("web", VIP).unwrap();
    cluster.start(1).unwrap();
    cluster.start_idle(2).unwrap();
    cluster.start_idle(3).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    let probe = answered_by(&cluster, VIP, 1);
    neighbour::resolve(cluster.lab().client(), VIP, SOON).unwrap();

    for (from, to) in [(1, 2), (2, 3)] {
        cluster.set_node_ready(cluster.name(to), true).unwrap();
        cluster.set_node_label(to, ZONE, Some("a")).unwrap();
        cluster.wait_for_node_lease(to, SOON, |lease| lease.is_open()).unwrap();
        cluster.wait_renewals_of(&[from, to], 2).unwrap();
        assert_eq!(cluster.holder(VIP), Some(from), "it may, and need not");
        cluster.set_node_label(from, ZONE, None).unwrap();
        cluster.wait_for_holder(VIP, SOON, |n| n == to).unwrap();
        arrived(&cluster, &probe, to);
    }
    cluster.wait_renewals_of(&[3], 2).unwrap();
    handed_over(&probe.stop().unwrap(), cluster.lab().node(3).mac);
}

/// Whom `kubectl get leases` names is who answers, before and after a move.
#[test]
fn the_lease_names_the_node_whose_mac_answers() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let lease = VipLease::name(VIP);
    let columns = "custom-columns=:.spec.holderIdentity";
    let get = ["get", "lease", "-n", NAMESPACE, &lease, "--no-headers", "-o", columns];
    let named_and_answering = |cluster: &Cluster, probe: &ProbeHandle| {
        let name = cluster.control_plane().kubectl(&get).unwrap();
        let mut nodes = cluster.lab().nodes().iter();
        let node = nodes.find(|node| node.name == name.trim()).unwrap();
        let first = probe.wait_answer_by(node.mac, SOON).unwrap();
        probe.wait_requests(300).unwrap();
        let seen = probe.snapshot();
        steady(&seen.between(first.sent, seen.to - QUIET), node.mac);
        name
    };
    let before = named_and_answering(&cluster, &probe);
    cluster.terminate(1, SOON).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    let after = named_and_answering(&cluster, &probe);
    assert_ne!(before, after);
}

/// Nothing takes its program off the wire, and nobody starts it again.
#[test]
fn a_speaker_that_was_killed_for_good_has_one_successor() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    neighbour::resolve(cluster.lab().client(), VIP, SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    cluster.kill(1).unwrap();
    let successor = cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    arrived(&cluster, &probe, successor);
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.holder(VIP), Some(successor));
    let recording = probe.stop().unwrap();
    let both = [1, successor].map(|n| cluster.lab().node(n).mac);
    assert_eq!(crate::wire::answerers(&recording), both);
    interrupted(&recording, QUICK.lease, both[1]);
}

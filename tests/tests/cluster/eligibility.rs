//! Nodes that may not hold a VIP hand it over, and lose no probe.

use std::time::Instant;

use announcer_tests::{
    cluster::{Cluster, SOON},
    neighbour,
};
use serde_json::json;

use crate::{
    QUICK, QUIET, STAY, VIP, cluster, held_by_node_1, quick,
    wire::{handed_over, steady},
};

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Something that is said of a node, and taken back.
pub(crate) type Setting = (&'static str, fn(&Cluster, usize), fn(&Cluster, usize));

const NOT_READY: Setting = (
    "not ready",
    |cluster, n| cluster.set_node_ready(cluster.name(n), false).unwrap(),
    |cluster, n| cluster.set_node_ready(cluster.name(n), true).unwrap(),
);
/// As the node lifecycle controller says of a kubelet that is silent.
const UNKNOWN: Setting = (
    "readiness unknown",
    |cluster, n| cluster.set_node_conditions(cluster.name(n), &[("Ready", "Unknown")]).unwrap(),
    |cluster, n| cluster.set_node_ready(cluster.name(n), true).unwrap(),
);
pub(crate) const NO_NETWORK: Setting = (
    "network unavailable",
    |cluster, n| {
        let conditions = [("Ready", "True"), ("NetworkUnavailable", "True")];
        cluster.set_node_conditions(cluster.name(n), &conditions).unwrap();
    },
    |cluster, n| {
        let conditions = [("Ready", "True"), ("NetworkUnavailable", "False")];
        cluster.set_node_conditions(cluster.name(n), &conditions).unwrap();
    },
);
pub(crate) const EXCLUDED: Setting = (
    "excluded by its label",
    |cluster, n| cluster.set_node_label(n, EXCLUDE, Some("")).unwrap(),
    |cluster, n| cluster.set_node_label(n, EXCLUDE, None).unwrap(),
);
const DELETED: Setting = (
    "deleted and made anew",
    |cluster, n| cluster.delete_node(cluster.name(n)).unwrap(),
    |cluster, n| cluster.set_node_ready(cluster.name(n), true).unwrap(),
);
const CORDONED: Setting = (
    "cordoned",
    |cluster, n| cluster.set_cordoned(n, true).unwrap(),
    |cluster, n| cluster.set_cordoned(n, false).unwrap(),
);

#[test]
fn a_node_that_becomes_ineligible_hands_over_without_a_gap() {
    let mut cluster = cluster(2, QUICK, STAY.into_iter().chain(["--exclude-cordoned"]));
    let probe = held_by_node_1(&mut cluster);
    let (mut holder, client) = (1, cluster.lab().client());
    neighbour::resolve(client, VIP, SOON).unwrap();
    for (what, set, unset) in [NOT_READY, UNKNOWN, NO_NETWORK, EXCLUDED, DELETED, CORDONED] {
        let successor = 3 - holder;
        let mac = cluster.lab().node(successor).mac;
        println!("node {holder}: {what}");
        set(&cluster, holder);
        cluster.wait_for_holder(VIP, SOON, |n| n == successor).unwrap();
        probe.wait_answer_by(mac, SOON).unwrap();
        neighbour::wait_for_mac(client, VIP, mac, SOON).unwrap();
        unset(&cluster, holder);
        cluster.wait_renewals(2).unwrap();
        assert_eq!(cluster.holder(VIP), Some(successor), "{what}: it stays where it is");
        holder = successor;
    }
    let recording = probe.stop().unwrap();
    println!("answered by two: {} of {}", recording.contested(), recording.requests.len());
    handed_over(&recording, cluster.lab().node(holder).mac);
}

#[test]
fn cordoned_nodes_stay_eligible_unless_a_flag_says_otherwise() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let held = cluster.vip_lease(VIP);
    cluster.set_cordoned(1, true).unwrap();
    cluster.wait_renewals(3).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

/// A holder that may not be one is better than none.
#[test]
fn where_no_node_is_eligible_the_holder_goes_on() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let held = cluster.vip_lease(VIP);
    let (_, set, unset) = NOT_READY;
    [2, 1].into_iter().for_each(|n| set(&cluster, n));
    cluster.wait_lease_duration_of(&[1]).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    // The last answers may be on their way.
    let calm = probe.snapshot();
    steady(&calm.between(calm.from, calm.to - QUIET), cluster.lab().node(1).mac);
    unset(&cluster, 2);
    let successor = cluster.lab().node(2).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    cluster.wait_renewals_of(&[2], 1).unwrap();
    handed_over(&probe.stop().unwrap(), successor);
}

#[test]
fn with_a_local_traffic_policy_the_vip_follows_the_endpoints() {
    let mut cluster = quick(3);
    cluster.create_service("web", VIP).unwrap();
    cluster.set_endpoints("web", &[1]).unwrap();
    cluster.patch_service("web", json!({ "spec": { "externalTrafficPolicy": "Local" } })).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    let probe = crate::answered_by_node_1(&cluster);
    // Endpoints come and go beside the holder's before they move: a node that had not
    // heard yet that its own is gone might take what the holder offers, and pass it on.
    let story: [(&[usize], usize); 7] =
        [(&[2], 2), (&[1, 2], 2), (&[2], 2), (&[3], 3), (&[1, 2, 3], 3), (&[3], 3), (&[1], 1)];
    for (endpoints, holder) in story {
        cluster.set_endpoints("web", endpoints).unwrap();
        cluster.wait_for_holder(VIP, SOON, |n| n == holder).unwrap();
        probe.wait_answer_by(cluster.lab().node(holder).mac, SOON).unwrap();
        cluster.wait_renewals(1).unwrap();
        assert_eq!(cluster.holder(VIP), Some(holder), "{endpoints:?}");
    }
    let calm = probe.snapshot();
    handed_over(&calm.between(calm.from, calm.to - QUIET), cluster.lab().node(1).mac);

    // The last endpoint goes: nobody could serve, and the holder may as well go on.
    let gone = Instant::now();
    cluster.set_endpoints("web", &[]).unwrap();
    cluster.wait_renewals(2).unwrap();
    cluster.set_endpoints("web", &[2]).unwrap();
    let successor = cluster.lab().node(2).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    probe.wait_requests(300).unwrap();
    let recording = probe.stop().unwrap();
    handed_over(&recording.between(gone, recording.to), successor);
}

/// The garbage collector deletes a lease whose owner is gone: the next one must not name
/// that owner again.
#[test]
fn a_node_that_is_made_anew_owns_its_lease_again() {
    let mut cluster = quick(2);
    let _probe = held_by_node_1(&mut cluster);
    let name = cluster.name(2).to_owned();
    let before = cluster.node_uid(&name).unwrap();
    cluster.wait_for_owner(2, &before, SOON).unwrap();
    cluster.delete_node(&name).unwrap();
    cluster.wait_for_node_lease(2, SOON, |lease| !lease.is_open()).unwrap();
    cluster.set_node_ready(&name, true).unwrap();
    cluster.delete_node_lease(2).unwrap();
    let after = cluster.node_uid(&name).unwrap();
    assert_ne!(after, before);
    cluster.wait_for_owner(2, &after, SOON).unwrap();
}

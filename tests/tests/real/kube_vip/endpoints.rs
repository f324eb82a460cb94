//! Endpoints of a Service with `externalTrafficPolicy: Local` that flap and go.

use std::time::Instant;

use announcer_tests::{
    cluster::{Cluster, SOON},
    neighbour,
    probe::ProbeHandle,
};
use serde_json::json;

use crate::{
    VIP, answered_by, arrived, quick,
    wire::{handed_over, steady},
};

/// How often an endpoint comes and goes.
const FLAPS: usize = 30;

/// A Service whose one endpoint is on node 1, which holds its VIP.
fn local_on_node_1(cluster: &mut Cluster) -> ProbeHandle {
    cluster.create_service("web", VIP).unwrap();
    cluster.set_endpoints("web", &[1]).unwrap();
    cluster.patch_service("web", json!({ "spec": { "externalTrafficPolicy": "Local" } })).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    neighbour::resolve(cluster.lab().client(), VIP, SOON).unwrap();
    answered_by(cluster, VIP, 1)
}

/// Waits until node `n` holds the VIP and goes on holding it: in between, a node may
/// have taken it that had not heard yet what happened last.
fn stays_with(cluster: &Cluster, n: usize) {
    let deadline = Instant::now() + SOON;
    loop {
        cluster.wait_for_holder(VIP, SOON, |holder| holder == n).unwrap();
        let held = cluster.vip_lease(VIP);
        cluster.wait_renewals(2).unwrap();
        if cluster.holder(VIP) == Some(n) && cluster.vip_lease(VIP) == held {
            return;
        }
        assert!(Instant::now() < deadline, "it does not stay: {:?}", cluster.vip_lease(VIP));
    }
}

#[test]
fn an_endpoint_that_flaps_between_nodes_leaves_the_vip_where_it_ends() {
    let mut cluster = quick(3);
    let probe = local_on_node_1(&mut cluster);
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        for _ in 0..FLAPS {
            cluster.set_endpoints("web", &[from]).unwrap();
            cluster.set_endpoints("web", &[to]).unwrap();
        }
        stays_with(&cluster, to);
        arrived(&cluster, &probe, to);
    }
    let recording = probe.stop().unwrap();
    println!("answered by two: {} of {}", recording.contested(), recording.requests.len());
    handed_over(&recording, cluster.lab().node(1).mac);
}

/// Where nobody else has one, the holder goes on without: there would be nothing to win.
#[test]
fn the_only_endpoint_may_flap_and_the_vip_stays() {
    let mut cluster = quick(3);
    let probe = local_on_node_1(&mut cluster);
    let held = cluster.vip_lease(VIP);
    for left in [&[1][..], &[]] {
        for _ in 0..FLAPS {
            cluster.set_endpoints("web", &[]).unwrap();
            cluster.set_endpoints("web", &[1]).unwrap();
        }
        cluster.set_endpoints("web", left).unwrap();
        cluster.wait_lease_duration().unwrap();
        assert_eq!(cluster.vip_lease(VIP), held, "{left:?}");
    }
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn a_second_endpoint_that_flaps_moves_nothing() {
    let mut cluster = quick(3);
    let probe = local_on_node_1(&mut cluster);
    let held = cluster.vip_lease(VIP);
    for _ in 0..FLAPS {
        cluster.set_endpoints("web", &[1, 2]).unwrap();
        cluster.set_endpoints("web", &[1]).unwrap();
    }
    cluster.wait_renewals(2).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn an_endpoint_slice_that_is_deleted_takes_its_endpoints_along() {
    let mut cluster = quick(3);
    let probe = local_on_node_1(&mut cluster);
    cluster.set_endpoint_slice("web", 2, &[2]).unwrap();
    cluster.wait_renewals(2).unwrap();
    assert_eq!(cluster.holder(VIP), Some(1));
    cluster.delete_endpoint_slice("web", 1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    arrived(&cluster, &probe, 2);

    // The last one: nobody else could serve.
    let held = cluster.vip_lease(VIP);
    cluster.delete_endpoint_slice("web", 2).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    cluster.set_endpoints("web", &[3]).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 3).unwrap();
    arrived(&cluster, &probe, 3);

    // With the other policy it has no say.
    let cluster_wide = json!({ "spec": { "externalTrafficPolicy": "Cluster" } });
    cluster.patch_service("web", cluster_wide).unwrap();
    let held = cluster.vip_lease(VIP);
    cluster.delete_endpoint_slice("web", 1).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    handed_over(&probe.stop().unwrap(), cluster.lab().node(3).mac);
}

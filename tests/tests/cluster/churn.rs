//! Services that come and go, and change their minds, faster than anybody follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Instant,
};

use announcer_tests::{
    cluster::{ANNOUNCE, Cluster, MapEntry, SOON},
    lab::{CLIENT_NIC, UPLINK},
    probe::Probe,
    sweep::sweep,
};
use serde_json::json;

use crate::{
    QUIET, VIP, held_by_node_1, millis, quick,
    wire::{handed_over, steady},
};

#[test]
fn of_a_hundred_services_within_a_second_exactly_the_remaining_are_answered() {
    let mut cluster = quick(3);
    cluster.start_all().unwrap();
    cluster.wait_lease_duration().unwrap();
    // Those of a lab that are free for VIPs.
    let vips: Vec<_> = (2..=100).chain([201]).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
    let (remaining, passing): (Vec<_>, Vec<_>) =
        vips.iter().copied().partition(|vip| vip.octets()[3] % 3 == 0);
    let ask = |vip| Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let probes = [ask(remaining[7]), ask(passing[7])];
    let name = |vip: &Ipv4Addr| format!("web-{}", vip.octets()[3]);
    let create = |vip: &Ipv4Addr| cluster.create_service(&name(vip), *vip).unwrap();
    let delete = |vip: &Ipv4Addr| cluster.delete_service(&name(vip)).unwrap();

    // Deleted as soon as created.
    let began = Instant::now();
    vips.iter().for_each(create);
    passing.iter().for_each(delete);
    let took = began.elapsed();
    println!("{} Services created, {} deleted: {:.0} ms", vips.len(), passing.len(), millis(took));
    exactly(&cluster, &vips, &remaining);

    // Created again, answered, and deleted with the rest.
    passing.iter().for_each(create);
    exactly(&cluster, &vips, &vips);
    vips.iter().for_each(delete);
    exactly(&cluster, &vips, &[]);
    for probe in probes {
        let recording = probe.stop().unwrap();
        assert_eq!((recording.contested(), recording.duplicated()), (0, 0), "{}", recording.vip);
    }
}

/// Of `vips` exactly `wanted` are held, each by one node, which alone answers for it; and
/// nothing else is in any map.
fn exactly(cluster: &Cluster, vips: &[Ipv4Addr], wanted: &[Ipv4Addr]) {
    for &vip in vips {
        if wanted.contains(&vip) {
            cluster.wait_for_holder(vip, SOON, |_| true).unwrap();
        } else {
            cluster.wait_released(vip, SOON).unwrap();
        }
    }
    let holder = |vip: Ipv4Addr| cluster.holder(vip).unwrap();
    let entry = |n, vip| {
        let held = holder(vip) == n;
        (vip, if held { MapEntry::Answering } else { MapEntry::Silent })
    };
    let due = |n| wanted.iter().map(|&vip| entry(n, vip)).collect::<BTreeMap<_, _>>();
    let deadline = Instant::now() + SOON;
    for n in 1..=cluster.lab().nodes().len() {
        // That a map is as it should be is no event: it is looked at once per renewal.
        loop {
            let maps = cluster.maps(n).unwrap();
            if maps[UPLINK] == due(n) {
                break;
            }
            assert!(Instant::now() < deadline, "node {n}: {:?}, not {:?}", maps[UPLINK], due(n));
            cluster.wait_renewals(1).unwrap();
        }
    }
    let answerers = sweep(cluster.lab().client(), CLIENT_NIC, vips.iter().copied()).unwrap();
    for (vip, macs) in answerers {
        let due = wanted.contains(&vip).then(|| cluster.lab().node(holder(vip)).mac);
        assert_eq!(macs, due.into_iter().collect::<BTreeSet<_>>(), "{vip}");
    }
}

#[test]
fn a_label_that_flaps_ends_as_it_is_left() {
    let (label, value) = ANNOUNCE;
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let set = |on: bool| cluster.set_label("web", label, on.then_some(value)).unwrap();
    for flaps in [1, 2, 50] {
        for _ in 0..flaps {
            set(false);
            set(true);
        }
        cluster.wait_renewals(2).unwrap();
        let from = Instant::now();
        let holder = cluster.lab().node(cluster.holder(VIP).unwrap()).mac;
        probe.wait_requests(500).unwrap();
        let calm = probe.snapshot();
        steady(&calm.between(from, calm.to - QUIET), holder);
        for _ in 0..flaps {
            set(false);
            set(true);
            set(false);
        }
        probe.wait_until_dark(QUIET, SOON).unwrap();
        cluster.wait_released(VIP, SOON).unwrap();
        set(true);
        probe.wait_answer(SOON, |_| true).unwrap();
    }
    let recording = probe.stop().unwrap();
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
}

#[test]
fn a_traffic_policy_that_flips_moves_the_vip_without_a_gap() {
    let mut cluster = quick(3);
    cluster.set_endpoints("web", &[2, 3]).unwrap();
    let probe = held_by_node_1(&mut cluster);
    let set = |policy: &str| {
        cluster
            .patch_service("web", json!({ "spec": { "externalTrafficPolicy": policy } }))
            .unwrap();
    };
    set("Local");
    cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    // Node 1 may hold it again, and nothing makes it.
    set("Cluster");
    cluster.wait_renewals(1).unwrap();
    let held = cluster.vip_lease(VIP);
    for _ in 0..20 {
        set("Local");
        set("Cluster");
    }
    cluster.wait_renewals(1).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held, "sticky");
    // Each way it goes, there is but one node to hold it.
    for n in [1, 2, 3, 1] {
        set("Cluster");
        cluster.set_endpoints("web", &[n]).unwrap();
        set("Local");
        cluster.wait_for_holder(VIP, SOON, |holder| holder == n).unwrap();
        probe.wait_answer_by(cluster.lab().node(n).mac, SOON).unwrap();
        for _ in 0..10 {
            set("Cluster");
            set("Local");
        }
        cluster.wait_renewals(1).unwrap();
        assert_eq!(cluster.holder(VIP), Some(n));
    }
    probe.wait_requests(500).unwrap();
    handed_over(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

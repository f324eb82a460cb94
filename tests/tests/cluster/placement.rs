//! Where VIPs belong: candidates, preferred nodes, and a node that comes back.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_apiserver::{LEASES, Match, Verb};
use announcer_tests::{
    cluster::{Cluster, SOON},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
};
use serde_json::json;

use crate::{
    QUICK, QUIET, VIP, answered_by_node_1, cluster,
    policies::{with_zones, zones},
    quick,
    wire::{handed_over, steady},
};

#[test]
fn who_is_no_candidate_sends_nothing() {
    let mut cluster = with_zones(quick(3));
    cluster.install_policies().unwrap();
    let select = |cluster: &Cluster, at: &[&str]| {
        cluster.set_policy("all", json!({ "nodeSelector": zones(at) })).unwrap();
    };
    select(&cluster, &["a", "b"]);
    cluster.create_service("web", VIP).unwrap();
    cluster.start(1).unwrap();
    cluster.start(2).unwrap();
    cluster.start_idle(3).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    let probe = answered_by_node_1(&cluster);
    silent(&cluster, &[3], &[1, 2]);

    // Who is none any more hands over, and then is as silent.
    select(&cluster, &["c"]);
    let mac = cluster.lab().node(3).mac;
    probe.wait_answer_by(mac, SOON).unwrap();
    for n in [1, 2] {
        cluster.wait_for_node_lease(n, SOON, |lease| !lease.is_open()).unwrap();
    }
    cluster.wait_renewals_of(&[3], 1).unwrap();
    silent(&cluster, &[1, 2], &[3]);

    // The flags decide again, for which all are.
    cluster.delete_policy("all").unwrap();
    for n in 1..=3 {
        cluster.wait_for_node_lease(n, SOON, |lease| lease.is_open()).unwrap();
    }
    cluster.wait_renewals(2).unwrap();
    handed_over(&probe.stop().unwrap(), mac);
}

/// While `others` live, these nodes do nothing but listen.
fn silent(cluster: &Cluster, nodes: &[usize], others: &[usize]) {
    let audit = cluster.audit();
    audit.clear();
    cluster.wait_lease_duration_of(others).unwrap();
    for &n in nodes {
        let mut requests = audit.recent(&Match::any().client(&cluster.lab().node(n).name));
        requests.retain(|entry| entry.request.verb != Verb::Watch);
        assert!(requests.is_empty(), "node {n}: {requests:#?}");
        assert!(cluster.node_lease(n).is_none_or(|lease| !lease.is_open()));
    }
}

#[test]
fn a_preferred_node_has_the_vip_while_it_is_there() {
    let mut cluster = with_zones(cluster(3, QUICK, []));
    cluster.install_policies().unwrap();
    cluster.set_policy("all", json!({ "preferredNodes": zones(&["a"]) })).unwrap();
    cluster.create_service("web", VIP).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    let probe = answered_by_node_1(&cluster);
    let at = |n: usize| cluster.lab().node(n).mac;
    // The next move begins when this one is over: else three answer for a moment.
    let moved_to = |n: usize| {
        probe.wait_answer_by(at(n), SOON).unwrap();
        cluster.wait_renewals_of(&[n], 2).unwrap();
    };
    // Preferred at once, trusted when it has been there for three lease durations.
    cluster.set_policy("all", json!({ "preferredNodes": zones(&["c"]) })).unwrap();
    moved_to(3);
    cluster.set_policy("all", json!({ "preferredNodes": zones(&["b"]) })).unwrap();
    moved_to(2);
    // Not eligible, though preferred.
    cluster.set_node_ready(cluster.name(2), false).unwrap();
    let elsewhere = cluster.wait_for_holder(VIP, SOON, |n| n != 2).unwrap();
    moved_to(elsewhere);
    cluster.set_node_ready(cluster.name(2), true).unwrap();
    // Both answered for a moment when it went away: its lease tells the times apart.
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    moved_to(2);
    let last = at(2);
    handed_over(&probe.stop().unwrap(), last);
}

#[test]
fn a_node_that_returns_gets_its_vips_back_bit_by_bit() {
    let vips: Vec<_> = (10..40).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
    let mut cluster = cluster(3, QUICK, []);
    cluster.start_all().unwrap();
    cluster.wait_lease_duration().unwrap();
    for vip in &vips {
        cluster.create_service(&format!("web-{}", vip.octets()[3]), *vip).unwrap();
    }
    // All have been there for long enough to have what belongs to them.
    for _ in 0..3 {
        cluster.wait_lease_duration().unwrap();
    }
    let before = holders(&cluster, &vips);
    let of_3: Vec<_> = vips.iter().copied().filter(|vip| before[vip] == 3).collect();
    let others: Vec<_> = vips.iter().copied().filter(|vip| before[vip] != 3).collect();
    assert!(!of_3.is_empty() && of_3.len() < vips.len());
    let answered = |cluster: &Cluster, vip: Ipv4Addr| {
        let probe = Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap();
        probe.wait_answer(SOON, |_| true).unwrap();
        (probe, Instant::now())
    };
    let moving: Vec<(ProbeHandle, Instant)> =
        of_3.iter().take(3).map(|vip| answered(&cluster, *vip)).collect();
    let staying = answered(&cluster, others[0]);

    cluster.terminate(3, SOON).unwrap();
    for vip in &of_3 {
        cluster.wait_for_holder(*vip, SOON, |n| n != 3).unwrap();
    }
    cluster.start(3).unwrap();
    cluster.audit().clear();
    for vip in &of_3 {
        cluster.wait_for_holder(*vip, SOON, |n| n == 3).unwrap();
    }
    given_at_a_rate(&cluster);
    cluster.wait_renewals(2).unwrap();
    assert_eq!(holders(&cluster, &vips), before, "as it was");
    for (probe, since) in moving {
        let recording = probe.stop().unwrap();
        println!("answered by two: {} of {}", recording.contested(), recording.requests.len());
        handed_over(&recording.between(since, recording.to), cluster.lab().node(3).mac);
    }
    let (probe, since) = staying;
    let recording = probe.stop().unwrap();
    let mac = cluster.lab().node(before[&others[0]]).mac;
    steady(&recording.between(since, recording.to - QUIET), mac);
}

fn holders(cluster: &Cluster, vips: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, usize> {
    let holder = |&vip: &Ipv4Addr| (vip, cluster.wait_for_holder(vip, SOON, |_| true).unwrap());
    vips.iter().map(holder).collect()
}

/// No node has given away more than ten VIPs a second, the default, as far as the API
/// server's times tell.
fn given_at_a_rate(cluster: &Cluster) {
    const LEAST: Duration = Duration::from_millis(100);
    for node in cluster.lab().nodes() {
        let offers = Match::any().client(&node.name).writes().resource(LEASES);
        let offers = cluster.audit().recent(&offers.name_prefix("announcer-vip-"));
        if let [first, .., last] = &offers[..] {
            let took = last.at - first.at;
            println!("{}: {} offers in {took:?}", node.name, offers.len());
            // One may have been late on its way.
            let least = LEAST * u32::try_from(offers.len() - 2).unwrap();
            assert!(node.name == "node-3" || took >= least, "{}: {took:?}", node.name);
        }
    }
}

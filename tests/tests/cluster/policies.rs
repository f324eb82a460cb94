//! What policies, classes and Gateways say, the wire does.

use std::net::Ipv4Addr;

use announcer_apiserver::{Match, SERVICES, Verb};
use announcer_tests::cluster::{ANNOUNCE, Cluster, SERVICES_IN, SOON, policies};
use serde_json::{Value, json};

use crate::{
    OTHER, QUICK, QUIET, THIRD, VIP, ask, cluster, quick,
    wire::{answerers, handed_over, steady},
};

/// The API server, which knows Go's expressions, lets it through; ours have no quoting.
pub(crate) const NO_EXPRESSION: &str = r"\Qens18\E";

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// A Service of type LoadBalancer with these labels, and an address.
pub(crate) fn service(cluster: &Cluster, name: &str, labels: Value, vip: Ipv4Addr) {
    cluster.create_service_without_address(name, labels).unwrap();
    cluster.set_addresses(name, &[vip]).unwrap();
}

/// Each of three nodes is a zone of its own: `a`, `b`, `c`.
pub(crate) fn with_zones(cluster: Cluster) -> Cluster {
    for (n, zone) in [(1, "a"), (2, "b"), (3, "c")] {
        cluster.set_node_label(n, ZONE, Some(zone)).unwrap();
    }
    cluster
}

/// Nodes of any of these zones.
pub(crate) fn zones(zones: &[&str]) -> Value {
    json!({ "matchExpressions": [{ "key": ZONE, "operator": "In", "values": zones }] })
}

#[test]
fn the_wire_follows_a_policy() {
    let mut cluster = with_zones(quick(3));
    cluster.install_policies().unwrap();
    let db = json!({ "matchLabels": { "app": "db" } });
    let spec = |at: &[&str]| json!({ "serviceSelector": db, "nodeSelector": zones(at) });
    cluster.set_policy("db", spec(&["b"])).unwrap();
    service(&cluster, "db", json!({ "app": "db" }), VIP);
    // What the flags select, without a policy.
    cluster.create_service("web", OTHER).unwrap();
    let (db_probe, web_probe) = (ask(&cluster, VIP), ask(&cluster, OTHER));
    cluster.start_idle(1).unwrap();
    cluster.start(2).unwrap();
    cluster.start_idle(3).unwrap();
    let at = |n: usize| cluster.lab().node(n).mac;
    db_probe.wait_answer_by(at(2), SOON).unwrap();
    let first = db_probe.snapshot().answerers()[&at(2)].first.sent;

    // Elsewhere, and to more nodes, of which the holder is one.
    cluster.set_policy("db", spec(&["c"])).unwrap();
    db_probe.wait_answer_by(at(3), SOON).unwrap();
    cluster.set_policy("db", spec(&["a", "c"])).unwrap();
    // A second policy adds its nodes to those of the first.
    cluster
        .set_policy("more", json!({ "serviceSelector": db, "nodeSelector": zones(&["b"]) }))
        .unwrap();
    for n in 1..=3 {
        cluster.wait_for_node_lease(n, SOON, |lease| lease.is_open()).unwrap();
    }
    cluster.wait_renewals(2).unwrap();
    assert_eq!(cluster.holder(VIP), Some(3), "sticky");
    cluster.delete_policy("db").unwrap();
    db_probe.wait_answer_by(at(2), SOON).unwrap();

    // Until the handover is over.
    db_probe.wait_requests(300).unwrap();

    // A policy with a mistake announces nothing, and the flags do not come back.
    cluster.set_policy("more", json!({ "interfaces": [NO_EXPRESSION] })).unwrap();
    db_probe.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(VIP, SOON).unwrap();
    let (db, web) = (db_probe.stop().unwrap(), web_probe.snapshot());
    assert_eq!(answerers(&web), []);
    let moved = db.between(first, db.answerers()[&at(2)].last.sent);
    handed_over(&moved, at(2));

    cluster.delete_policy("more").unwrap();
    web_probe.wait_first_answer(SOON).unwrap();
    assert_eq!(web_probe.stop().unwrap().contested(), 0);
    assert_eq!(cluster.holder(VIP), None);
}

#[test]
fn policies_that_are_installed_later_take_over_from_the_flags() {
    let mut cluster = with_zones(quick(3));
    cluster.create_service("web", VIP).unwrap();
    service(&cluster, "db", json!({ "app": "db" }), OTHER);
    let (web, db) = (ask(&cluster, VIP), ask(&cluster, OTHER));
    cluster.start_all().unwrap();
    web.wait_first_answer(SOON).unwrap();
    cluster.install_policies().unwrap();
    let spec = json!({
        "serviceSelector": { "matchLabels": { "app": "db" } }, "nodeSelector": zones(&["c"]),
    });
    cluster.set_policy("db", spec).unwrap();
    let first = db.wait_first_answer(SOON).unwrap();
    web.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(VIP, SOON).unwrap();
    assert_eq!(web.stop().unwrap().contested(), 0);
    let db = db.stop().unwrap();
    steady(&db.between(first.sent, db.to), cluster.lab().node(3).mac);
    let accepted = |policy: Option<&Value>| {
        policy.is_some_and(|p| p.pointer("/status/conditions/0/status") == Some(&json!("True")))
    };
    cluster.objects().wait_for(&policies(), "", "db", accepted, SOON).unwrap();
    let written = Match::any().verb(Verb::Patch).resource(policies());
    assert_eq!(cluster.audit().writes(&written), 1, "by one node of three");
}

#[test]
fn services_that_share_an_address_have_one_holder_and_one_announcement() {
    const BOTH_FORMS_OF_FIVE_ROUNDS: usize = 10;
    let mut cluster = quick(3);
    cluster.create_service("tcp", VIP).unwrap();
    let probe = ask(&cluster, VIP);
    cluster.start_all().unwrap();
    let first = probe.wait_first_answer(SOON).unwrap();
    let held = cluster.vip_lease(VIP);
    cluster.create_service("udp", VIP).unwrap();
    probe.wait_announcements(BOTH_FORMS_OF_FIVE_ROUNDS, SOON, |_| true).unwrap();
    // Long enough for a round too many.
    probe.wait_requests(1500).unwrap();
    cluster.delete_service("tcp").unwrap();
    cluster.wait_renewals(2).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held, "nothing changed hands");
    let calm = probe.snapshot();
    steady(&calm.between(first.sent, calm.to - QUIET), first.mac);
    assert_eq!(calm.announcements.len(), BOTH_FORMS_OF_FIVE_ROUNDS, "{:?}", calm.announcements);
    cluster.delete_service("udp").unwrap();
    probe.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(VIP, SOON).unwrap();
    assert_eq!(answerers(&probe.stop().unwrap()), [first.mac]);
}

#[test]
fn a_service_made_for_a_gateway_needs_no_label_of_its_own() {
    let (label, value) = ANNOUNCE;
    let mut cluster = quick(2);
    let made = json!({ "gateway.networking.k8s.io/gateway-name": "edge" });
    service(&cluster, "edge-lb", made, VIP);
    // What is there already can be answered when this is.
    cluster.create_service("web", OTHER).unwrap();
    let (edge, web) = (ask(&cluster, VIP), ask(&cluster, OTHER));
    cluster.start_all().unwrap();
    web.wait_first_answer(SOON).unwrap();
    for n in [1, 2] {
        cluster.daemon(n).unwrap().wait_for_log("kind=Gateway", SOON).unwrap();
    }
    assert_eq!(answerers(&edge.snapshot()), []);

    cluster.install_gateways().unwrap();
    cluster.set_gateway("edge", json!({ label: value })).unwrap();
    edge.wait_first_answer(SOON).unwrap();
    cluster.set_gateway("edge", json!({ label: null })).unwrap();
    edge.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(VIP, SOON).unwrap();
    cluster.set_gateway("edge", json!({ label: value })).unwrap();
    edge.wait_answer(SOON, |_| true).unwrap();
    // Its own label goes before that of its Gateway.
    cluster.set_label("edge-lb", label, Some("false")).unwrap();
    edge.wait_until_dark(QUIET, SOON).unwrap();
    assert_eq!(edge.stop().unwrap().contested(), 0);
}

#[test]
fn classes_say_whose_a_service_is() {
    let (label, value) = ANNOUNCE;
    for require in [false, true] {
        let flag = require.then_some("--require-class");
        let mut cluster = cluster(1, QUICK, flag);
        for (class, vip) in [("l2announcer.io/l2", VIP), ("example.com/other", OTHER)] {
            let (name, _) = class.split_once('.').unwrap();
            let body = json!({
                "metadata": { "name": name, "labels": { label: value } },
                "spec": {
                    "type": "LoadBalancer", "loadBalancerClass": class, "ports": [{ "port": 80 }],
                },
            });
            cluster.objects().create(&SERVICES, SERVICES_IN, body).unwrap();
            cluster.set_addresses(name, &[vip]).unwrap();
        }
        cluster.create_service("unclassed", THIRD).unwrap();
        let [ours, others, unclassed] = [VIP, OTHER, THIRD].map(|vip| ask(&cluster, vip));
        cluster.start(1).unwrap();
        let mac = cluster.lab().node(1).mac;
        ours.wait_answer_by(mac, SOON).unwrap();
        if !require {
            unclassed.wait_answer_by(mac, SOON).unwrap();
        }
        ours.wait_requests(300).unwrap();
        assert_eq!(answerers(&others.stop().unwrap()), []);
        assert_eq!(answerers(&unclassed.stop().unwrap()).is_empty(), require);
    }
}

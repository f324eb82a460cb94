//! Which nodes, and why not the others.

use super::*;
use crate::intent::eligibility::Ineligible;

/// n1 and n2 ready, and one Service.
fn cluster(patch: Value) -> Index {
    index().with([service("web", patch), node("n1", json!({})), node("n2", json!({}))])
}

/// What is said of a node for 192.0.2.10.
fn said(index: &mut Index, node: &str) -> Vec<String> {
    let report = index.explain_vip(vip("192.0.2.10")).expect("a VIP that is announced");
    let node = report.nodes.get(&node_name(node)).expect("a known node");
    assert!(report.divided || node.eligible == node.reasons.is_empty(), "{node:?}");
    node.reasons.iter().map(Ineligible::to_string).collect()
}

#[test]
fn nodes_are_eligible_when_ready_with_a_network_and_not_excluded() {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
    let conditions = |list: &[Value]| json!({"status": {"conditions": list}});
    let ready = || condition("Ready", "True");
    for (what, patch, said_of_it) in [
        ("ready", json!({}), ""),
        ("not ready", conditions(&[condition("Ready", "False")]), "condition Ready is False"),
        ("unknown", conditions(&[condition("Ready", "Unknown")]), "condition Ready is Unknown"),
        ("no conditions", json!({"status": null}), "has not said yet"),
        (
            "no network",
            conditions(&[ready(), condition("NetworkUnavailable", "True")]),
            "network is unavailable",
        ),
        ("with network", conditions(&[ready(), condition("NetworkUnavailable", "False")]), ""),
        ("excluded", json!({"metadata": {"labels": {EXCLUDE_LABEL: ""}}}), "excluded by label"),
        ("cordoned", json!({"spec": {"unschedulable": true}}), ""),
    ] {
        let mut index = index().with([service("web", json!({})), node("n1", patch)]);
        assert_eq!(index.eligible().len(), usize::from(said_of_it.is_empty()), "{what}");
        assert!(said(&mut index, "n1").concat().contains(said_of_it), "{what}");
    }
}

#[test]
fn cordoned_nodes_can_be_excluded() {
    let cordoned = node("n1", json!({"spec": {"unschedulable": true}}));
    for (exclude_cordoned, eligible) in [(false, 1), (true, 0)] {
        let index = Index::new(node_name("n1"), Selection { exclude_cordoned, ..selection() });
        let mut index = index.with([service("web", json!({})), cordoned.clone()]);
        assert_eq!(index.eligible().len(), eligible);
        assert_eq!(said(&mut index, "n1").len(), 1 - eligible);
    }
}

#[test]
fn nodes_come_and_go() {
    let mut index = cluster(json!({}));
    assert_eq!(index.eligible(), ["n1", "n2"]);
    index.delete(Kind::Node, &ObjectKey::new("", "n2"));
    assert_eq!(index.eligible(), ["n1"]);
    index.apply(&node("n2", json!({})));
    assert_eq!(index.eligible(), ["n1", "n2"]);
}

#[test]
fn local_traffic_needs_a_serving_endpoint_on_the_node() {
    for (what, endpoints, eligible) in [
        ("no endpoints", json!([]), &[][..]),
        ("ready", json!([on("n1", json!({"ready": true}))]), &["n1"]),
        ("readiness unknown", json!([on("n1", json!({}))]), &["n1"]),
        ("not ready", json!([on("n1", json!({"ready": false}))]), &[]),
        (
            "serving while terminating",
            json!([on("n1", json!({"ready": false, "serving": true, "terminating": true}))]),
            &["n1"],
        ),
        (
            "terminating",
            json!([on("n1", json!({"ready": false, "serving": false, "terminating": true}))]),
            &[],
        ),
        (
            "published though not ready",
            json!([on("n1", json!({"ready": true, "serving": false}))]),
            &["n1"],
        ),
        ("on both", json!([on("n1", json!({})), on("n2", json!({}))]), &["n1", "n2"]),
        ("on an unknown node", json!([on("n9", json!({}))]), &[]),
    ] {
        let mut index = cluster(local()).with([slice("web-1", "web", endpoints)]);
        assert_eq!(index.eligible(), eligible, "{what}");
        for node in ["n1", "n2"] {
            let fit = eligible.contains(&node);
            let said = said(&mut index, node).concat();
            assert_eq!(said.contains("no serving endpoint"), !fit, "{what} {said}");
        }
    }
}

#[test]
fn endpoints_follow_their_slices() {
    let mut index = cluster(local());
    assert_eq!(index.eligible(), [""; 0]);
    index.apply(&slice("a", "web", json!([on("n1", json!({}))])));
    index.apply(&slice("b", "web", json!([on("n2", json!({}))])));
    assert_eq!(index.eligible(), ["n1", "n2"]);
    index.apply(&slice("b", "other", json!([on("n2", json!({}))])));
    assert_eq!(index.eligible(), ["n1"]);
    index.delete(Kind::EndpointSlice, &ObjectKey::new("default", "a"));
    assert_eq!(index.eligible(), [""; 0]);
    index.apply(&service("web", json!({})));
    assert_eq!(index.eligible(), ["n1", "n2"]);
    index.apply(&service("web", local()));
    index.apply(&slice("b", "web", json!([on("n2", json!({}))])));
    assert_eq!(index.eligible(), ["n2"]);
    index.retain(Kind::EndpointSlice, &BTreeSet::new());
    assert_eq!(index.eligible(), [""; 0]);
}

#[test]
fn endpoints_that_are_nowhere_restrict_nobody_and_it_is_said() {
    let nowhere = json!([{"addresses": ["10.0.0.1"]}]);
    let placeholder = json!([{"addresses": ["192.192.192.192"], "nodeName": "n1"}]);
    for endpoints in [nowhere, placeholder] {
        let mut index = cluster(local()).with([slice("web", "web", endpoints)]);
        assert_eq!(index.eligible(), ["n1", "n2"]);
        let unlocated = Notice::Unlocated { service: ObjectKey::new("default", "web") };
        assert_eq!(index.take_notices(), [unlocated]);
        let report = index.explain_service(&ObjectKey::new("default", "web"));
        assert_eq!(report.expect("a Service of ours").traffic, Traffic::Unlocated);
        // One that is somewhere: the others count for nothing.
        index.apply(&slice("more", "web", json!([on("n2", json!({}))])));
        assert_eq!(index.eligible(), ["n2"]);
    }
}

#[test]
fn endpoints_that_cannot_be_read_restrict_nobody() {
    let mut index = cluster(local());
    index.set_endpoints_readable(false);
    assert_eq!(index.eligible(), ["n1", "n2"]);
    index.set_endpoints_readable(true);
    assert_eq!(index.eligible(), [""; 0]);
}

#[test]
fn a_node_must_be_right_for_every_service_on_an_address() {
    let endpoints = |of: &str, nodes: &[&str]| {
        let list: Vec<Value> = nodes.iter().map(|node| on(node, json!({}))).collect();
        slice(of, of, json!(list))
    };
    for (what, a, b, eligible, divided) in [
        ("Local beside Cluster", Some(&["n1"][..]), None, &["n1"][..], false),
        ("both Local, in common", Some(&["n1", "n2"]), Some(&["n2"][..]), &["n2"], false),
        ("one served nowhere", Some(&[]), Some(&["n2"]), &["n2"], false),
        ("both served nowhere", Some(&[]), Some(&[]), &[], false),
        ("nothing in common", Some(&["n1"]), Some(&["n2"]), &["n1", "n2"], true),
    ] {
        let patch = |nodes: Option<&[&str]>| nodes.map_or(json!({}), |_| local());
        let mut index = cluster(patch(a)).with([service("b", patch(b))]);
        index.apply(&endpoints("web", a.unwrap_or(&["n1"])));
        index.apply(&endpoints("b", b.unwrap_or(&["n1"])));
        assert_eq!(index.eligible(), eligible, "{what}");
        let notices = index.take_notices();
        let said_so = notices.iter().any(|notice| matches!(notice, Notice::Divided { .. }));
        assert_eq!(said_so, divided, "{what}");
        said(&mut index, "n1");
        index.delete(Kind::Service, &ObjectKey::new("default", "b"));
        assert_eq!(index.eligible(), a.unwrap_or(&["n1", "n2"]), "{what}: alone again");
    }
}

#[test]
fn a_node_without_a_fit_interface_is_out() {
    let links = |list: &[(&str, LinkState)]| {
        Some(list.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect::<Links>())
    };
    use LinkState::{Down, Fit, Missing, NoCarrier};
    for (state, eligible, said_of_it) in [
        (None, 2, ""),
        (links(&[("eth0", Fit)]), 2, ""),
        (links(&[("eth0", NoCarrier)]), 1, "interface eth0 has no carrier"),
        (links(&[("eth0", Down)]), 1, "interface eth0 is down"),
        (links(&[("eth0", Missing), ("eth1", Fit)]), 2, ""),
        (links(&[]), 1, "answers on no interface"),
    ] {
        let mut index = cluster(json!({}));
        index.set_links(state);
        assert_eq!(index.eligible().len(), eligible);
        assert!(said(&mut index, "n1").concat().contains(said_of_it));
        assert_eq!(said(&mut index, "n2"), [""; 0], "other nodes know for themselves");
        index.set_links(None);
        assert_eq!(index.eligible(), ["n1", "n2"]);
    }
}

#[test]
fn node_sets_are_shared() {
    let addresses = (1..=9).map(|i| service(&format!("s{i}"), address(&format!("192.0.2.{i}"))));
    let mut index = cluster(json!({})).with(addresses);
    let intent = index.intent();
    let first = &intent.vips.values().next().expect("many VIPs").eligible;
    assert!(intent.vips.values().all(|vip| Arc::ptr_eq(&vip.eligible, first)));
}

#[test]
fn nothing_new_is_no_new_intent() {
    let mut index = cluster(json!({}));
    let before = index.intent();
    let heartbeat = json!({"metadata": {"resourceVersion": "9"}, "status": {"conditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
    index.apply(&node("n1", heartbeat));
    index.apply(&service("web", json!({"metadata": {"annotations": {"a": "b"}}})));
    assert!(Arc::ptr_eq(&before, &index.intent()));
}

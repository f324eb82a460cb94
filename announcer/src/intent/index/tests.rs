//! Literal Services and Nodes in, intent out.

use serde_json::{Value, json};

use super::*;

fn index() -> Index {
    Index::new(Selection {
        services: "announce=true".parse().expect("a selector"),
        class: "l2announcer.io/l2".to_owned(),
        classless: true,
        external_ips: false,
    })
}

fn service(name: &str, patch: Value) -> Service {
    let mut object = json!({
        "metadata": {"namespace": "default", "name": name, "labels": {"announce": "true"}},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).expect("a Service")
}

fn merge(to: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            for (key, value) in fields {
                merge(&mut to[key], value);
            }
        }
        value => *to = value,
    }
}

fn node(name: &str, ready: &str, patch: Value) -> Node {
    let mut object = json!({
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).expect("a Node")
}

fn vips(index: &Index) -> Vec<String> {
    index.intent().vips.keys().map(Vip::to_string).collect()
}

#[test]
fn only_matching_load_balancers_are_announced() {
    for (what, patch, announced) in [
        ("labelled", json!({}), true),
        ("our class", json!({"spec": {"loadBalancerClass": "l2announcer.io/l2"}}), true),
        ("another's class", json!({"spec": {"loadBalancerClass": "metallb.io/x"}}), false),
        ("other label", json!({"metadata": {"labels": {"announce": "false"}}}), false),
        ("no label", json!({"metadata": {"labels": null}}), false),
        ("ClusterIP", json!({"spec": {"type": "ClusterIP"}}), false),
        ("no address yet", json!({"status": {"loadBalancer": {"ingress": null}}}), false),
        (
            "a host name",
            json!({"status": {"loadBalancer": {"ingress": [{"hostname": "a"}]}}}),
            false,
        ),
    ] {
        let mut index = index();
        assert_eq!(index.apply_service(&service("web", patch)), [], "{what}");
        assert_eq!(!vips(&index).is_empty(), announced, "{what}");
    }
}

#[test]
fn external_ips_are_announced_when_asked_for() {
    let web = service("web", json!({"spec": {"externalIPs": ["192.0.2.20"]}}));
    let mut index = index();
    index.apply_service(&web);
    assert_eq!(vips(&index), ["192.0.2.10"]);
    index.selection.external_ips = true;
    index.apply_service(&web);
    assert_eq!(vips(&index), ["192.0.2.10", "192.0.2.20"]);
}

#[test]
fn the_index_follows_changes() {
    let mut index = index();
    index.apply_service(&service("web", json!({})));
    let moved = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.11"}]}}});
    index.apply_service(&service("web", moved));
    assert_eq!(vips(&index), ["192.0.2.11"]);
    index.apply_service(&service("web", json!({"metadata": {"labels": null}})));
    assert!(vips(&index).is_empty());
}

#[test]
fn a_shared_address_stays_until_its_last_service_is_gone() {
    let (a, b) = (service("a", json!({})), service("b", json!({})));
    let mut index = index();
    index.apply_service(&a);
    index.apply_service(&b);
    assert_eq!(vips(&index), ["192.0.2.10"]);
    index.delete_service(&a);
    assert_eq!(vips(&index), ["192.0.2.10"]);
    index.delete_service(&b);
    assert!(vips(&index).is_empty());
}

#[test]
fn a_new_list_forgets_what_it_does_not_name() {
    let (a, b) = (service("a", json!({})), service("b", json!({})));
    let mut index = index();
    index.apply_service(&a);
    index.apply_service(&b);
    index.retain_services(&BTreeSet::from([key(&b.metadata)]));
    index.delete_service(&b);
    assert!(vips(&index).is_empty());
}

#[test]
fn unfit_addresses_are_named_and_leave_the_others() {
    let both = json!([{"ip": "2001:db8::1"}, {"ip": "192.0.2.10"}]);
    let mut index = index();
    let unfit = index
        .apply_service(&service("web", json!({"status": {"loadBalancer": {"ingress": both}}})));
    assert_eq!(unfit.len(), 1);
    assert_eq!(unfit[0].service.to_string(), "default/web");
    assert!(matches!(unfit[0].error, VipError::Ipv6(_)));
    assert_eq!(vips(&index), ["192.0.2.10"]);
}

#[test]
fn nodes_are_eligible_when_ready_with_a_network_and_not_excluded() {
    let unavailable = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "True"}]}});
    let excluded = json!({"metadata": {"labels": {EXCLUDE_LABEL: ""}}});
    for (what, node, fit) in [
        ("ready", node("n", "True", json!({})), true),
        ("not ready", node("n", "False", json!({})), false),
        ("unknown", node("n", "Unknown", json!({})), false),
        ("no conditions", node("n", "True", json!({"status": null})), false),
        ("no network", node("n", "True", unavailable), false),
        ("excluded", node("n", "True", excluded), false),
        ("cordoned", node("n", "True", json!({"spec": {"unschedulable": true}})), true),
    ] {
        let mut index = index();
        index.apply_service(&service("web", json!({})));
        index.apply_node(&node);
        let intent = index.intent();
        let eligible = intent.vips.values().next().expect("one VIP");
        assert_eq!(eligible.len() == 1, fit, "{what}");
    }
}

//! Which addresses of which Services.

use super::*;

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
        (
            "a proxy's address",
            json!({"status": {"loadBalancer": {"ingress": [
                {"ip": "192.0.2.10", "ipMode": "Proxy"}]}}}),
            false,
        ),
    ] {
        let mut index = index().with([service("web", patch)]);
        assert_eq!(!index.vips().is_empty(), announced, "{what}");
        assert_eq!(index.take_notices(), [], "{what}");
    }
}

#[test]
fn a_class_can_be_required() {
    let selection = Selection { classless: false, ..selection() };
    let ours = json!({"spec": {"loadBalancerClass": "l2announcer.io/l2"}});
    for (patch, announced) in [(json!({}), false), (ours, true)] {
        let index = Index::new(node_name("n1"), selection.clone());
        assert_eq!(!index.with([service("web", patch)]).vips().is_empty(), announced);
    }
}

#[test]
fn external_ips_are_announced_when_asked_for_whatever_the_type() {
    let external = json!({"spec": {"externalIPs": ["192.0.2.20"]}});
    for (kind, without, with) in [
        ("LoadBalancer", &["192.0.2.10"][..], &["192.0.2.10", "192.0.2.20"][..]),
        // Its status is left over from when it was a LoadBalancer.
        ("ClusterIP", &[], &["192.0.2.20"]),
        ("NodePort", &[], &["192.0.2.20"]),
        ("ExternalName", &[], &[]),
    ] {
        let mut patch = external.clone();
        merge(&mut patch, json!({"spec": {"type": kind}}));
        for (external_ips, vips) in [(false, without), (true, with)] {
            let index = Index::new(node_name("n1"), Selection { external_ips, ..selection() });
            assert_eq!(index.with([service("web", patch.clone())]).vips(), vips, "{kind}");
        }
    }
}

#[test]
fn the_index_follows_changes() {
    let mut index = index().with([service("web", json!({}))]);
    assert_eq!(index.vips(), ["192.0.2.10"]);
    index.apply(&service("web", address("192.0.2.11")));
    assert_eq!(index.vips(), ["192.0.2.11"]);
    index.apply(&service("web", json!({"metadata": {"labels": null}})));
    assert!(index.vips().is_empty());
    index.apply(&service("web", json!({})));
    assert_eq!(index.vips(), ["192.0.2.10"]);
    index.apply(&service("web", json!({"spec": {"type": "ClusterIP"}})));
    assert!(index.vips().is_empty());
}

#[test]
fn a_shared_address_stays_until_its_last_service_is_gone() {
    let (a, b) = (service("a", json!({})), service("b", json!({})));
    let mut index = index().with([a.clone(), b.clone()]);
    assert_eq!(index.vips(), ["192.0.2.10"]);
    index.delete(Kind::Service, &a.key());
    assert_eq!(index.vips(), ["192.0.2.10"]);
    index.delete(Kind::Service, &b.key());
    assert!(index.vips().is_empty());
}

#[test]
fn a_new_list_forgets_what_it_does_not_name() {
    let all = [
        service("a", json!({})),
        service("b", address("192.0.2.11")),
        node("n1", json!({})),
        node("n2", json!({})),
    ];
    let mut index = index().with(all.clone());
    index.retain(Kind::Service, &BTreeSet::from([all[1].key()]));
    assert_eq!(index.vips(), ["192.0.2.11"]);
    index.retain(Kind::Node, &BTreeSet::from([all[3].key()]));
    assert_eq!(index.eligible_for("192.0.2.11"), ["n2"]);
}

#[test]
fn unfit_addresses_are_named_once_and_leave_the_others() {
    let both = json!({"status": {"loadBalancer": {"ingress": [
        {"ip": "2001:db8::1"}, {"ip": "192.0.2.10"}]}}});
    let mut index = index().with([service("web", both.clone())]);
    assert_eq!(index.vips(), ["192.0.2.10"]);
    let notices = index.take_notices();
    let [Notice::Unfit { service: of, error: VipError::Ipv6(_) }] = &notices[..] else {
        unreachable!("{notices:?}")
    };
    assert_eq!(of.to_string(), "default/web");
    let mut relabelled = both;
    merge(&mut relabelled, json!({"metadata": {"labels": {"more": "labels"}}}));
    index.apply(&service("web", relabelled));
    assert_eq!(index.vips(), ["192.0.2.10"]);
    assert_eq!(index.take_notices(), []);
}

#[test]
fn services_inherit_the_labels_of_what_they_were_made_for() {
    let owner = |api: &str, kind: &str| {
        let owner = json!({"apiVersion": api, "kind": kind, "name": "g", "uid": "u"});
        json!({"labels": null, "ownerReferences": [owner]})
    };
    let announce = json!({"announce": "true"});
    for (what, metadata, parent, announced) in [
        ("owned by a Gateway", owner("gateway.networking.k8s.io/v1", "Gateway"), "gateway", true),
        ("older", owner("gateway.networking.k8s.io/v1beta1", "Gateway"), "gateway", true),
        (
            "named by label",
            json!({"labels": {"announce": null, GATEWAY_NAME_LABEL: "g"}}),
            "gateway",
            true,
        ),
        ("owned by an Ingress", owner("networking.k8s.io/v1", "Ingress"), "ingress", true),
        ("another's Gateway", owner("example.io/v1", "Gateway"), "gateway", false),
        ("an Ingress of that name", owner("networking.k8s.io/v1", "Ingress"), "gateway", false),
        (
            "its own label wins",
            json!({"labels": {"announce": "no", GATEWAY_NAME_LABEL: "g"}}),
            "gateway",
            false,
        ),
    ] {
        let mut metadata = metadata;
        if let Some(labels) = metadata["labels"].as_object_mut() {
            labels.retain(|_, value| !value.is_null());
        }
        let mut whole = json!({"metadata": {"namespace": "default", "name": "web"},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}});
        merge(&mut whole, json!({"metadata": metadata}));
        let of = Object::Service(Box::new(merged(whole, json!({}))));
        let parent = match parent {
            "gateway" => gateway("g", announce.clone()),
            _ => ingress("g", announce.clone()),
        };
        let mut index = index().with([of]);
        assert!(index.vips().is_empty(), "{what}");
        index.apply(&parent);
        assert_eq!(!index.vips().is_empty(), announced, "{what}");
        index.delete(parent.kind(), &parent.key());
        assert!(index.vips().is_empty(), "{what}");
    }
}

#[test]
fn what_is_needed_is_asked_for() {
    let mut index = index().with([service("a", json!({}))]);
    index.intent();
    assert_eq!(index.wants(), Wants::default());
    let unselected = json!({"metadata": {"labels": {"announce": "false"}}});
    let mut patch = local();
    merge(&mut patch, unselected);
    index.apply(&service("b", patch));
    index.intent();
    assert!(!index.wants().endpoints, "a Service that is not ours needs no endpoints");
    index.apply(&service("b", local()));
    index.apply(&service("c", json!({"metadata": {"labels": {GATEWAY_NAME_LABEL: "g"}}})));
    index.intent();
    assert_eq!(index.wants(), Wants { endpoints: true, gateways: true, ingresses: false });
}

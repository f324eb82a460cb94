//! Policies: who decides, what unites, what is said of bad ones.

use super::*;
use crate::intent::eligibility::NotAnnounced;

const HOSTNAME: &str = "kubernetes.io/hostname";

fn cluster() -> Index {
    index().with([
        service("web", json!({"metadata": {"labels": {"app": "web"}}})),
        service(
            "db",
            merged_value(
                address("192.0.2.11"),
                json!({
                    "metadata": {"labels": {"announce": "no", "app": "db"}},
                    "spec": {"externalIPs": ["192.0.2.21"]},
                }),
            ),
        ),
        node("n1", json!({"metadata": {"labels": {"rack": "a"}}})),
        node("n2", json!({"metadata": {"labels": {"rack": "b"}}})),
        node("n3", json!({"metadata": {"labels": {"rack": "b"}}})),
    ])
}

fn merged_value(mut value: Value, patch: Value) -> Value {
    merge(&mut value, patch);
    value
}

fn labels(key: &str, value: &str) -> Value {
    json!({"matchLabels": {key: value}})
}

#[test]
fn the_flags_decide_only_while_there_is_no_policy() {
    let mut index = cluster();
    assert_eq!(index.vips(), ["192.0.2.10"]);
    let only_db = policy("p", json!({"serviceSelector": labels("app", "db")}));
    index.apply(&only_db);
    assert_eq!(index.vips(), ["192.0.2.11"]);
    index.apply(&policy("p", json!({"serviceSelector": labels("app", "none")})));
    assert_eq!(index.vips(), [""; 0]);
    let web = index.explain_service(&ObjectKey::new("default", "web")).expect("a Service");
    assert_eq!(web.why_not, Some(NotAnnounced::NoPolicySelects { policies: 1 }));
    index.delete(Kind::Policy, &only_db.key());
    assert_eq!(index.vips(), ["192.0.2.10"]);
}

#[test]
fn a_policy_means_what_its_fields_say() {
    let both = ["192.0.2.10", "192.0.2.11"];
    for (spec, vips) in [
        (json!({}), &both[..]),
        (json!({"serviceSelector": {}}), &both),
        (json!({"serviceSelector": labels("app", "web")}), &both[..1]),
        (json!({"serviceSelector": labels(NAME_PSEUDO_LABEL, "web")}), &both[..1]),
        (json!({"serviceSelector": labels(NAMESPACE_PSEUDO_LABEL, "default")}), &both),
        (json!({"serviceSelector": labels(NAMESPACE_PSEUDO_LABEL, "other")}), &[]),
        (json!({"externalIPs": true}), &["192.0.2.10", "192.0.2.11", "192.0.2.21"]),
        (json!({"externalIPs": true, "loadBalancerIPs": false}), &["192.0.2.21"]),
    ] {
        assert_eq!(cluster().with([policy("p", spec.clone())]).vips(), vips, "{spec}");
    }
}

#[test]
fn node_selectors_restrict_and_prefer() {
    let spec =
        json!({"nodeSelector": labels("rack", "b"), "preferredNodes": labels(HOSTNAME, "n3")});
    let mut index = cluster().with([policy("p", spec)]);
    assert_eq!(index.eligible(), ["n2", "n3"]);
    let preferred = |index: &mut Index| {
        let intent = index.intent();
        let vip = &intent.vips[&vip("192.0.2.10")];
        vip.preferred.iter().map(NodeName::to_string).collect::<Vec<_>>()
    };
    assert_eq!(preferred(&mut index), ["n3"]);
    let report = index.explain_vip(vip("192.0.2.10")).expect("announced");
    let reasons = &report.nodes[&node_name("n1")].reasons;
    let text = reasons.first().expect("a reason").to_string();
    assert_eq!(text, "no node selector for default/web matches (L2AnnouncementPolicy p)");
    // A node that is relabelled comes in; one that is preferred and not fit does not.
    index.apply(&node("n1", json!({"metadata": {"labels": {"rack": "b"}}})));
    index.apply(&node("n3", json!({"metadata": {"labels": {"rack": "b"}}, "status": null})));
    assert_eq!(index.eligible(), ["n1", "n2"]);
    assert_eq!(preferred(&mut index), [""; 0]);
}

#[test]
fn policies_on_one_service_unite() {
    let a = json!({"nodeSelector": labels(HOSTNAME, "n1"), "interfaces": ["^eth0$"]});
    let b = json!({"nodeSelector": labels(HOSTNAME, "n2"), "interfaces": ["^eth1$"],
        "externalIPs": true, "serviceSelector": labels("app", "db")});
    let mut index = cluster().with([policy("a", a), policy("b", b)]);
    assert_eq!(index.vips(), ["192.0.2.10", "192.0.2.11", "192.0.2.21"]);
    assert_eq!(index.eligible(), ["n1"]);
    assert_eq!(index.eligible_for("192.0.2.11"), ["n1", "n2"]);
    // Only b announces external addresses: a's nodes are not for them.
    assert_eq!(index.eligible_for("192.0.2.21"), ["n2"]);
    // Each policy's interfaces count on the nodes that it selects; this is n1.
    let on = |index: &mut Index, address: &str, name: &str| {
        index.intent().vips[&vip(address)].interfaces.includes(name)
    };
    assert!(on(&mut index, "192.0.2.11", "eth0") && !on(&mut index, "192.0.2.11", "eth1"));
    // While it may still answer, though it is not selected any more.
    assert!(on(&mut index, "192.0.2.21", "eth1") && !on(&mut index, "192.0.2.21", "eth0"));
    index.delete(Kind::Policy, &ObjectKey::new("", "b"));
    assert_eq!(index.eligible_for("192.0.2.11"), ["n1"]);
    assert_eq!(index.vips(), ["192.0.2.10", "192.0.2.11"]);
}

#[test]
fn links_count_by_the_interfaces_of_the_policy() {
    let a = json!({"serviceSelector": labels("app", "web"), "interfaces": ["^eth0$"]});
    let b = json!({"serviceSelector": labels("app", "db"), "interfaces": ["^eth1$"]});
    let mut index = cluster().with([policy("a", a), policy("b", b)]);
    let links = [("eth0", LinkState::NoCarrier), ("eth1", LinkState::Fit)];
    index.set_links(Some(links.map(|(name, state)| (name.to_owned(), state)).into()));
    assert_eq!(index.eligible(), ["n2", "n3"]);
    assert_eq!(index.eligible_for("192.0.2.11"), ["n1", "n2", "n3"]);
}

#[test]
fn a_bad_policy_has_no_effect_and_says_why() {
    let like = json!({"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]});
    for (spec, reason, message) in [
        (json!({"serviceSelector": like}), "BadServiceSelector", "spec.serviceSelector: "),
        (json!({"nodeSelector": like}), "BadNodeSelector", "spec.nodeSelector: "),
        (json!({"preferredNodes": like}), "BadPreferredNodes", "spec.preferredNodes: "),
        (json!({"interfaces": ["eth0", "eth("]}), "BadInterfaces", "\"eth(\" is not a regular"),
        (json!({"loadBalancerIPs": false}), "NothingToAnnounce", "neither"),
    ] {
        let bad = policy("p", spec);
        let mut index = cluster().with([bad.clone()]);
        assert_eq!(index.vips(), [""; 0], "{reason}: nor do the flags decide");
        let notices = index.take_notices();
        assert!(matches!(&notices[..], [Notice::BadPolicy { .. }]), "{notices:?}");
        let status = index.statuses().next().expect("a status to write").clone();
        assert_eq!((status.accepted, status.reason), (false, reason));
        assert!(status.message.contains(message), "{}", status.message);
        assert_eq!((status.resource_version.as_str(), status.generation), ("7", Some(2)));
        index.apply(&bad);
        assert_eq!(index.take_notices(), [], "{reason}: said once");
        index.apply(&policy("p", json!({})));
        assert_eq!(index.vips().len(), 2, "{reason}: mended");
    }
}

#[test]
fn a_status_that_says_it_already_is_left_alone() {
    let condition = |reason: &str, generation: u8| {
        json!([
            {"type": "Other", "status": "True", "reason": "r", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": ACCEPTED, "status": "True", "reason": reason, "message": "in effect",
             "observedGeneration": generation, "lastTransitionTime": "2026-01-02T00:00:00Z"},
        ])
    };
    for (conditions, differs) in [
        (json!([]), true),
        (condition("Accepted", 2), false),
        (condition("Accepted", 1), true),
        (condition("Accident", 2), true),
    ] {
        let Object::Policy(mut policy) = policy("p", json!({})) else { unreachable!() };
        let status = json!({"conditions": conditions});
        policy.status = serde_json::from_value(status).expect("a status");
        let index = index().with([Object::Policy(policy)]);
        let status = index.statuses().next();
        assert_eq!(status.is_some(), differs, "{conditions}");
        // What others say stays, and so does the time since when ours has stood.
        let standing = conditions.as_array().is_some_and(|list| !list.is_empty());
        if let Some(status) = status {
            assert_eq!(status.others.len(), usize::from(standing));
            assert_eq!(status.since.is_some(), standing);
        }
    }
}

#[test]
fn an_object_that_is_no_policy_is_told_and_not_written_to() {
    let Object::Policy(policy) = policy("p", json!({})) else { unreachable!() };
    let bad = BadPolicy { metadata: policy.metadata, error: "spec is missing".to_owned() };
    let mut index = cluster().with([Object::BadPolicy(Box::new(bad))]);
    assert_eq!(index.vips(), [""; 0]);
    assert_eq!(index.take_notices().len(), 1);
    assert_eq!(index.statuses().count(), 0);
}

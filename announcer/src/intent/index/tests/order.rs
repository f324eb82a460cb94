//! The intent depends on what is there, not on how it came to be.

use proptest::prelude::*;

use super::*;
use crate::intent::desired::VipIntent;

/// Something that the index is told.
#[derive(Clone, Debug)]
enum Step {
    Apply(Object),
    Delete(Kind, ObjectKey),
    /// A new list, in which only these of those known are left.
    Relist(Kind, Vec<bool>),
    /// Somebody asks in between, so that what is marked is settled.
    Ask,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => object().prop_map(Step::Apply),
        3 => object().prop_map(|object| Step::Delete(object.kind(), object.key())),
        1 => (object(), prop::collection::vec(any::<bool>(), 6))
            .prop_map(|(object, keep)| Step::Relist(object.kind(), keep)),
        2 => Just(Step::Ask),
    ];
    prop::collection::vec(step, 0..60)
}

fn one_of(list: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(list)
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![4 => a_service(), 2 => a_node(), 2 => a_slice(), 2 => a_policy(), 1 => a_parent()]
}

fn a_service() -> impl Strategy<Value = Object> {
    let names = one_of(&["a", "b", "c"]);
    let address = one_of(&["192.0.2.10", "192.0.2.11", "2001:db8::1", ""]);
    let external = prop::option::of(one_of(&["192.0.2.10", "192.0.2.12"]));
    let labels = prop::option::of(one_of(&["true", "false"]));
    let gateway = prop::option::of(one_of(&["g", "h"]));
    let kind = one_of(&["LoadBalancer", "LoadBalancer", "ClusterIP"]);
    (names, address, external, labels, gateway, kind, any::<bool>()).prop_map(
        |(name, ip, external, label, gateway, kind, local)| {
            let mut labels = json!({});
            if let Some(label) = label {
                labels["announce"] = json!(label);
            }
            if let Some(gateway) = gateway {
                labels[GATEWAY_NAME_LABEL] = json!(gateway);
            }
            let policy = if local { "Local" } else { "Cluster" };
            let whole = json!({
                "metadata": {"namespace": "default", "name": name, "labels": labels},
                "spec": {"type": kind, "externalTrafficPolicy": policy, "externalIPs": external.into_iter().collect::<Vec<_>>()},
                "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
            });
            Object::Service(Box::new(merged(whole, json!({}))))
        },
    )
}

fn a_node() -> impl Strategy<Value = Object> {
    let ready = one_of(&["True", "True", "False"]);
    (one_of(&["n1", "n2", "n3"]), ready, one_of(&["a", "b"]), any::<bool>()).prop_map(
        |(name, ready, rack, excluded)| {
            let mut labels = json!({"rack": rack});
            if excluded {
                labels[EXCLUDE_LABEL] = json!("");
            }
            let status = json!([{"type": "Ready", "status": ready}]);
            node(name, json!({"metadata": {"labels": labels}, "status": {"conditions": status}}))
        },
    )
}

fn a_slice() -> impl Strategy<Value = Object> {
    let node = prop::option::of(one_of(&["n1", "n2", "n4"]));
    let endpoints = prop::collection::vec((node, any::<bool>()), 0..3);
    (one_of(&["s", "t"]), one_of(&["a", "b"]), endpoints).prop_map(|(name, of, endpoints)| {
        let endpoints: Vec<_> = endpoints
            .into_iter()
            .map(|(node, ready)| {
                json!({"addresses": ["10.0.0.1"], "nodeName": node, "conditions": {"ready": ready}})
            })
            .collect();
        slice(name, of, json!(endpoints))
    })
}

fn a_policy() -> impl Strategy<Value = Object> {
    let selector = |key: &'static str, values| {
        prop::option::of(one_of(values))
            .prop_map(move |value| value.map(|value| json!({"matchLabels": {key: value}})))
    };
    let interfaces = prop::sample::select(vec![json!([]), json!(["^eth0$"]), json!(["eth("])]);
    (
        one_of(&["p", "q"]),
        selector("announce", &["true", "false"]),
        selector("rack", &["a", "b"]),
        selector("rack", &["a"]),
        interfaces,
        any::<(bool, bool)>(),
    )
        .prop_map(|(name, services, nodes, preferred, interfaces, (lb, external))| {
            let mut spec =
                json!({"interfaces": interfaces, "loadBalancerIPs": lb, "externalIPs": external});
            spec["serviceSelector"] = json!(services);
            spec["nodeSelector"] = json!(nodes);
            spec["preferredNodes"] = json!(preferred);
            policy(name, spec)
        })
}

fn a_parent() -> impl Strategy<Value = Object> {
    (one_of(&["g", "h"]), one_of(&["true", "false"]))
        .prop_map(|(name, announce)| gateway(name, json!({"announce": announce})))
}

type World = BTreeMap<(Kind, ObjectKey), Object>;

fn take(world: &mut World, index: &mut Index, step: &Step) {
    match step {
        Step::Apply(object) => {
            world.insert((object.kind(), object.key()), object.clone());
            index.apply(object);
        }
        Step::Delete(kind, key) => {
            world.remove(&(*kind, key.clone()));
            index.delete(*kind, key);
        }
        Step::Relist(kind, keep) => {
            let mut keep = keep.iter().chain(std::iter::repeat(&true));
            world.retain(|(k, _), _| k != kind || keep.next() == Some(&true));
            let left = world.keys().filter(|(k, _)| k == kind).map(|(_, key)| key.clone());
            index.retain(*kind, &left.collect());
        }
        Step::Ask => drop(index.intent()),
    }
}

fn content(index: &mut Index) -> Vec<(Vip, VipIntent)> {
    index.intent().vips.iter().map(|(vip, how)| (*vip, how.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn only_what_is_there_in_the_end_counts(
        steps in steps(), again in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        let (mut world, mut index) = (World::new(), index());
        for step in &steps {
            take(&mut world, &mut index, step);
        }
        // In any order, and some of it twice.
        let mut objects: Vec<&Object> = world.values().collect();
        objects.sort_by_key(|object| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            (seed, format!("{:?}", object.key()), object.kind() as u8).hash(&mut hasher);
            hasher.finish()
        });
        let mut fresh = super::index();
        for object in &objects {
            fresh.apply(object);
        }
        prop_assert_eq!(content(&mut index), content(&mut fresh));
        if !objects.is_empty() {
            let object = objects[again.index(objects.len())];
            let before = index.intent();
            index.apply(object);
            prop_assert!(Arc::ptr_eq(&before, &index.intent()), "{:?} twice", object);
        }
        // What is said agrees with what is done.
        let mut intent = (*index.intent()).clone();
        for (vip, how) in std::mem::take(&mut intent.vips) {
            let report = index.explain_vip(vip).expect("it is announced");
            prop_assert!(how.preferred.is_subset(&how.eligible));
            for (node, said) in report.nodes {
                prop_assert_eq!(said.eligible, how.eligible.contains(&node));
                if !report.divided {
                    prop_assert_eq!(said.eligible, said.reasons.is_empty(), "{} {:?}", node, said);
                }
            }
        }
        // Nothing is left behind.
        for kind in [Kind::Service, Kind::Node, Kind::EndpointSlice, Kind::Policy, Kind::Gateway] {
            index.retain(kind, &BTreeSet::new());
        }
        prop_assert!(index.intent().vips.is_empty());
        prop_assert!(index.claims.is_empty() && index.children.is_empty());
        prop_assert!(index.divided.is_empty() && index.parents.is_empty());
    }
}

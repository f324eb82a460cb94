//! The shipped roles: every verb that they grant is used, and nothing else is asked for.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use announcer_apiserver::{GroupResource, Match, SERVICES, Verb};
use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    capture::Injector,
    cluster::{ANNOUNCE, Cluster, NAMESPACE, SERVICES_IN, SOON},
    controlplane::{ControlPlane, Pooled},
    lab::CLIENT_NIC,
    probe::Probe,
};
use serde_json::{Value, json};

use crate::{OTHER, THIRD, VIP, quick};

/// A second address of the Service that has OTHER.
const FOURTH: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 13);

const ACCOUNT: &str = "system:serviceaccount:announcer-system:announcer";

/// What may be done, or was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    /// Empty: cluster-wide.
    namespace: String,
    verb: Verb,
    group: String,
    resource: String,
    subresource: Option<String>,
}

impl Access {
    fn requests(&self) -> Match {
        let resource = GroupResource::new(self.group.clone(), self.resource.clone());
        let of = Match::any().verb(self.verb).resource(resource);
        // What is granted everywhere may be used in one namespace only, as for Events.
        let of = if self.namespace.is_empty() { of } else { of.namespace(&*self.namespace) };
        of.subresource(self.subresource.as_deref())
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> + Clone {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What the roles in the API server grant: all that the manifests brought.
fn granted(control: &ControlPlane) -> BTreeSet<Access> {
    let ours = "app.kubernetes.io/name=announcer";
    let roles = control.kubectl(&["get", "clusterroles,roles", "-A", "-l", ours, "-o", "json"]);
    let roles: Value = serde_json::from_str(&roles.unwrap()).unwrap();
    let mut granted = BTreeSet::new();
    for role in roles["items"].as_array().unwrap() {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().unwrap() {
            assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    let (resource, subresource) = match resource.split_once('/') {
                        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
                        None => (resource, None),
                    };
                    for verb in strings(&rule["verbs"]) {
                        granted.insert(Access {
                            namespace: namespace.to_owned(),
                            verb: Verb::parse(verb).unwrap(),
                            group: group.to_owned(),
                            resource: resource.to_owned(),
                            subresource: subresource.clone(),
                        });
                    }
                }
            }
        }
    }
    granted
}

/// What announcers asked for. Paths that are no resources everybody may read, and no
/// announcer does.
fn asked(cluster: &Cluster) -> BTreeSet<Access> {
    let entries = cluster.audit().recent(&Match::any()).into_iter().map(|entry| entry.request);
    let access = |request: announcer_apiserver::RequestInfo| {
        let resource = request.resource.ok_or(request.uri).unwrap();
        Access {
            namespace: request.namespace,
            verb: request.verb,
            group: resource.group().to_owned(),
            resource: resource.plural().to_owned(),
            subresource: request.subresource,
        }
    };
    entries.map(access).collect()
}

/// Services whose eligible nodes and labels depend on each of the other kinds.
fn services_that_call_for_all_kinds(cluster: &Cluster) {
    let (label, value) = ANNOUNCE;
    cluster.create_service("local", VIP).unwrap();
    cluster
        .patch_service("local", json!({ "spec": { "externalTrafficPolicy": "Local" } }))
        .unwrap();
    cluster.set_endpoints("local", &[1, 2, 3]).unwrap();

    cluster.install_gateways().unwrap();
    cluster.set_gateway("edge", json!({ label: value })).unwrap();
    let made = json!({ "gateway.networking.k8s.io/gateway-name": "edge" });
    cluster.create_service_without_address("edge", made).unwrap();
    cluster.set_addresses("edge", &[OTHER, FOURTH]).unwrap();

    let ingresses = GroupResource::new("networking.k8s.io", "ingresses");
    let backend = json!({ "service": { "name": "local", "port": { "number": 80 } } });
    let ingress = json!({
        "metadata": { "name": "site", "labels": { label: value } },
        "spec": { "defaultBackend": backend },
    });
    let ingress = cluster.objects().create(&ingresses, SERVICES_IN, ingress).unwrap();
    let owner = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "site",
        "uid": ingress["metadata"]["uid"],
    });
    let service = json!({
        "metadata": { "name": "site", "ownerReferences": [owner] },
        "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
    });
    cluster.objects().create(&SERVICES, SERVICES_IN, service).unwrap();
    cluster.set_addresses("site", &[THIRD]).unwrap();
}

#[test]
fn the_roles_grant_what_is_used_and_nothing_else() {
    let mut cluster = quick(3);
    services_that_call_for_all_kinds(&cluster);
    let ask = |vip| Probe::new(vip).rate(100).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let probes = [VIP, OTHER, THIRD].map(ask);
    cluster.start_all().unwrap();
    for probe in &probes {
        probe.wait_first_answer(SOON).unwrap();
    }
    // Its status is written.
    cluster.set_policy("all", json!({})).unwrap();
    // A Node that is made anew, as by a kubelet that registers again.
    let name = cluster.name(2).to_owned();
    cluster.delete_node(&name).unwrap();
    cluster.delete_node_lease(2).unwrap();
    cluster.set_node_ready(&name, true).unwrap();
    let uid = cluster.node_uid(&name).unwrap();
    cluster.wait_for_owner(2, &uid, SOON).unwrap();
    // A node that dies is fenced, and what it held is taken.
    let holder = cluster.holder(VIP).unwrap();
    cluster.kill(holder).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n != holder).unwrap();
    cluster.terminate(holder % 3 + 1, SOON).unwrap();
    // Conflicts over two addresses of one Service are Events.
    let last = (holder + 1) % 3 + 1;
    let stranger = Injector::open(cluster.lab().client(), CLIENT_NIC).unwrap();
    for vip in [OTHER, FOURTH] {
        cluster.wait_for_holder(vip, SOON, |n| n == last).unwrap();
        let ask = Probe::new(vip).rate(100).start(cluster.lab().client(), CLIENT_NIC).unwrap();
        ask.wait_answer_by(cluster.lab().node(last).mac, SOON).unwrap();
        let claim = ArpFrame::announcement(Mac([0x52, 0x54, 0, 0, 0, 1]), vip, Op::Reply);
        stranger.send(&claim.to_padded_bytes()).unwrap();
    }

    let granted = granted(cluster.control_plane());
    assert!(!granted.is_empty());
    let (audit, mut unused) = (cluster.audit(), granted.clone());
    unused.retain(|access| !audit.wait_for(&access.requests(), 1, SOON));
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    let asked = asked(&cluster);
    let everywhere = |access: &Access| Access { namespace: String::new(), ..access.clone() };
    let covered =
        |access: &&Access| granted.contains(*access) || granted.contains(&everywhere(access));
    let beyond: Vec<_> = asked.iter().filter(|access| !covered(access)).collect();
    assert!(beyond.is_empty(), "asked for and not granted by these roles: {beyond:#?}");
}

/// What this test does on purpose, any other would fail by.
#[test]
fn a_denied_request_fails_a_test_though_it_cleared_the_audit() {
    let control = Pooled::take().unwrap();
    assert!(control.denied().unwrap().is_empty());
    let [token, kubeconfig] = ["token", "kubeconfig"].map(|file| control.directory().join(file));
    control.introduce("node-1", &token, &kubeconfig).unwrap();
    let token = control.announcer_token("node-1").unwrap();
    let refused = control.kubectl(&["--token", &token, "get", "secrets", "-A"]).unwrap_err();
    assert!(refused.to_string().contains("Forbidden"), "{refused}");
    control.audit().clear();
    let denied = control.denied().unwrap();
    assert_eq!(denied.len(), 1, "{denied:#?}");
    assert_eq!(denied[0].request.resource, Some(GroupResource::new("", "secrets")));
    let end = catch_unwind(AssertUnwindSafe(|| drop(control)));
    assert!(end.is_err(), "it ended as if nothing had been denied");
}

/// Whether the ServiceAccount may do each of these: verbs, group, resource, namespace.
fn may(control: &ControlPlane, accesses: &[(&str, &str, &str, &str)]) -> Vec<bool> {
    let review = |&(verb, group, resource, namespace): &(&str, &str, &str, &str)| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": ACCOUNT,
                "groups": [
                    "system:serviceaccounts", "system:serviceaccounts:announcer-system",
                    "system:authenticated",
                ],
                "resourceAttributes": {
                    "verb": verb, "group": group, "resource": resource,
                    "subresource": subresource, "namespace": namespace,
                },
            },
        })
    };
    let items: Vec<_> = accesses.iter().map(review).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let each = "jsonpath={.status.allowed}{'\\n'}";
    let answers = control.kubectl_with_input(&["create", "-f", "-", "-o", each], &list).unwrap();
    answers.lines().map(|line| line == "true").collect()
}

#[test]
fn an_announcer_that_is_taken_over_may_do_little() {
    const LEASES: (&str, &str) = ("coordination.k8s.io", "leases");
    let control = Pooled::take().unwrap();
    let lease = |verb, namespace| (verb, LEASES.0, LEASES.1, namespace);
    let allowed = [
        lease("update", NAMESPACE),
        ("get", "", "nodes", ""),
        ("patch", "l2announcer.io", "l2announcementpolicies/status", ""),
    ];
    assert_eq!(may(&control, &allowed), [true; 3], "the question is asked rightly");

    let mut refused = vec![
        ("*", "*", "*", ""),
        ("get", "", "secrets", NAMESPACE),
        ("list", "", "secrets", "kube-system"),
        ("list", "", "configmaps", NAMESPACE),
        ("list", "", "pods", NAMESPACE),
        ("create", "", "pods", NAMESPACE),
        ("create", "", "serviceaccounts/token", NAMESPACE),
        ("impersonate", "", "users", ""),
        ("create", "", "events", NAMESPACE),
    ];
    for verb in Verb::ALL {
        let elsewhere = ["kube-system", "default", "kube-node-lease", ""];
        refused.extend(elsewhere.map(|namespace| lease(verb.as_str(), namespace)));
    }
    for verb in ["patch", "delete", "deletecollection"] {
        refused.push(lease(verb, NAMESPACE));
    }
    for verb in Verb::WRITES.map(Verb::as_str) {
        refused.push((verb, "", "services", SERVICES_IN));
        refused.push((verb, "", "services/status", SERVICES_IN));
        refused.push((verb, "", "nodes", ""));
        refused.push((verb, "", "nodes/status", ""));
        refused.push((verb, "l2announcer.io", "l2announcementpolicies", ""));
    }
    refused.push(("update", "l2announcer.io", "l2announcementpolicies/status", ""));
    let answers = may(&control, &refused);
    assert_eq!(answers.len(), refused.len());
    let allowed: Vec<_> = refused.iter().zip(answers).filter(|(_, allowed)| *allowed).collect();
    assert!(allowed.is_empty(), "{allowed:#?}");
}

//! What somebody sees who applies the manifests, and then looks with kubectl.

use std::time::Instant;

use announcer_tests::{
    cluster::{Cluster, NAMESPACE, SOON, VipLease, policies},
    controlplane::{ControlPlane, MANIFESTS, Pooled},
};
use serde_json::{Value, json};

use crate::{VIP, held_by_node_1, policies::NO_EXPRESSION, quick};

/// A table of kubectl's, without its header: columns are three spaces apart at least.
fn table(control: &ControlPlane, args: &[&str]) -> (Vec<String>, Vec<Vec<String>>) {
    let text = control.kubectl(args).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let begins = |&at: &usize| !header[at..].starts_with(' ') && header[..at].ends_with("   ");
    let starts: Vec<_> = [0].into_iter().chain((1..header.len()).filter(begins)).collect();
    let cells = |line: &str| -> Vec<String> {
        let ends = starts.iter().skip(1).copied().chain([line.len()]);
        let cell = |(from, to): (&usize, usize)| line.get(*from..to).unwrap_or_default().trim();
        starts.iter().zip(ends).map(cell).map(str::to_owned).collect()
    };
    (cells(header), lines.map(cells).collect())
}

#[test]
fn applying_again_changes_nothing() {
    let control = Pooled::take().unwrap();
    let applied = control.kubectl(&["apply", "--validate=strict", "-k", MANIFESTS]).unwrap();
    assert!(applied.lines().count() > 5, "{applied}");
    assert!(applied.lines().all(|line| line.ends_with(" unchanged")), "{applied}");
    // It fails where there is a difference.
    assert_eq!(control.kubectl(&["diff", "-k", MANIFESTS]).unwrap(), "");
}

#[test]
fn deleting_leaves_nothing() {
    let mut control = Pooled::take().unwrap();
    let control: &mut ControlPlane = &mut control;
    let policy = json!({
        "apiVersion": "l2announcer.io/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": { "name": "all" }, "spec": { "loadBalancerIPs": true },
    });
    control.kubectl_with_input(&["create", "-f", "-"], &policy.to_string()).unwrap();
    let ours =
        "clusterroles,clusterrolebindings,crds,roles,rolebindings,serviceaccounts,daemonsets";
    let get = ["get", ours, "-A", "-l", "app.kubernetes.io/name=announcer", "-o", "name"];
    assert_eq!(control.kubectl(&get).unwrap().lines().count(), 7);

    // The namespace goes last, and is emptied by a controller that is not here.
    control.kubectl(&["delete", "--wait=false", "-k", MANIFESTS]).unwrap();
    let gone = ["wait", "--for=delete", "crd/l2announcementpolicies.l2announcer.io"];
    control.kubectl(&[&gone[..], &["--timeout=60s"]].concat()).unwrap();
    assert_eq!(control.kubectl(&get).unwrap(), "");
    let phase = ["get", "namespace", NAMESPACE, "-o", "jsonpath={.status.phase}"];
    assert_eq!(control.kubectl(&phase).unwrap(), "Terminating");
}

#[test]
fn every_field_of_a_policy_is_explained() {
    let control = Pooled::take().unwrap();
    // The API server serves a new kind a while before it publishes its schema.
    let explain = |path: &str| {
        let deadline = Instant::now() + SOON;
        loop {
            match control.kubectl(&["explain", path]) {
                Err(error)
                    if Instant::now() < deadline
                        && error.to_string().contains("couldn't find resource") => {}
                said => return said.unwrap(),
            }
        }
    };
    for (path, fields) in [
        ("", &["spec", "status"][..]),
        (
            ".spec",
            &[
                "externalIPs",
                "interfaces",
                "loadBalancerIPs",
                "nodeSelector",
                "preferredNodes",
                "serviceSelector",
            ],
        ),
        (".spec.serviceSelector", &["matchExpressions", "matchLabels"]),
        (".spec.nodeSelector.matchExpressions", &["key", "operator", "values"]),
        (".status", &["conditions"]),
        (".status.conditions", &["message", "observedGeneration", "reason", "status", "type"]),
    ] {
        let text = explain(&format!("l2announcementpolicies{path}"));
        assert!(!text.contains("no description"), "{text}");
        for field in fields {
            assert!(text.contains(&format!("\n  {field}\t")), "{field}: {text}");
        }
    }
    let text = explain("l2ap.spec.nodeSelector.matchExpressions.operator");
    assert!(["In", "NotIn", "Exists", "DoesNotExist"].iter().all(|op| text.contains(op)), "{text}");
}

#[test]
fn tables_say_who_holds_what_and_which_policies_count() {
    let mut cluster = quick(2);
    cluster.set_policy("all", json!({})).unwrap();
    cluster.set_policy("bad", json!({ "interfaces": [NO_EXPRESSION] })).unwrap();
    let probe = held_by_node_1(&mut cluster);
    let condition = |policy: Option<&Value>| {
        policy.is_some_and(|policy| policy.pointer("/status/conditions/0").is_some())
    };
    for policy in ["all", "bad"] {
        cluster.objects().wait_for(&policies(), "", policy, condition, SOON).unwrap();
    }
    let control = cluster.control_plane();

    let (header, rows) = table(control, &["get", "l2announcementpolicies"]);
    assert_eq!(header, ["NAME", "LOADBALANCER IPS", "EXTERNAL IPS", "ACCEPTED", "AGE"]);
    let first = |n: usize| rows.iter().map(|row| row[..n].to_vec()).collect::<Vec<_>>();
    assert_eq!(first(4), [["all", "true", "false", "True"], ["bad", "true", "false", "False"]]);
    let (header, rows) = table(control, &["get", "l2ap", "-o", "wide"]);
    assert_eq!(header[3..], ["ACCEPTED", "MESSAGE", "AGE"]);
    assert_eq!(rows[0][4], "in effect");
    assert!(rows[1][4].starts_with("no effect: spec.interfaces: "), "{}", rows[1][4]);

    let leases =
        |args: &[&str]| table(control, &[&["get", "leases", "-n", NAMESPACE], args].concat());
    let (header, rows) = leases(&["-l", "l2announcer.io/lease=vip"]);
    assert_eq!(header, ["NAME", "HOLDER", "AGE"]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0][..2], ["announcer-vip-192-0-2-10", "node-1"]);
    let nodes = ["-l", "l2announcer.io/lease=node", "-L", "l2announcer.io/session"];
    let (header, rows) = leases(&nodes);
    assert_eq!(header, ["NAME", "HOLDER", "AGE", "SESSION"]);
    for (n, row) in [1, 2].into_iter().zip(&rows) {
        let (lease, node) = (format!("announcer-node-node-{n}"), format!("node-{n}"));
        assert_eq!([&row[0], &row[1], &row[3]], [&*lease, &*node, "open"]);
    }
    drop(probe);
    cluster.terminate(1, SOON).unwrap();
    let (_, rows) =
        table(cluster.control_plane(), &["get", "leases", "-n", NAMESPACE, "-L", nodes[3]]);
    let holders: Vec<_> = rows.iter().map(|row| (&*row[0], &*row[1], &*row[3])).collect();
    let vip = VipLease::name(VIP);
    assert_eq!(
        holders,
        [
            ("announcer-node-node-1", "", "over"),
            ("announcer-node-node-2", "node-2", "open"),
            (&*vip, "node-2", ""),
        ]
    );
}

/// The conditions of a policy, when they are about its newest version.
fn conditions(cluster: &Cluster, name: &str, status: &str) -> Vec<Value> {
    let current = |policy: &Value| -> Option<Vec<Value>> {
        let generation = &policy["metadata"]["generation"];
        let conditions = policy.pointer("/status/conditions")?.as_array()?;
        let own = conditions.iter().find(|c| c["type"] == "Accepted")?;
        (own["observedGeneration"] == *generation && own["status"] == status)
            .then(|| conditions.clone())
    };
    let is_current = |policy: Option<&Value>| policy.and_then(current).is_some();
    let policy = cluster.objects().wait_for(&policies(), "", name, is_current, SOON).unwrap();
    current(&policy.unwrap()).unwrap()
}

#[test]
fn a_policy_tells_whether_it_is_in_effect() {
    let mut cluster = quick(2);
    cluster.start_all().unwrap();
    cluster.set_policy("all", json!({})).unwrap();
    let first = conditions(&cluster, "all", "True");
    assert_eq!(first.len(), 1, "{first:?}");
    let good = &first[0];
    assert_eq!((&good["reason"], &good["message"]), (&json!("Accepted"), &json!("in effect")));
    // Of somebody else, and to be left alone.
    let other = json!({
        "type": "Reviewed", "status": "True", "reason": "Asked", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({ "status": { "conditions": [good, other] } });
    cluster.objects().patch_status(&policies(), "", "all", status).unwrap();

    cluster.set_policy("all", json!({ "interfaces": [NO_EXPRESSION, "eth0"] })).unwrap();
    let both = conditions(&cluster, "all", "False");
    let bad = both.iter().find(|condition| condition["type"] == "Accepted").unwrap();
    assert_eq!(bad["reason"], "BadInterfaces");
    let message = bad["message"].as_str().unwrap();
    assert!(message.starts_with("no effect: spec.interfaces: ") && message.contains("Qens18"));
    let others: Vec<_> = both.iter().filter(|condition| condition["type"] != "Accepted").collect();
    assert_eq!(others, [&other]);

    cluster.set_policy("all", json!({ "interfaces": [] })).unwrap();
    let again = conditions(&cluster, "all", "True");
    assert_eq!(again.len(), 2);
}

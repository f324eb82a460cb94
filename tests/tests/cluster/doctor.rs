//! `announcer doctor` on a node of a cluster.

use std::time::Duration;

use announcer_apiserver::{Fault, Match, Outage};
use announcer_tests::{
    cluster::{Cluster, SOON},
    daemon::DaemonBuilder,
    lab::UPLINK,
};
use serde_json::Value;

use crate::quick;

/// Exit code, and each finding as "level check: found".
fn examined(cluster: &Cluster, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let node = cluster.lab().node(1);
    let mut doctor = DaemonBuilder::new("doctor")
        .unwrap()
        .named("doctor")
        .args(["--interface", UPLINK, "-o", "json"])
        .env("ANNOUNCER_KUBECONFIG", cluster.kubeconfig(node))
        .args(args)
        .start(&node.ns)
        .unwrap();
    let code = doctor.wait_exit(SOON * 2).unwrap().code();
    // The last words come by the other output, at any time.
    let lines = doctor.log().into_iter().map(|line| line.text);
    let said: String = lines.filter(|line| !line.starts_with("announcer: ")).collect();
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let line =
        |it: &Value| format!("{} {}: {}", text(it, "level"), text(it, "check"), text(it, "found"));
    (code, report["findings"].as_array().unwrap().iter().map(line).collect())
}

#[track_caller]
fn has(findings: &[String], parts: &[&str]) {
    let is_it = |line: &String| parts.iter().all(|part| line.contains(part));
    assert!(findings.iter().any(is_it), "{parts:?} in {findings:#?}");
}

#[test]
fn a_node_that_is_well_is_told_so() {
    let cluster = quick(1);
    let (code, findings) = examined(&cluster, &["--node-name", "node-1"]);
    assert_eq!(code, Some(0), "{findings:#?}");
    has(&findings, &["ok API server", "answers within", "a renewal is given up after"]);
    has(&findings, &["ok node", "Node node-1 is there and Ready"]);
    has(&findings, &["ok policies", "are not served"]);
    cluster.install_policies().unwrap();
    let (_, findings) = examined(&cluster, &["--node-name", "node-1"]);
    has(&findings, &["ok policies", "are served"]);
}

#[test]
fn what_keeps_a_node_from_holding_vips_is_told() {
    let cluster = quick(1);
    let (code, findings) = examined(&cluster, &["--node-name", "node-7"]);
    assert_eq!(code, Some(7), "{findings:#?}");
    has(&findings, &["failure node", "there is no Node node-7"]);
    cluster.set_node_ready("node-1", false).unwrap();
    let (code, findings) = examined(&cluster, &["--node-name", "node-1"]);
    assert_eq!(code, Some(0), "{findings:#?}");
    has(&findings, &["warning node", "not Ready"]);
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    cluster.set_node_label(1, label, Some("")).unwrap();
    let (_, findings) = examined(&cluster, &["--node-name", "node-1"]);
    has(&findings, &["warning node", "excluded"]);
}

#[test]
fn an_api_server_that_is_away_or_slow_is_a_failure() {
    let cluster = quick(1);
    let faults = cluster.server().faults();
    let away = faults.outage(Outage::Refuse);
    let (code, findings) = examined(&cluster, &[]);
    assert_eq!(code, Some(7), "{findings:#?}");
    has(&findings, &["failure API server", "no answer"]);
    drop(away);
    // Longer than a renewal may take: (3 s - 3 s / 5 - 1 s) / 2.
    let slow = Fault::DelayBefore(Duration::from_millis(750));
    let _slow = faults.inject_times(5, Match::any(), slow);
    let (code, findings) = examined(&cluster, &["--node-name", "node-1"]);
    assert_eq!(code, Some(7), "{findings:#?}");
    has(&findings, &["failure API server", "given up after 700 ms"]);
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named() {
    let cluster = quick(1);
    let (code, findings) = examined(&cluster, &["--kubeconfig", "/nowhere/config"]);
    assert_eq!(code, Some(7), "{findings:#?}");
    has(&findings, &["failure credentials", "/nowhere/config"]);
}

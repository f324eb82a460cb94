//! `announcer doctor` on a node of a cluster.

use std::time::Duration;

use announcer_apiserver::{Fault, Match, Outage};
use announcer_tests::{
    cluster::{Cluster, SOON},
    daemon::DaemonBuilder,
    examined::Report,
    lab::UPLINK,
};

use crate::quick;

fn examined(cluster: &Cluster, args: &[&str]) -> Report {
    let node = cluster.lab().node(1);
    let doctor = DaemonBuilder::new("doctor")
        .unwrap()
        .named("doctor")
        .args(["--interface", UPLINK, "-o", "json"])
        .env("ANNOUNCER_KUBECONFIG", cluster.kubeconfig(node))
        .args(args)
        .start(&node.ns)
        .unwrap();
    Report::of(doctor, SOON * 2).unwrap()
}

#[test]
fn a_node_that_is_well_is_told_so() {
    let cluster = quick(1);
    let report = examined(&cluster, &["--node-name", "node-1"]);
    assert_eq!(report.code, Some(0), "{}", report.said);
    report.on("API server").find("ok", "answers within");
    report.on("API server").find("ok", "a renewal is given up after");
    report.on("node").find("ok", "Node node-1 is there and Ready");
    report.on("policies").find("ok", "are not served");
    cluster.install_policies().unwrap();
    let report = examined(&cluster, &["--node-name", "node-1"]);
    report.on("policies").find("ok", "are served");
}

#[test]
fn what_keeps_a_node_from_holding_vips_is_told() {
    let cluster = quick(1);
    let report = examined(&cluster, &["--node-name", "node-7"]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.on("node").find("failure", "there is no Node node-7");
    cluster.set_node_ready("node-1", false).unwrap();
    let report = examined(&cluster, &["--node-name", "node-1"]);
    assert_eq!(report.code, Some(0), "{}", report.said);
    report.on("node").find("warning", "not Ready");
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    cluster.set_node_label(1, label, Some("")).unwrap();
    let report = examined(&cluster, &["--node-name", "node-1"]);
    report.on("node").find("warning", "excluded");
}

#[test]
fn an_api_server_that_is_away_or_slow_is_a_failure() {
    let cluster = quick(1);
    let faults = cluster.server().faults();
    let away = faults.outage(Outage::Refuse);
    let report = examined(&cluster, &[]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.on("API server").find("failure", "no answer");
    drop(away);
    // Longer than a renewal may take: (3 s - 3 s / 5 - 1 s) / 2.
    let slow = Fault::DelayBefore(Duration::from_millis(750));
    let _slow = faults.inject_times(5, Match::any(), slow);
    let report = examined(&cluster, &["--node-name", "node-1"]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.on("API server").find("failure", "given up after 700 ms");
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named() {
    let cluster = quick(1);
    let report = examined(&cluster, &["--kubeconfig", "/nowhere/config"]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.on("credentials").find("failure", "/nowhere/config");
}

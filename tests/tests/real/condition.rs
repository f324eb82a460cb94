//! Condition L2Announced of Services, with server-side apply as it really is.

use std::{
    net::Ipv4Addr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use announcer_apiserver::{Match, SERVICES, Verb};
use announcer_tests::{
    cluster::{ANNOUNCE, Cluster, SERVICES_IN, SOON},
    controlplane::ControlPlane,
    deployment::kustomize_with,
    lab::UPLINK,
};
use serde_json::{Value, json};

use crate::{OTHER, QUICK, STAY, THIRD, VIP, answered_by, cluster};

/// A look is logged at level debug.
const ARGS: [&str; 3] = ["--service-condition", "--log", "debug"];
const LOOKED: &str = "looked at conditions";

fn with_conditions(nodes: u8) -> Cluster {
    cluster(nodes, QUICK, STAY.into_iter().chain(ARGS))
}

/// A Service whose status has this condition, of another field manager.
fn service(cluster: &Cluster, name: &str, vip: Ipv4Addr, condition: &Value) {
    cluster.create_service(name, vip).unwrap();
    let status = json!({ "status": { "conditions": [condition] } });
    cluster.objects().patch_status(&SERVICES, SERVICES_IN, name, status).unwrap();
}

fn condition(kind: &str) -> Value {
    json!({
        "type": kind, "status": "Unknown", "reason": "Asked", "message": "by hand",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn own(service: &Value) -> Option<&Value> {
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == "L2Announced")
}

/// Waits until `web` says this; the condition and all of the Service.
#[track_caller]
fn wait_for(cluster: &Cluster, status: &str, reason: &str, message: &str) -> (Value, Value) {
    let says = |condition: &Value| {
        condition["status"] == status
            && condition["reason"] == reason
            && condition["message"].as_str().is_some_and(|it| it.starts_with(message))
    };
    let is_it = |service: Option<&Value>| service.and_then(own).is_some_and(says);
    let service = cluster.objects().wait_for(&SERVICES, SERVICES_IN, "web", is_it, SOON * 2);
    let service = service.unwrap().unwrap();
    (own(&service).unwrap().clone(), service)
}

fn by(cluster: &Cluster, vip: Ipv4Addr, n: usize) -> String {
    let (node, mac) = (cluster.name(n), cluster.lab().node(n).mac);
    format!("{vip} by {node} ({mac} on {UPLINK})")
}

/// Waits for some more looks of node `n`'s announcer.
fn wait_for_looks(cluster: &Cluster, n: usize, more: usize) {
    let daemon = cluster.daemon(n).unwrap();
    let last = daemon.log().last().map(|line| line.at);
    let mut after = last;
    for _ in 0..more {
        let is_next = |line: &announcer_tests::daemon::LogLine| {
            line.text.contains(LOOKED) && after.is_none_or(|at| line.at > at)
        };
        after = Some(daemon.wait_for_line(SOON * 2, is_next).unwrap().at);
    }
}

fn patches(name: &str) -> Match {
    Match::any().verb(Verb::Patch).resource(SERVICES).subresource(Some("status")).name(name)
}

#[test]
fn a_service_says_who_announces_it() {
    let mut cluster = with_conditions(2);
    let control: &mut ControlPlane = &mut *cluster.control_plane_mut();
    let manifests = kustomize_with(&["service-condition"]).unwrap();
    control.kubectl_with_input(&["apply", "--validate=strict", "-f", "-"], &manifests).unwrap();
    let (anothers, same) = (condition("Reviewed"), condition("L2Announced"));
    service(&cluster, "web", VIP, &anothers);
    service(&cluster, "taken", OTHER, &same);
    let assert_untouched = |service: &Value, vip: Ipv4Addr| {
        let status = &service["status"];
        assert_eq!(status["loadBalancer"]["ingress"], json!([{ "ip": vip, "ipMode": "VIP" }]));
        let conditions = status["conditions"].as_array().unwrap();
        assert!(conditions.contains(&anothers), "{conditions:?}");
    };

    cluster.start_all().unwrap();
    let (first, service) = wait_for(&cluster, "True", "Announced", &by(&cluster, VIP, 1));
    assert_untouched(&service, VIP);
    let left_alone = "somebody else's here, and left alone";
    cluster.daemon(1).unwrap().wait_for_log(left_alone, SOON).unwrap();

    cluster.terminate(1, SOON).unwrap();
    let (second, service) = wait_for(&cluster, "True", "Announced", &by(&cluster, VIP, 2));
    assert_eq!(second["lastTransitionTime"], first["lastTransitionTime"]);
    assert_untouched(&service, VIP);

    // Once by each holder, and nothing while nothing changes.
    cluster.daemon(2).unwrap().wait_for_log(left_alone, SOON).unwrap();
    wait_for_looks(&cluster, 2, 2);
    assert_eq!([patches("web"), patches("taken")].map(|of| cluster.audit().count(&of)), [2, 2]);
    let taken = cluster.objects().get(&SERVICES, SERVICES_IN, "taken").unwrap();
    assert_eq!(own(&taken), Some(&same));
    let log = cluster.daemon(2).unwrap().log();
    assert_eq!(log.iter().filter(|line| line.text.contains(left_alone)).count(), 1);

    for n in 1..=2 {
        cluster.set_node_ready(cluster.name(n), false).unwrap();
    }
    // Nobody leaves an address that another node may not take: one that nobody has is needed.
    cluster.set_addresses("web", &[THIRD]).unwrap();
    let message = "no node may hold 192.0.2.12. node-1: ";
    let (third, service) = wait_for(&cluster, "False", "NoEligibleNode", message);
    assert_ne!(third["lastTransitionTime"], first["lastTransitionTime"]);
    assert_untouched(&service, THIRD);

    cluster.set_node_ready(cluster.name(2), true).unwrap();
    wait_for(&cluster, "True", "Announced", &by(&cluster, THIRD, 2));
    cluster.set_label("web", ANNOUNCE.0, None).unwrap();
    let is_gone = |service: Option<&Value>| service.is_some_and(|it| own(it).is_none());
    let service = cluster.objects().wait_for(&SERVICES, SERVICES_IN, "web", is_gone, SOON * 2);
    assert_untouched(&service.unwrap().unwrap(), THIRD);
}

#[test]
fn without_the_right_it_is_told_once_and_announced_all_the_same() {
    let mut cluster = with_conditions(2);
    cluster.create_service("web", VIP).unwrap();
    cluster.create_service("db", OTHER).unwrap();
    cluster.start_all().unwrap();
    let told = "L2Announced may not be written";
    cluster.daemon(1).unwrap().wait_for_log(told, SOON).unwrap();
    wait_for_looks(&cluster, 1, 2);
    let log = cluster.daemon(1).unwrap().log();
    assert_eq!(log.iter().filter(|line| line.text.contains(told)).count(), 1);
    assert_eq!(cluster.audit().count(&patches("web")) + cluster.audit().count(&patches("db")), 1);
    drop(answered_by(&cluster, VIP, 1));
    cluster.terminate(1, SOON).unwrap();
    drop(answered_by(&cluster, VIP, 2));
    cluster.daemon(2).unwrap().wait_for_log(told, SOON).unwrap();
    cluster.terminate(2, SOON).unwrap();
    // The control plane was told to deny it, and says so.
    let denied = cluster.control_plane().denied().unwrap();
    assert_eq!(denied.len(), 2, "{denied:#?}");
    let _spent: &mut ControlPlane = &mut *cluster.control_plane_mut();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(cluster))).is_err());
}

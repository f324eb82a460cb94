//! Nodes that may not hold a VIP.

use serde_json::json;

use super::*;

fn conditions(conditions: &[(&str, &str)]) -> Value {
    let condition = |(kind, status): &(&str, &str)| json!({ "type": kind, "status": status });
    json!({ "status": { "conditions": conditions.iter().map(condition).collect::<Vec<_>>() } })
}

#[test]
fn there_are_no_nodes() {
    let desk = Desk::new();
    desk.service("web", json!({}));
    desk.web().blames("no-nodes", &["no Node"], &["kubectl get nodes"]);
}

#[test]
fn no_node_is_ready() {
    let desk = Desk::with_service();
    desk.node("node-1", conditions(&[("Ready", "Unknown")]));
    desk.node("node-2", conditions(&[("Ready", "False"), ("NetworkUnavailable", "True")]));
    let said = desk.web();
    said.blames("node-not-ready", &["node-1", "Unknown"], &["kubectl describe node node-1"]);
    let all = said.link("nodes");
    assert!(all.contains("node-2") && all.contains("NetworkUnavailable"), "{all}");
}

#[test]
fn the_network_of_the_node_is_unavailable() {
    let desk = Desk::with_service();
    desk.node("node-1", conditions(&[("Ready", "True"), ("NetworkUnavailable", "True")]));
    let typed = ["kubectl describe node node-1"];
    desk.web().blames("node-network-unavailable", &["node-1"], &typed);
}

#[test]
fn the_node_is_excluded() {
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    let desk = Desk::with_service();
    desk.node("node-1", json!({ "metadata": { "labels": { label: "" } } }));
    let typed = ["kubectl label node node-1", label];
    desk.web().blames("node-excluded", &["node-1", label], &typed);
    assert_eq!(desk.mends("node-excluded").text("finding"), "no-announcer");
}

#[test]
fn the_node_is_cordoned() {
    let desk = Desk::with_service();
    desk.node("node-1", json!({ "spec": { "unschedulable": true } }));
    assert_eq!(desk.web().text("finding"), "no-announcer", "that alone is no reason");
    desk.says(
        "node-1",
        false,
        "settings",
        &json!({
            "version": "0.1.0", "serviceSelector": "l2announcer.io/announce=true",
            "loadBalancerClass": "l2announcer.io/l2", "requireClass": false,
            "externalIPs": false, "excludeCordoned": true,
        }),
    );
    desk.web().blames("node-cordoned", &["node-1"], &["kubectl uncordon node-1"]);
    desk.mends("node-cordoned");
}

#[test]
fn no_node_selector_matches() {
    let desk = Desk::with_service();
    desk.node("node-2", json!({ "metadata": { "labels": { "rack": "b" } } }));
    desk.policy("all", json!({ "nodeSelector": { "matchLabels": { "rack": "a", "lan": "yes" } } }));
    let typed = ["kubectl label node", "rack=a"];
    desk.web().blames("node-not-selected", &["none of 2 nodes", "default/web"], &typed);
    assert_eq!(desk.mends("node-not-selected").text("finding"), "no-announcer");
}

#[test]
fn no_endpoint_serves_where_traffic_stays_local() {
    let desk = Desk::with_service();
    desk.service("web", json!({ "spec": { "externalTrafficPolicy": "Local" } }));
    let typed = ["patch service web", "externalTrafficPolicy"];
    desk.web().blames("no-local-endpoint", &["node-1"], &typed);
    // One whose node is not ready: that is what to mend.
    desk.node("node-2", conditions(&[("Ready", "False")]));
    desk.endpoints("web", &["node-2"]);
    desk.web().blames("node-not-ready", &["node-2"], &["describe node node-2"]);
    desk.endpoints("web", &["node-1"]);
    assert_eq!(desk.web().text("finding"), "no-announcer");
    desk.endpoints("web", &[]);
    assert_eq!(desk.mends("no-local-endpoint").text("finding"), "no-announcer");
}

#[test]
fn the_node_has_no_interface_of_that_name() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", true, json!({}));
    desk.policy("all", json!({ "interfaces": ["^eth7$"] }));
    let typed = ["kubectl edit l2announcementpolicies.l2announcer.io all"];
    desk.web().blames("no-interface", &["node-1", "^eth7$"], &typed);
}

#[test]
fn the_interface_has_no_carrier() {
    let desk = Desk::with_service();
    desk.node("node-2", conditions(&[("Ready", "False")]));
    let interfaces = json!({ "ens18": { "link": "no-carrier", "hook": "tcx" } });
    desk.says("node-1", false, "interfaces", &interfaces);
    let said = desk.web();
    said.blames("link-trouble", &["node-1", "ens18", "no carrier"], &["spec.nodeName=node-1"]);
    assert!(said.link("nodes").contains("session over"), "{:#}", said.json);
    let interfaces = json!({ "ens18": { "link": "unattached" } });
    desk.says("node-1", true, "interfaces", &interfaces);
    desk.web().blames("link-trouble", &["ens18", "attach"], &["spec.nodeName=node-1"]);
}

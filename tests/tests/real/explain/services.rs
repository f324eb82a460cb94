//! What is wrong with a Service, or with what should select it.

use std::path::Path;

use announcer_tests::cluster::gateways;
use serde_json::json;

use super::*;

#[test]
fn no_such_service() {
    let desk = Desk::new();
    desk.web().blames("no-such-service", &["no Service web"], &["kubectl -n default get services"]);
    desk.service("web", json!({}));
    let said = desk.explain(&["shop/web"]);
    said.blames("no-such-service", &["one in default"], &["announcer explain default/web"]);
}

#[test]
fn no_service_has_the_address() {
    let desk = Desk::with_service();
    let said = desk.explain(&["192.0.2.99"]);
    said.blames("no-such-address", &["192.0.2.99"], &["kubectl get services"]);
    let said = desk.explain(&["192.0.2.10"]);
    assert!(!said.mentions("no-such-address"), "{:#}", said.json);
}

#[test]
fn it_is_no_load_balancer() {
    let desk = Desk::with_service();
    let cluster_ip = json!({ "type": "ClusterIP", "allocateLoadBalancerNodePorts": null });
    desk.control
        .admin()
        .patch(&SERVICES, SERVICES_IN, "web", json!({ "spec": cluster_ip }))
        .unwrap();
    let said = desk.web();
    said.blames("not-load-balancer", &["ClusterIP"], &["kubectl -n default patch service web"]);
    assert_eq!(desk.mends("not-load-balancer").text("finding"), "no-address");
}

#[test]
fn it_is_of_another_class() {
    let desk = Desk::with_service();
    desk.service("web2", json!({ "spec": { "loadBalancerClass": "example.com/other" } }));
    let said = desk.explain(&["default/web2"]);
    let ours = "l2announcer.io/l2";
    said.blames("other-class", &["example.com/other", ours], &["service web2", ours]);
    desk.mend(&said);
    // With the type went the address.
    let after = desk.explain(&["default/web2"]);
    assert_eq!(after.text("finding"), "no-address", "{:#}", after.json);
    assert!(after.link("class").contains(ours));
}

#[test]
fn it_has_no_class_and_the_daemons_require_one() {
    let desk = Desk::with_service();
    desk.says(
        "node-1",
        true,
        "settings",
        &json!({
            "version": "0.1.0", "serviceSelector": "l2announcer.io/announce=true",
            "loadBalancerClass": "example.com/ours", "requireClass": true,
            "externalIPs": false, "excludeCordoned": false,
        }),
    );
    let said = desk.web();
    said.blames("no-class", &["--require-class"], &["patch service web", "example.com/ours"]);
    assert_eq!(desk.mends("no-class").text("finding"), "no-address");
}

#[test]
fn the_label_is_missing() {
    let desk = Desk::with_service();
    desk.service("web", json!({ "metadata": { "labels": { "l2announcer.io/announce": null } } }));
    let typed = ["kubectl -n default label service web", "l2announcer.io/announce=true"];
    desk.web().blames("labels-differ", &["no label l2announcer.io/announce"], &typed);
    assert!(desk.mends("labels-differ").link("selection").contains("--service-selector"));
}

#[test]
fn the_label_has_another_value() {
    let desk = Desk::with_service();
    desk.service("web", json!({ "metadata": { "labels": { "l2announcer.io/announce": "yes" } } }));
    let typed = ["l2announcer.io/announce=true", "--overwrite"];
    desk.web().blames("labels-differ", &["it has l2announcer.io/announce=yes"], &typed);
    desk.mends("labels-differ");
}

#[test]
fn the_label_is_another_where_daemons_look_for_another() {
    let desk = Desk::with_service();
    let settings = |selector: &str| {
        json!({
            "version": "0.1.0", "serviceSelector": selector, "loadBalancerClass": "l2announcer.io/l2",
            "requireClass": false, "externalIPs": false, "excludeCordoned": false,
        })
    };
    desk.says("node-1", true, "settings", &settings("expose in (lan,wan)"));
    desk.says("node-2", true, "settings", &settings("expose in (lan,wan)"));
    desk.says("node-3", true, "settings", &settings("expose=dmz"));
    let said = desk.web();
    said.blames("labels-differ", &["no label expose"], &["label service web expose=lan"]);
    assert!(said.mentions("settings-differ"), "{:#}", said.json);
    assert!(said.link("settings").contains("node-3"));
}

#[test]
fn no_policy_selects_it() {
    let desk = Desk::with_service();
    desk.policy("far", json!({ "serviceSelector": { "matchLabels": { "a": "1", "b": "2" } } }));
    let requirement = json!({ "key": "tier", "operator": "In", "values": ["front"] });
    desk.policy("near", json!({ "serviceSelector": { "matchExpressions": [requirement] } }));
    let said = desk.web();
    let terms = ["near", "tier in (front) is required", "no label tier"];
    said.blames("no-policy-selects", &terms, &["label service web tier=front"]);
    assert!(said.link("selection").contains("a=1 is required"), "{:#}", said.json);
    assert!(desk.mends("no-policy-selects").link("selection").contains("near"));
}

/// The schema refuses most mistakes; this expression is one in Go, and none here.
#[test]
fn the_policy_is_not_accepted() {
    let desk = Desk::with_service();
    desk.policy("all", json!({ "interfaces": [r"^\pL+$"] }));
    let said = desk.web();
    let typed = ["kubectl edit l2announcementpolicies.l2announcer.io all"];
    said.blames("policy-not-accepted", &["all", "spec.interfaces", r"\pL"], &typed);
}

#[test]
fn the_policy_announces_other_addresses() {
    let desk = Desk::with_service();
    desk.policy("all", json!({ "loadBalancerIPs": false, "externalIPs": true }));
    let typed = ["patch l2announcementpolicies.l2announcer.io all", "loadBalancerIPs"];
    desk.web().blames("policy-announces-other-addresses", &["load-balancer"], &typed);
    desk.mends("policy-announces-other-addresses");
}

fn made_for_a_gateway(desk: &Desk) {
    let gateway = announcer_apiserver::CustomResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1".to_owned(),
        plural: "gateways".to_owned(),
        kind: "Gateway".to_owned(),
        namespaced: true,
        status: true,
    };
    desk.control.define(&gateway).unwrap();
    let (key, _) = ANNOUNCE;
    let labels = json!({ key: null, "gateway.networking.k8s.io/gateway-name": "edge" });
    desk.service("web", json!({ "metadata": { "labels": labels } }));
}

#[test]
fn its_gateway_has_no_label() {
    let desk = Desk::with_service();
    made_for_a_gateway(&desk);
    let edge = json!({ "metadata": { "name": "edge" }, "spec": { "gatewayClassName": "lab" } });
    desk.create(&gateways(), SERVICES_IN, edge);
    let typed = ["label gateways.gateway.networking.k8s.io edge", "l2announcer.io/announce=true"];
    desk.web().blames("labels-differ", &["no label l2announcer.io/announce"], &typed);
    assert!(desk.mends("labels-differ").link("inheritance").contains("default/edge"));
}

#[test]
fn its_gateway_is_absent() {
    let desk = Desk::with_service();
    made_for_a_gateway(&desk);
    desk.web().blames("parent-absent", &["Gateway default/edge"], &["label service web"]);
}

#[test]
fn it_has_no_address() {
    let desk = Desk::with_service();
    desk.service("web", json!({ "status": { "loadBalancer": { "ingress": null } } }));
    desk.web().blames("no-address", &["allocator"], &["kubectl -n default describe service web"]);
    let proxy = json!([{ "ip": VIP, "ipMode": "Proxy" }]);
    desk.service("web", json!({ "status": { "loadBalancer": { "ingress": proxy } } }));
    desk.web().blames("no-address", &["ipMode: Proxy"], &["describe service web"]);
}

#[test]
fn its_address_is_unfit() {
    let desk = Desk::with_service();
    for (ip, why) in [("2001:db8::1", "IPv6"), ("224.0.0.10", "multicast")] {
        let ingress = json!([{ "ip": ip }]);
        desk.service("web", json!({ "status": { "loadBalancer": { "ingress": ingress } } }));
        desk.web().blames("address-unfit", &[ip, why], &["kubectl -n default", "service web"]);
        // By its address, too.
        desk.explain(&[ip]).blames("address-unfit", &[ip, why], &["service web"]);
    }
    // Beside one that fits it is no reason.
    let ingress = json!([{ "ip": VIP }, { "ip": "2001:db8::1" }]);
    desk.service("web", json!({ "status": { "loadBalancer": { "ingress": ingress } } }));
    assert_eq!(desk.web().text("finding"), "no-announcer");
}

#[test]
fn external_ips_are_not_announced() {
    let desk = Desk::with_service();
    let status = json!({ "loadBalancer": { "ingress": null } });
    let spec = json!({ "externalIPs": ["192.0.2.20"] });
    desk.service("web", json!({ "spec": spec, "status": status }));
    let typed = ["set env daemonset", "ANNOUNCER_EXTERNAL_IPS=true"];
    desk.web().blames("external-ips-not-announced", &["192.0.2.20"], &typed);
    let said = desk.explain(&["192.0.2.20", "--external-ips"]);
    assert_eq!(said.text("finding"), "no-announcer", "{:#}", said.json);
    desk.policy("all", json!({}));
    let typed = ["patch l2announcementpolicies.l2announcer.io all", "externalIPs"];
    desk.web().blames("external-ips-not-announced", &["192.0.2.20"], &typed);
}

#[test]
fn rights_are_missing() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", true, json!({}));
    let as_user = |user: &str, target: &str| -> Said {
        let kubeconfig: &Path = &desk.kubeconfig_as(user);
        explain(desk.control.ns(), kubeconfig, &[target])
    };
    let nobody = as_user("nobody", "default/web");
    assert_eq!(nobody.code, UNKNOWN, "{:#}", nobody.json);
    assert_eq!(nobody.text("finding"), "not-permitted");
    assert!(nobody.text("remedy").contains("auth can-i list services"));
    // A kube-proxy may list Services and Nodes, but no Leases and no policies.
    let proxy = as_user("system:kube-proxy", "default/web");
    assert_eq!(proxy.code, UNKNOWN, "{:#}", proxy.json);
    assert!(proxy.text("conclusion").contains("Leases"), "{:#}", proxy.json);
    assert!(proxy.text("remedy").contains("-n announcer-system auth can-i list leases"));
    assert!(proxy.link("selection").contains("L2AnnouncementPolicy"), "{:#}", proxy.json);
    // What is wrong without them is told all the same.
    let absent = as_user("system:kube-proxy", "default/gone");
    assert_eq!((absent.code, absent.text("finding")), (NOT_ANNOUNCED, "no-such-service"));
}

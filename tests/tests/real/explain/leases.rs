//! What is wrong with announcers, sessions and VIP leases.

use serde_json::json;

use super::*;

#[test]
fn no_announcer_runs() {
    let desk = Desk::with_service();
    let typed = ["kubectl -n announcer-system get daemonsets,pods"];
    desk.web().blames("no-announcer", &["announcer-system"], &typed);
}

#[test]
fn the_leases_are_in_another_namespace() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", true, json!({}));
    let said = desk.explain(&["default/web", "--namespace", "kube-system"]);
    assert_eq!(said.text("finding"), "leases-elsewhere", "{:#}", said.json);
    assert_eq!((said.code, &said.json["announced"]), (UNKNOWN, &Value::Null), "{:#}", said.json);
    let conclusion = said.text("conclusion");
    for part in ["cannot be told", "kube-system", "announcer-system"] {
        assert!(conclusion.contains(part), "{part} is not in {conclusion}");
    }
    let typed = "announcer explain default/web --namespace announcer-system --kubeconfig ";
    assert!(conclusion.contains(typed) && !conclusion.contains("not announced"), "{conclusion}");
}

#[test]
fn all_sessions_are_over() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", false, json!({}));
    let typed = ["kubectl -n announcer-system get pods", "spec.nodeName=node-1"];
    desk.web().blames("no-session", &["node-1", "session over"], &typed);
}

#[test]
fn the_announcers_are_dead() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", true, json!({}));
    let said = desk.web();
    said.blames("no-session", &["node-1", "not renewed"], &["spec.nodeName=node-1"]);
    assert!(said.json["watched_seconds"].as_f64().unwrap() >= 1.0, "as long as it may be silent");
}

#[test]
fn the_holder_is_silent() {
    let desk = Desk::with_service();
    let session = desk.node_lease("node-1", true, json!({}));
    desk.vip_lease(VIP, "node-1", Some(&session));
    desk.web().blames("holder-silent", &["node-1", "not renewed"], &["spec.nodeName=node-1"]);
    // One that renews is heard, and is left to be found by its address as well.
    let said = desk.renewing("node-1", || desk.explain(&["192.0.2.10"]));
    assert_eq!(said.code, ANNOUNCED, "{:#}", said.json);
    let conclusion = said.text("conclusion");
    for part in ["announced", "node-1", "02:00:00:00:00:01", "ens18"] {
        assert!(conclusion.contains(part), "{part} is not in {conclusion}");
    }
}

#[test]
fn the_holder_is_silent_because_of_a_stranger() {
    let desk = Desk::with_service();
    let conflict = json!({ VIP.to_string():
        { "mac": "52:54:00:12:34:56", "interface": "ens18", "answered": false } });
    let session = desk.says("node-1", true, "conflicts", &conflict);
    desk.vip_lease(VIP, "node-1", Some(&session));
    let said = desk.renewing("node-1", || desk.web());
    let parts = ["node-1", "silent", "52:54:00:12:34:56", "QEMU/KVM"];
    said.blames("address-conflict", &parts, &["announcer probe 192.0.2.10"]);
}

#[test]
fn the_session_of_the_holder_is_over() {
    let desk = Desk::with_service();
    let session = desk.node_lease("node-1", true, json!({}));
    let before = session.replace("/4", "/3");
    assert_ne!(before, session);
    desk.vip_lease(VIP, "node-1", Some(&before));
    desk.web().blames("session-over", &["node-1", &before, &session], &["kubectl"]);
}

#[test]
fn the_lease_was_edited_by_hand() {
    let desk = Desk::with_service();
    let session = desk.node_lease("node-1", true, json!({}));
    desk.vip_lease(VIP, "node-1", Some(&session));
    let lease = json!({ "spec": { "holderIdentity": null } });
    desk.control.admin().patch(&LEASES, NAMESPACE, &VipLease::name(VIP), lease).unwrap();
    let typed = ["kubectl -n announcer-system patch lease announcer-vip-192-0-2-10"];
    desk.web().blames("lease-edited", &["by hand"], &typed);
    let after = desk.mends("lease-edited");
    assert!(after.text("conclusion").contains("released"), "{:#}", after.json);
}

#[test]
fn it_is_released_and_nobody_takes_it() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", true, json!({}));
    desk.vip_lease(VIP, "", None);
    let said = desk.renewing("node-1", || desk.web());
    let typed = ["kubectl -n announcer-system logs"];
    said.blames("nobody-takes", &["released", "node-1 could"], &typed);
}

#[test]
fn an_offered_vip_is_announced_by_who_offers_it() {
    let desk = Desk::with_service();
    desk.node_lease("node-1", true, json!({}));
    let offer = json!({
        "metadata": {
            "name": VipLease::name(VIP),
            "labels": { "l2announcer.io/lease": "vip" },
            "annotations": { "l2announcer.io/offered-by": "node-1" },
        },
    });
    desk.create(&LEASES, NAMESPACE, offer);
    let said = desk.renewing("node-1", || desk.web());
    assert_eq!(said.code, ANNOUNCED, "{:#}", said.json);
    assert!(said.mentions("transition"));
}

#[test]
fn services_that_share_an_address_are_divided() {
    let desk = Desk::with_service();
    desk.node("node-2", json!({}));
    for (service, node) in [("web", "node-1"), ("mail", "node-2")] {
        desk.service(service, json!({ "spec": { "externalTrafficPolicy": "Local" } }));
        desk.endpoints(service, &[node]);
    }
    let session = desk.node_lease("node-1", true, json!({}));
    desk.vip_lease(VIP, "node-1", Some(&session));
    let said = desk.renewing("node-1", || desk.web());
    assert_eq!(said.code, ANNOUNCED, "{:#}", said.json);
    assert_eq!(said.text("finding"), "divided", "{:#}", said.json);
    assert!(said.text("remedy").contains("describe service"));
    let nodes = said.link("nodes");
    assert!(nodes.contains("default/mail") && nodes.contains("default/web"), "{nodes}");
}

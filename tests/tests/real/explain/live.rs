//! With daemons: what they say of themselves is believed, by whoever may only read.

use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    capture::Injector,
    cluster::{Cluster, SOON},
    lab::{CLIENT_NIC, Link, UPLINK},
    topology::Cut,
};
use serde_json::json;

use super::*;
use crate::{OTHER, QUICK, STAY, cluster, quick};

/// What `--help` says is needed.
const RIGHTS: &str = r#"
{"apiVersion": "v1", "kind": "List", "items": [
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
  "metadata": {"name": "explainer"}, "rules": [
   {"apiGroups": [""], "resources": ["services", "nodes"], "verbs": ["list"]},
   {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
   {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list"]},
   {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["gateways"], "verbs": ["list"]},
   {"apiGroups": ["l2announcer.io"], "resources": ["l2announcementpolicies"], "verbs": ["list"]}]},
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
  "metadata": {"name": "explainer"},
  "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "explainer"},
  "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}]},
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
  "metadata": {"name": "explainer", "namespace": "announcer-system"}, "rules": [
   {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch"]}]},
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
  "metadata": {"name": "explainer", "namespace": "announcer-system"},
  "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "explainer"},
  "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}]}
]}"#;

/// Pulls node `n`'s cable.
fn cut(cluster: &Cluster, n: usize) {
    cluster.lab().cut(cluster.lab().node(n), Link::Lan, Cut::Carrier).unwrap();
}

#[test]
fn daemons_are_seen_from_afar_with_rights_to_read_only() {
    let args = STAY.into_iter().chain(["--service-selector", "expose=lan"]);
    let mut cluster = cluster(2, QUICK, args);
    let labels = json!({ "expose": "lan" });
    cluster.create_service_without_address("web", labels).unwrap();
    cluster.set_addresses("web", &[VIP]).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    cluster.start(2).unwrap();
    let control = cluster.control_plane();
    control.kubectl_with_input(&["apply", "-f", "-"], RIGHTS).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(control.admin_kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"]["as"] = json!("reader");
    let reader = directory.path().join("reader.kubeconfig");
    fs::write(&reader, config.to_string()).unwrap();
    let ns = control.ns().clone();
    let explain = |target: &str| explain(&ns, &reader, &[target]);

    // The flags of this command are the defaults: the daemons' settings count.
    let mac = cluster.lab().node(1).mac.to_string();
    let said = explain("default/web");
    assert_eq!(said.code, ANNOUNCED, "{:#}", said.json);
    let by = &said.json["announcers"][0];
    assert_eq!(by["node"], cluster.name(1), "{:#}", said.json);
    let on = json!([{ "interface": UPLINK, "mac": mac, "hook": by["interfaces"][0]["hook"] }]);
    assert_eq!(by["interfaces"], on);
    assert!(!on[0]["hook"].is_null() && said.text("conclusion").contains(&mac), "{:#}", said.json);
    assert!(said.link("settings").contains("expose=lan"));

    // All nodes and VIPs, one of which nobody can take.
    cluster.create_service_without_address("lost", json!({ "expose": "lan" })).unwrap();
    let local = || json!({ "spec": { "externalTrafficPolicy": "Local" } });
    cluster.patch_service("lost", local()).unwrap();
    cluster.set_addresses("lost", &[OTHER]).unwrap();
    let status = |format| run(&ns, &reader, &["status", "--cluster", "-o", format]);
    let output = status("json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (n, held) in [(1, 1), (2, 0)] {
        let node = &all["nodes"][n - 1];
        assert_eq!((&node["session"], &node["held"]), (&json!("open"), &json!(held)), "{all:#}");
        assert_eq!(node["node"], cluster.name(n));
        assert_eq!(node["interfaces"][0]["interface"], UPLINK);
        assert_eq!(node["interfaces"][0]["link"], "up");
        assert_eq!(node["macs"], json!([cluster.lab().node(n).mac.to_string()]));
    }
    let vip = &all["vips"][0];
    assert_eq!(vip["vip"], VIP.to_string(), "{all:#}");
    assert_eq!((&vip["holder"], &vip["lease"]), (&json!(cluster.name(1)), &json!("held")));
    assert_eq!((&vip["announced"], &vip["eligible"]), (&json!(true), &json!(2)));
    assert_eq!(vip["services"], json!(["default/web"]));
    let lost = &all["vips"][1];
    assert_eq!(
        (&lost["announced"], &lost["finding"]),
        (&json!(false), &json!("no-local-endpoint"))
    );
    let table = String::from_utf8(status("wide").stdout).unwrap();
    let row = |of: &str| table.lines().find(|line| line.starts_with(of)).unwrap().to_owned();
    assert!(row("node-1").contains(&mac), "{table}");
    assert!(row("192.0.2.11").contains("default/lost"), "{table}");

    // Where no node may have it, its holder keeps it: answered for, and no use.
    cluster.patch_service("web", local()).unwrap();
    let said = explain("default/web");
    assert_eq!((said.code, said.text("finding")), (ANNOUNCED, "no-local-endpoint"));
    assert!(said.text("conclusion").contains("but"), "{:#}", said.json);
    let cluster_wide = json!({ "spec": { "externalTrafficPolicy": "Cluster" } });
    cluster.patch_service("web", cluster_wide).unwrap();

    // A cable is pulled: the node says so, and its VIPs go; then the other's is pulled, too.
    cut(&cluster, 1);
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    cut(&cluster, 2);
    cluster.wait_for_node_lease(1, SOON, |lease| !lease.is_open()).unwrap();
    // The last one keeps its session, and says what is wrong with its next renewal.
    cluster.wait_renewals_of(&[2], 2).unwrap();
    let said = explain("192.0.2.10");
    said.blames("link-trouble", &[UPLINK, "no carrier"], &["spec.nodeName=node-"]);
    for role in ["clusterrole,clusterrolebinding", "role,rolebinding"] {
        let args = ["-n", NAMESPACE, "delete", role, "explainer"];
        cluster.control_plane().kubectl(&args).unwrap();
    }
}

/// A VIP of the segment that a stranger uses, and one that is of another segment.
#[test]
fn strangers_and_networks_are_seen_from_afar() {
    let stranger = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let far = Ipv4Addr::new(198, 51, 100, 9);
    let mut cluster = quick(1);
    cluster.create_service("web", VIP).unwrap();
    cluster.create_service("far", far).unwrap();
    cluster.start(1).unwrap();
    for vip in [VIP, far] {
        cluster.wait_for_holder(vip, SOON, |n| n == 1).unwrap();
    }
    let control = cluster.control_plane();
    let (ns, admin) = (control.ns().clone(), control.admin_kubeconfig());
    let doubts = |of: &str| {
        let said = explain(&ns, &admin, &[of]);
        assert_eq!(said.code, ANNOUNCED, "a doubt only: {:#}", said.json);
        (said.text("finding").to_owned(), said.text("conclusion").to_owned())
    };
    assert_eq!(doubts("default/web").0, "");
    let (finding, conclusion) = doubts("default/far");
    assert_eq!(finding, "off-link", "{conclusion}");
    for part in ["198.51.100.9 lies in none of the networks", UPLINK, "192.0.2.0/24", "node-1"] {
        assert!(conclusion.contains(part), "{part} is not in {conclusion}");
    }

    let claim = ArpFrame::announcement(stranger, VIP, Op::Reply);
    let injector = Injector::open(cluster.lab().client(), CLIENT_NIC).unwrap();
    injector.send(&claim.to_padded_bytes()).unwrap();
    cluster.daemon(1).unwrap().wait_for_log("address conflict", SOON).unwrap();
    cluster.wait_renewals(2).unwrap();
    let (finding, conclusion) = doubts("default/web");
    assert_eq!(finding, "address-conflict", "{conclusion}");
    assert!(conclusion.contains(&stranger.to_string()), "{conclusion}");
    let output = run(&ns, &admin, &["status", "--cluster"]);
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |of: &str| table.lines().find(|line| line.starts_with(of)).unwrap().to_owned();
    assert!(row(&VIP.to_string()).contains(&stranger.to_string()), "{table}");
    assert!(row(&far.to_string()).contains("in none of the networks"), "{table}");
}

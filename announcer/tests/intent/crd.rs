//! The CustomResourceDefinition.

use announcer::intent::policy::L2AnnouncementPolicy;
use kube::CustomResourceExt;

const COMMITTED: &str = include_str!("../../../deploy/crds/l2announcementpolicies.yaml");

#[test]
fn the_committed_definition_is_current() {
    let current = serde_saphyr::to_string(&L2AnnouncementPolicy::crd()).expect("YAML");
    let (_header, committed) = COMMITTED.split_once('\n').expect("a header line");
    assert!(committed == current, "run `cargo xtask crds` and commit what it writes");
}

#[test]
fn the_definition_says_what_operators_rely_on() {
    let crd = serde_json::to_value(L2AnnouncementPolicy::crd()).expect("JSON");
    assert_eq!(crd["spec"]["scope"], "Cluster");
    assert_eq!(crd["spec"]["names"]["shortNames"], serde_json::json!(["l2ap"]));
    let version = &crd["spec"]["versions"][0];
    assert!(version["subresources"]["status"].is_object());
    let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let fields = [
        "externalIPs",
        "interfaces",
        "loadBalancerIPs",
        "nodeSelector",
        "preferredNodes",
        "serviceSelector",
    ];
    let named: Vec<&String> = spec.as_object().expect("fields").keys().collect();
    assert_eq!(named, fields);
}

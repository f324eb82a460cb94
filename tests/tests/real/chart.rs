//! The chart, as somebody installs it who has kustomize's manifests already.

use announcer_tests::{
    cluster::NAMESPACE,
    controlplane::{ControlPlane, Pooled},
    deployment::{self, CHART, template},
};
use serde_json::{Value, json};

#[test]
fn the_api_server_takes_what_the_chart_renders() {
    let control = Pooled::take().unwrap();
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    for values in [
        json!({}),
        json!({ "namespace": { "create": true } }),
        json!({ "settings": {
            "interface": ["/^bond/"], "maxVips": 100_000, "onApiLoss": "withdraw",
            "httpAddress": "127.0.0.1:9842",
        } }),
        json!({
            "settings": { "httpAddress": "" }, "tolerations": [], "priorityClassName": "",
            "maxUnavailable": "10%", "appArmorProfile": null, "seLinuxOptions": null,
            "seccompProfile": { "type": "Localhost", "localhostProfile": "announcer.json" },
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    { "matchExpressions": [{ "key": "edge", "operator": "Exists" }] },
                ],
            } } },
            "dashboard": { "create": true }, "podLabels": { "a": "b" },
            "extraEnv": [{ "name": "RUST_BACKTRACE", "value": "1" }],
        }),
    ] {
        let rendered = template(NAMESPACE, &values).unwrap();
        control
            .kubectl_with_input(&apply, &rendered)
            .unwrap_or_else(|error| panic!("{values}: {error:#}"));
    }
}

#[test]
fn a_release_takes_over_is_upgraded_and_leaves_the_policies() {
    let mut control = Pooled::take().unwrap();
    let control: &mut ControlPlane = &mut control;
    let helm = |args: &[&str], values: Value| {
        let namespace = ["--namespace", NAMESPACE];
        deployment::helm_at(control, &[args, &namespace].concat(), &values).unwrap()
    };
    // kubectl has applied the same fields, which helm's own apply would call conflicts.
    let take = ["install", "announcer", CHART, "--take-ownership", "--force-conflicts"];
    helm(&take, json!({}));
    let environment = || {
        let env = "jsonpath={.spec.template.spec.containers[0].env[*].name}";
        control.kubectl(&["get", "daemonset", "announcer", "-n", NAMESPACE, "-o", env]).unwrap()
    };
    assert_eq!(environment(), "ANNOUNCER_NODE_NAME ANNOUNCER_NAMESPACE");
    let policy = json!({
        "apiVersion": "l2announcer.io/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": { "name": "all" }, "spec": { "loadBalancerIPs": true },
    });
    control.kubectl_with_input(&["create", "-f", "-"], &policy.to_string()).unwrap();

    let settings = json!({ "settings": { "leaseDuration": "5s" } });
    helm(&["upgrade", "announcer", CHART], settings);
    assert!(environment().contains("ANNOUNCER_LEASE_DURATION"), "{}", environment());

    helm(&["uninstall", "announcer"], json!({}));
    let ours = "clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,daemonsets";
    let get = ["get", ours, "-A", "-l", "app.kubernetes.io/name=announcer", "-o", "name"];
    assert_eq!(control.kubectl(&get).unwrap(), "");
    assert!(control.kubectl(&["get", "l2ap", "-o", "name"]).unwrap().contains("/all"));
}

//! The chart installs what kustomize installs.

use std::collections::{BTreeMap, BTreeSet};

use announcer_tests::deployment::{
    CHART, documents, helm, kustomize, kustomize_with, read, template,
};
use serde_json::{Value, json};

const NAMESPACE: &str = "announcer-system";

/// Objects by kind and name.
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let key = |object: &Value| {
        let text = |pointer| object.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        format!("{} {}", text("/kind"), text("/metadata/name"))
    };
    documents(yaml).unwrap().into_iter().map(|object| (key(&object), object)).collect()
}

/// Every right that a Role or ClusterRole gives, one by one.
fn rights(role: &Value) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let list = |field: &str| {
            let texts = rule[field].as_array().into_iter().flatten();
            texts.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let known = ["apiGroups", "resources", "verbs"];
        assert!(rule.as_object().unwrap().keys().all(|field| known.contains(&&**field)), "{rule}");
        for group in list("apiGroups") {
            for resource in list("resources") {
                rights
                    .extend(list("verbs").iter().map(|verb| format!("{verb} {resource} {group}")));
            }
        }
    }
    rights
}

/// Without what tells only who manages it.
fn meaning(mut object: Value) -> Value {
    let managed = |key: &str| key.starts_with("app.kubernetes.io/") || key.starts_with("helm.sh/");
    for pointer in ["/metadata", "/spec/template/metadata"] {
        let Some(metadata) = object.pointer_mut(pointer).and_then(Value::as_object_mut) else {
            continue;
        };
        for field in ["labels", "annotations"] {
            let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
                continue;
            };
            map.retain(|key, _| !managed(key));
            if map.is_empty() {
                metadata.remove(field);
            }
        }
    }
    if let Some(container) = object.pointer_mut("/spec/template/spec/containers/0") {
        // The default of an image with a tag.
        let policy = container.as_object_mut().unwrap().remove("imagePullPolicy");
        assert!(policy.is_none_or(|policy| policy == "IfNotPresent"));
    }
    if object["kind"].as_str().unwrap().ends_with("Role") {
        object["rules"] = json!(rights(&object));
    }
    object
}

#[test]
fn the_chart_installs_what_kustomize_installs() {
    let values = json!({ "namespace": { "create": true } });
    assert_alike(&values, &kustomize().unwrap());
}

#[test]
fn a_setting_that_needs_a_right_brings_it_as_the_component_does() {
    let values = json!({
        "namespace": { "create": true }, "settings": { "serviceCondition": true },
    });
    let kustomize = kustomize_with(&["service-condition"]).unwrap();
    assert_alike(&values, &kustomize);
    assert!(kustomize.contains("services/status"), "{kustomize}");
}

#[track_caller]
fn assert_alike(values: &Value, kustomize: &str) {
    let chart = template(NAMESPACE, values).unwrap();
    let (chart, kustomize) = (objects(&chart), objects(kustomize));
    assert_eq!(chart.keys().collect::<Vec<_>>(), kustomize.keys().collect::<Vec<_>>());
    assert!(kustomize.len() > 7, "{:?}", kustomize.keys());
    for (name, object) in kustomize {
        assert_eq!(meaning(chart[&name].clone()), meaning(object), "{name}");
    }
}

#[test]
fn pods_have_four_capabilities_and_no_more() {
    let chart = objects(&template(NAMESPACE, &json!({})).unwrap());
    let container = &chart["DaemonSet announcer"]["spec"]["template"]["spec"]["containers"][0];
    let context = &container["securityContext"];
    let capabilities = json!({
        "drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "NET_RAW", "PERFMON"],
    });
    assert_eq!(context["capabilities"], capabilities);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context.get("privileged"), None);
}

/// By default the release leaves policies alone when it goes.
#[test]
fn the_definition_outlives_the_release_unless_told_otherwise() {
    let crd = "CustomResourceDefinition l2announcementpolicies.l2announcer.io";
    let policy = |values: Value| {
        let chart = objects(&template(NAMESPACE, &values).unwrap());
        chart.get(crd).map(|crd| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone())
    };
    assert_eq!(policy(json!({})), Some(json!("keep")));
    assert_eq!(policy(json!({ "crds": { "keep": false } })), Some(Value::Null));
    assert_eq!(policy(json!({ "crds": { "install": false } })), None);
}

#[test]
fn probes_go_where_the_server_listens() {
    let container = |address: &str| {
        let values = json!({ "settings": { "httpAddress": address } });
        let chart = objects(&template(NAMESPACE, &values).unwrap());
        chart["DaemonSet announcer"]["spec"]["template"]["spec"]["containers"][0].clone()
    };
    for (address, port, host) in [
        ("0.0.0.0:9000", 9000, Value::Null),
        ("[::]:9001", 9001, Value::Null),
        ("127.0.0.1:9002", 9002, json!("127.0.0.1")),
        ("[::1]:9003", 9003, json!("::1")),
    ] {
        let container = container(address);
        assert_eq!(container["ports"], json!([{ "name": "metrics", "containerPort": port }]));
        let get = &container["readinessProbe"]["httpGet"];
        assert_eq!((&get["port"], &get["path"]), (&json!("metrics"), &json!("/readyz")));
        assert_eq!(get["host"], host, "{address}");
        assert_eq!(container["livenessProbe"]["exec"]["command"], json!(["/announcer", "live"]));
    }
    let none = container("");
    assert_eq!([&none["ports"], &none["readinessProbe"]], [&Value::Null; 2]);
    let live = &none["livenessProbe"]["exec"]["command"];
    assert_eq!(*live, json!(["/announcer", "live"]), "it needs no port");
}

/// All that can be switched on.
#[test]
fn everything_at_once_is_rendered_and_linted() {
    let create = json!({ "create": true });
    let values = json!({
        "namespace": create, "podMonitor": create, "prometheusRule": create, "dashboard": create,
        "image": { "digest": format!("sha256:{}", "0".repeat(64)) },
        "imagePullSecrets": [{ "name": "registry" }], "labels": { "team": "net" },
        "nodeSelector": { "kubernetes.io/os": "linux" }, "podAnnotations": { "a": "b" },
        "extraEnv": [{ "name": "RUST_BACKTRACE", "value": "1" }],
    });
    helm(&["lint", "--strict", CHART], &values).unwrap();
    helm(&["lint", "--strict", CHART], &json!({})).unwrap();
    let chart = objects(&template("other", &values).unwrap());
    let alerts = documents(&read("prometheus/alerts.yaml").unwrap()).unwrap();
    assert_eq!(chart["PrometheusRule announcer"]["spec"], alerts[0]);
    let dashboard = chart["ConfigMap announcer-dashboard"]["data"]["announcer.json"].as_str();
    let dashboard: Value = serde_json::from_str(dashboard.unwrap()).unwrap();
    let shipped: Value = serde_json::from_str(&read("grafana/announcer.json").unwrap()).unwrap();
    assert_eq!(dashboard, shipped);
    let endpoint = &chart["PodMonitor announcer"]["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["port"], "metrics");
    let pod = &chart["DaemonSet announcer"]["spec"]["template"]["spec"];
    let image = pod["containers"][0]["image"].as_str().unwrap();
    assert!(image.contains("/announcer@sha256:"), "{image}");
    // The rights are those of the namespace that was named.
    for binding in ["ClusterRoleBinding announcer", "RoleBinding announcer"] {
        assert_eq!(chart[binding]["subjects"][0]["namespace"], "other");
    }
    assert!(chart.values().all(|object| object["metadata"]["labels"]["team"] == "net"));
}

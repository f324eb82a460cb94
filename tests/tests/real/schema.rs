//! What the API server says to policies that cannot be meant.

use announcer_tests::controlplane::{ControlPlane, Pooled};
use serde_json::{Value, json};

fn policy(name: &str, spec: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "l2announcer.io/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": { "name": name },
        "spec": { "loadBalancerIPs": true },
    });
    match spec {
        Value::Object(fields) => {
            policy["spec"].as_object_mut().unwrap().extend(fields);
        }
        other => policy["spec"] = other,
    }
    policy
}

/// What kubectl says to whoever would create these.
fn create(control: &ControlPlane, policies: &[Value]) -> Result<String, String> {
    // Not a List: that kubectl would check by itself.
    let documents: String = policies.iter().map(|policy| format!("{policy}\n")).collect();
    let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    control.kubectl_with_input(&args, &documents).map_err(|error| format!("{error:#}"))
}

fn labels(labels: Value) -> Value {
    json!({ "matchLabels": labels })
}

fn expression(key: &str, operator: &str, values: Value) -> Value {
    json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
}

/// A policy with a mistake that a schema can see never takes effect, nor is it stored: the
/// answer names the field, and what is wrong with it.
#[test]
fn mistakes_are_refused_by_name() {
    const KEYS: &str = "label keys";
    const LABELS: &str = "spec.serviceSelector.matchLabels";
    const REQUIREMENT: &str = "spec.nodeSelector.matchExpressions[0]";
    let control = Pooled::take().unwrap();
    let services = |selector| json!({ "serviceSelector": selector });
    let nodes = |selector| json!({ "nodeSelector": selector });
    let one = || json!(["a"]);
    let many = |n: usize, one: &dyn Fn(usize) -> Value| (0..n).map(one).collect::<Vec<_>>();
    let long = "a".repeat(64);
    let key = |name: &str| format!("{REQUIREMENT}.{name}");
    let cases = [
        ("no-spec", Value::Null, "spec", "Required value"),
        ("text", json!("x"), "spec", "must be of type object"),
        ("nothing", json!({ "loadBalancerIPs": false }), "spec", "nothing would be announced"),
        ("type", json!({ "externalIPs": "yes" }), "spec.externalIPs", "type boolean"),
        ("one-name", json!({ "interfaces": "eth0" }), "spec.interfaces", "type array"),
        ("no-name", json!({ "interfaces": [""] }), "spec.interfaces[0]", "at least 1 char"),
        (
            "no-expression",
            json!({ "interfaces": ["^eth", "ens("] }),
            "spec.interfaces[1]",
            "not a regular expression",
        ),
        ("twice", json!({ "interfaces": ["eth0", "eth0"] }), "spec.interfaces[1]", "Duplicate"),
        (
            "names",
            json!({ "interfaces": many(65, &|n| json!(format!("eth{n}"))) }),
            "spec.interfaces",
            "at most 64 items",
        ),
        ("operator", nodes(expression("a", "Like", one())), &key("operator"), "Unsupported value"),
        (
            "no-operator",
            nodes(json!({ "matchExpressions": [{ "key": "a" }] })),
            &key("operator"),
            "Required",
        ),
        ("no-values", nodes(expression("a", "In", json!([]))), REQUIREMENT, "need values"),
        ("values", nodes(expression("a", "Exists", one())), REQUIREMENT, "have none"),
        ("no-key", nodes(expression("", "In", one())), &key("key"), "should match"),
        ("key", nodes(expression("a b", "In", one())), &key("key"), "should match"),
        ("prefix", nodes(expression("A_B/c", "In", one())), &key("key"), "should match"),
        ("value", nodes(expression("a", "In", json!(["b", "c d"]))), &key("values[1]"), "match"),
        ("long-value", nodes(expression("a", "In", json!([long]))), &key("values[0]"), "63"),
        ("label", services(labels(json!({ "a b": "c" }))), LABELS, KEYS),
        ("long-label", services(labels(json!({ &*long: "c" }))), LABELS, KEYS),
        ("no-label", services(labels(json!({ "": "c" }))), LABELS, KEYS),
        ("label-value", services(labels(json!({ "a": "-" }))), "matchLabels.a", "should match"),
        (
            "preferred",
            json!({ "preferredNodes": expression("a", "DoesNotExist", one()) }),
            "spec.preferredNodes.matchExpressions[0]",
            "have none",
        ),
    ];
    let policies: Vec<_> =
        cases.iter().map(|(name, spec, ..)| policy(name, spec.clone())).collect();
    let said = create(&control, &policies).unwrap_err();
    for (name, _, field, why) in cases {
        let of = format!("{name:?} is invalid: ");
        let line = said.lines().find_map(|line| line.split_once(&*of));
        let (_, line) = line.ok_or_else(|| format!("{name} was not refused:\n{said}")).unwrap();
        // The first mistake, if there are several.
        let line = line.trim_start_matches('[');
        assert!(line.contains(field) && line.contains(why), "{name}: not {field}, {why}: {line}");
    }

    let unknown = policy("unknown", json!({ "nodeSelectors": {} }));
    let said = create(&control, &[unknown]).unwrap_err();
    assert!(said.contains(r#"unknown field "spec.nodeSelectors""#), "{said}");
}

#[test]
fn what_can_be_meant_is_accepted() {
    let control = Pooled::take().unwrap();
    let label = "a".repeat(63);
    let dns = ["b"; 126].join(".");
    let key = format!("{dns}.c/{label}");
    let everything = json!({
        "serviceSelector": { "matchLabels": { "app": "web", "none": "", &*key: label } },
        "nodeSelector": expression(&key, "NotIn", json!(["", "A_b.c-9", label])),
        "preferredNodes": { "matchExpressions": [
            { "key": "node-role.kubernetes.io/edge", "operator": "Exists" },
            { "key": "slow", "operator": "DoesNotExist", "values": [] },
        ] },
        "interfaces": [r"^(eth|ens)\d+(\.\d{1,4})?$", "bond", r"^br-[[:xdigit:]]+$"],
        "externalIPs": true,
    });
    let labels: serde_json::Map<_, _> = (0..64).map(|n| (format!("l{n}"), json!("x"))).collect();
    let largest = json!({
        "interfaces": (0..64).map(|n| format!("eth{n}")).collect::<Vec<_>>(),
        "serviceSelector": { "matchLabels": labels },
        "nodeSelector": { "matchExpressions": vec![json!({
            "key": "a", "operator": "In", "values": vec!["b"; 256],
        }); 64] },
    });
    let policies = [
        policy("everything", everything),
        policy("largest", largest),
        policy("least", json!({})),
        policy("external", json!({ "loadBalancerIPs": false, "externalIPs": true })),
        policy("empty", json!({ "serviceSelector": {}, "nodeSelector": {}, "interfaces": [] })),
        policy("null", json!({ "serviceSelector": null, "preferredNodes": null })),
    ];
    let created = create(&control, &policies).unwrap();
    assert_eq!(created.lines().count(), policies.len(), "{created}");
}

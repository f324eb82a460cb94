//! The chart's values: all settings of the daemon, documented, and mistakes are refused.

use std::{collections::BTreeSet, process::Command};

use announcer_tests::{
    daemon,
    deployment::{documents, read, said, template},
};
use serde_json::{Value, json};

const NAMESPACE: &str = "announcer-system";

/// Flags that a chart cannot set, and why.
const ELSEWHERE: [&str; 5] = [
    // The pod's own fields.
    "ANNOUNCER_NODE_NAME",
    "ANNOUNCER_NAMESPACE",
    // A pod has its service account.
    "ANNOUNCER_KUBECONFIG",
    // A pod's settings are its environment.
    "ANNOUNCER_CONFIG",
    // Without a cluster.
    "ANNOUNCER_STATIC_VIP",
];

fn schema() -> Value {
    serde_json::from_str(&read("helm/announcer/values.schema.json").unwrap()).unwrap()
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// `maxVips` is ANNOUNCER_MAX_VIPS.
fn variable(setting: &str) -> String {
    let letter = |c: char| match c {
        'A'..='Z' => format!("_{c}"),
        _ => c.to_ascii_uppercase().to_string(),
    };
    format!("ANNOUNCER_{}", setting.chars().map(letter).collect::<String>())
}

/// What the daemon would have as environment.
fn environment(values: &Value) -> Vec<(String, String)> {
    let yaml = template(NAMESPACE, values).unwrap();
    let all = documents(&yaml).unwrap();
    let daemons = all.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
    let env = daemons["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let literal =
        |var: &Value| Some((var["name"].as_str()?.to_owned(), var["value"].as_str()?.to_owned()));
    env.iter().filter_map(literal).collect()
}

/// A flag that is new has to be given to the chart, or to [`ELSEWHERE`].
#[test]
fn every_flag_of_the_daemon_is_a_setting() {
    let mut help = Command::new(daemon::binary().unwrap());
    help.args(["run", "--help"]);
    let help = said(help).unwrap();
    let twin = |part: &str| part.split([']', '=']).next().unwrap().to_owned();
    let flags: BTreeSet<_> = help.split("[env: ").skip(1).map(twin).collect();
    assert!(flags.contains("ANNOUNCER_LOG") && flags.len() > 20, "{help}");
    let settings: BTreeSet<_> = names(&schema()["properties"]["settings"]["properties"])
        .iter()
        .map(|name| variable(name))
        .chain(ELSEWHERE.map(str::to_owned))
        .collect();
    let missing: Vec<_> = flags.difference(&settings).collect();
    assert!(missing.is_empty(), "not in values.schema.json: {missing:?}");
}

#[test]
fn settings_become_environment_variables_as_they_are() {
    let settings = json!({
        "interface": ["ens18", "/^bond/"], "maxVips": 1_000_000, "rebalanceRate": 0.5,
        "answerPing": false, "leaseDuration": "4s 500ms", "serviceSelector": "a=b,c!=d",
        "httpAddress": "",
    });
    let expected = [
        ("ANNOUNCER_ANSWER_PING", "false"),
        ("ANNOUNCER_HTTP_ADDRESS", ""),
        ("ANNOUNCER_INTERFACE", "ens18,/^bond/"),
        ("ANNOUNCER_LEASE_DURATION", "4s 500ms"),
        ("ANNOUNCER_MAX_VIPS", "1000000"),
        ("ANNOUNCER_REBALANCE_RATE", "0.5"),
        ("ANNOUNCER_SERVICE_SELECTOR", "a=b,c!=d"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(environment(&json!({ "settings": settings })), expected);
    assert_eq!(environment(&json!({})), []);
    // Every one arrives under the name that the daemon knows.
    let all = schema()["properties"]["settings"]["properties"].clone();
    let sample = |kind: &Value| match kind {
        kind if kind.get("enum").is_some() => kind["enum"][0].clone(),
        kind if kind["type"] == "boolean" => json!(true),
        kind if kind["type"] == "array" => json!(["x"]),
        kind if kind["type"] == "string" && kind.get("pattern").is_none() => json!("x"),
        kind if kind["type"] == "string" && kind["description"].to_string().contains("port") => {
            json!("0.0.0.0:1")
        }
        kind if kind["type"] == "string" => json!("1s"),
        _ => json!(1),
    };
    let settings: serde_json::Map<_, _> =
        all.as_object().unwrap().iter().map(|(name, kind)| (name.clone(), sample(kind))).collect();
    let found: Vec<_> =
        environment(&json!({ "settings": settings })).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, names(&all).iter().map(|name| variable(name)).collect::<Vec<_>>());
}

#[test]
fn every_value_is_documented() {
    let text = read("helm/announcer/values.yaml").unwrap();
    let values = &documents(&text).unwrap()[0];
    let properties = schema()["properties"].clone();
    let mut known = names(&properties);
    // What helm itself adds.
    assert!(known.remove("global"));
    assert_eq!(names(values), known);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    for setting in names(&properties["settings"]["properties"]) {
        let example = lines.iter().position(|line| line.starts_with(&format!("# {setting}: ")));
        let example = example.unwrap_or_else(|| panic!("values.yaml does not tell of {setting}"));
        assert!(lines[example - 1].starts_with("# "), "values.yaml does not explain {setting}");
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    let settings = |settings: Value| json!({ "settings": settings });
    for (values, named, why) in [
        (json!({ "setings": {} }), "''", "additional properties 'setings' not allowed"),
        (settings(json!({ "maxvips": 9 })), "/settings", "additional properties 'maxvips'"),
        (settings(json!({ "maxVips": 0 })), "/settings/maxVips", "minimum"),
        (settings(json!({ "maxVips": "many" })), "/settings/maxVips", "want integer"),
        (settings(json!({ "hook": "xdp" })), "/settings/hook", "must be one of"),
        (settings(json!({ "interface": "eth0" })), "/settings/interface", "want array"),
        (settings(json!({ "leaseDuration": "3" })), "/settings/leaseDuration", "pattern"),
        (settings(json!({ "httpAddress": "9842" })), "/settings/httpAddress", "pattern"),
        (json!({ "image": { "digest": "abc" } }), "/image/digest", "pattern"),
        (json!({ "maxUnavailable": 0 }), "/maxUnavailable", "minimum"),
        (json!({ "seccompProfile": { "type": "None" } }), "/seccompProfile/type", "must be one of"),
        (
            json!({ "seccompProfile": { "type": "Localhost" } }),
            "/seccompProfile",
            "localhostProfile",
        ),
    ] {
        let rendered = template(NAMESPACE, &values).map(drop);
        let error = format!("{:#}", rendered.expect_err(&values.to_string()));
        assert!(error.contains(named) && error.contains(why), "{values}: {error}");
    }
}

//! Alerts and dashboard: they are valid, do what they say, and ask for metrics that are.

use std::{collections::BTreeSet, fs};

use announcer_tests::deployment::{documents, path, promtool, read};
use serde_json::{Value, json};

/// Of Prometheus itself.
const FOREIGN: [&str; 1] = ["up"];

/// The names in the first column of the table in deploy/metrics.md.
fn documented() -> BTreeSet<String> {
    let text = read("metrics.md").unwrap();
    let name = |line: &str| {
        let cell = line.strip_prefix('|')?.split('|').next()?.trim();
        let name = cell.trim_matches('`').split('{').next()?;
        name.starts_with("announcer_").then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// The metrics of a query: names of the announcer, and others that select series.
fn metrics(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_name) {
        let tail = &rest[start..];
        let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        if name.starts_with("announcer_") || after.starts_with(['{', '[']) {
            // A histogram has series of three names.
            let suffix = ["_bucket", "_sum", "_count"].into_iter().find(|it| name.ends_with(it));
            found.insert(suffix.map_or(name, |it| name.trim_end_matches(it)).to_owned());
        }
        rest = after;
    }
    found
}

fn rules() -> Vec<Value> {
    let alerts = documents(&read("prometheus/alerts.yaml").unwrap()).unwrap().remove(0);
    let groups = alerts["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// All queries of the dashboard, with the variables that Grafana would fill in.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana/announcer.json").unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| target["expr"].as_str().unwrap().to_owned();
    let filled = |query: String| {
        query.replace("$__rate_interval", "1m").replace("$cluster", ".*").replace("$node", ".*")
    };
    targets.map(query).map(filled).collect()
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let directory = path("prometheus");
    promtool(&["check", "rules", "alerts.yaml"], &directory).unwrap();
    promtool(&["test", "rules", "alerts_test.yaml"], &directory).unwrap();
    // Each was seen to fire.
    let tests = read("prometheus/alerts_test.yaml").unwrap();
    for rule in rules() {
        let alert = format!("alertname=\"{}\"", rule["alert"].as_str().unwrap());
        assert!(tests.contains(&alert), "alerts_test.yaml has no test with {alert}");
    }
}

#[test]
fn an_alert_says_what_is_wrong_and_what_to_do() {
    for rule in rules() {
        for annotation in ["summary", "description", "runbook"] {
            let text = rule["annotations"][annotation].as_str();
            assert!(text.is_some_and(|text| text.len() > 20), "{annotation}: {rule}");
        }
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("warning" | "critical")), "{rule}");
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let documented = documented();
    assert!(documented.len() > 20, "{documented:?}");
    let alerts = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    let mut asked = BTreeSet::new();
    for query in alerts.chain(queries()) {
        let found = metrics(&query);
        assert!(!found.is_empty(), "{query}");
        for name in found {
            let is_known = documented.contains(&name) || FOREIGN.contains(&&*name);
            assert!(is_known, "{name} is not in deploy/metrics.md: {query}");
            asked.insert(name);
        }
    }
    // And the dashboard shows what there is.
    let unseen: Vec<_> = documented.difference(&asked).collect();
    assert!(unseen.is_empty(), "neither in an alert nor in the dashboard: {unseen:?}");
}

#[test]
fn the_dashboard_asks_in_promql() {
    let rule = |(n, query): (usize, &String)| json!({ "record": format!("q:{n}"), "expr": query });
    let queries = queries();
    let rules: Vec<_> = queries.iter().enumerate().map(rule).collect();
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("dashboard.yaml"), file.to_string()).unwrap();
    let said = promtool(&["check", "rules", "dashboard.yaml"], directory.path()).unwrap();
    assert!(said.contains(&format!("{} rules found", queries.len())), "{said}");
}

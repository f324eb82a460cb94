//! Events have two API versions over one store: core/v1 is stored, events.k8s.io/v1 is converted.

use serde_json::{Value, json};

use crate::{
    object::{meta, remove},
    status::Cause,
};

/// Field names: events.k8s.io/v1, core/v1.
const FIELDS: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
];

/// events.k8s.io/v1 to core/v1, in place.
pub(crate) fn to_core(event: &mut Value) {
    for (new, core) in FIELDS {
        if let Some(value) = remove(event, new) {
            event[core] = value;
        }
    }
    event["apiVersion"] = json!("v1");
    if event.get("involvedObject").is_none() {
        event["involvedObject"] = json!({});
    }
}

/// core/v1 to events.k8s.io/v1, in place.
pub(crate) fn to_events_v1(event: &mut Value) {
    for (new, core) in FIELDS {
        if let Some(value) = remove(event, core) {
            event[new] = value;
        }
    }
    event["apiVersion"] = json!("events.k8s.io/v1");
}

/// Checks a new event in core/v1 form; `strict` where it came by events.k8s.io/v1.
pub(crate) fn validate(event: &Value, strict: bool) -> Vec<Cause> {
    let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
    let namespace = meta(event, "namespace");
    let about = event["involvedObject"]["namespace"].as_str().unwrap_or_default();
    let mismatch = || {
        let field = "involvedObject.namespace";
        Cause::invalid(field, json!(about), "does not match event.namespace")
    };
    let mut causes = Vec::new();
    if text("eventTime").is_empty() {
        let agree = about == namespace || (about.is_empty() && namespace == "default");
        if !agree {
            causes.push(mismatch());
        }
    } else {
        if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
            causes.push(mismatch());
        }
        for (field, limit) in [
            ("reportingComponent", 128),
            ("reportingInstance", 128),
            ("action", 128),
            ("reason", 128),
        ] {
            if text(field).is_empty() {
                causes.push(Cause::required(field, ""));
            } else if text(field).len() > limit {
                let detail = format!("can have at most {limit} characters");
                causes.push(Cause::invalid(field, json!(""), &detail));
            }
        }
        if text("message").len() > 1024 {
            causes.push(Cause::invalid("message", json!(""), "can have at most 1024 characters"));
        }
    }
    if strict {
        if text("eventTime").is_empty() {
            causes.push(Cause::required("eventTime", ""));
        }
        if !matches!(text("type"), "Normal" | "Warning") {
            let detail = format!("has invalid value: {}", text("type"));
            causes.push(Cause::invalid("type", json!(""), &detail));
        }
        for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
            if event.get(field).is_some_and(|value| !value.is_null() && *value != json!(0)) {
                causes.push(Cause::invalid(field, json!(""), "needs to be unset"));
            }
        }
    }
    causes
}

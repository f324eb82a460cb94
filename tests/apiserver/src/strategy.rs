//! What happens to an object between the request and the store: defaults, what clients may not
//! set, validation. One set of generic rules, and the special ones of the built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    event,
    object::{self, meta, remove, set_meta},
    registry::{ResourceKind, Rules},
    service,
    status::{ApiStatus, Cause},
};

/// Reads a body as an object of this kind at this place.
pub(crate) fn decode(
    kind: &ResourceKind,
    namespace: &str,
    mut body: Value,
) -> Result<Value, ApiStatus> {
    if !body.is_object() {
        return Err(ApiStatus::bad_request("the body is not a JSON object"));
    }
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.kind.clone())] {
        match body.get(field).and_then(Value::as_str).unwrap_or_default() {
            "" => body[field] = json!(expected),
            found if found == expected => {}
            found => {
                return Err(ApiStatus::bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected {field} \
                     ({expected})"
                )));
            }
        }
    }
    let mut value = (kind.typed)(body).map_err(|error| {
        let (kind, version) = (&kind.kind, &kind.version);
        let what =
            format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}");
        ApiStatus::bad_request(what)
    })?;
    match meta(&value, "namespace") {
        found if found == namespace => {}
        "" => set_meta(&mut value, "namespace", json!(namespace)),
        found => {
            return Err(ApiStatus::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the \
                 request ({found}, {namespace})"
            )));
        }
    }
    set_meta(&mut value, "managedFields", Value::Null);
    set_meta(&mut value, "selfLink", Value::Null);
    prune(&mut value);
    if kind.rules == Rules::EventsV1 {
        event::to_core(&mut value);
    }
    default(kind, &mut value);
    Ok(value)
}

/// Empty collections of the metadata are never kept.
fn prune(value: &mut Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = match value.pointer(&format!("/metadata/{field}")) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => false,
        };
        if empty {
            set_meta(value, field, Value::Null);
        }
    }
    for field in ["generateName", "namespace"] {
        if meta(value, field).is_empty() {
            set_meta(value, field, Value::Null);
        }
    }
}

/// Defaults that need no context.
fn default(kind: &ResourceKind, value: &mut Value) {
    match kind.rules {
        Rules::Lease => ensure_object(value, "spec"),
        Rules::Node | Rules::Namespace => {
            ensure_object(value, "spec");
            ensure_object(value, "status");
        }
        Rules::Service => {
            ensure_object(value, "spec");
            ensure_object(value, "status");
            service::default(value);
        }
        _ => {}
    }
}

fn ensure_object(value: &mut Value, field: &str) {
    if !value.get(field).is_some_and(Value::is_object) {
        value[field] = json!({});
    }
}

/// Makes a decoded object ready for its first storing; it already has its name.
pub(crate) fn prepare_create(
    kind: &ResourceKind,
    value: &mut Value,
    now: Timestamp,
) -> Result<(), ApiStatus> {
    for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        set_meta(value, field, Value::Null);
    }
    set_meta(value, "uid", json!(uuid::Uuid::new_v4().to_string()));
    set_meta(value, "creationTimestamp", object::time(now));
    let counts = matches!(kind.rules, Rules::EndpointSlice | Rules::Custom);
    set_meta(value, "generation", if counts { json!(1) } else { Value::Null });
    match kind.rules {
        Rules::Service => value["status"] = json!({"loadBalancer": {}}),
        Rules::Namespace => {
            value["status"] = json!({"phase": "Active"});
            value["spec"] = json!({"finalizers": ["kubernetes"]});
            let name = meta(value, "name").to_owned();
            value["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
        }
        Rules::Node => taint_new_node(value),
        Rules::Custom if kind.status => drop(remove(value, "status")),
        _ => {}
    }
    let mut causes = validate_metadata(kind, value);
    causes.extend(validate(kind, value, None));
    refuse(kind, value, causes)
}

/// New nodes are not ready until a controller says so (admission plugin TaintNodesByCondition).
fn taint_new_node(value: &mut Value) {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    match value["spec"].get_mut("taints").and_then(Value::as_array_mut) {
        Some(taints) if taints.iter().any(|old| old["key"] == taint["key"]) => {}
        Some(taints) => taints.push(taint),
        None => value["spec"]["taints"] = json!([taint]),
    }
}

/// Makes a decoded object ready to replace `old`, keeping what clients may not change.
pub(crate) fn prepare_update(
    kind: &ResourceKind,
    value: &mut Value,
    old: &Value,
    status: bool,
) -> Result<(), ApiStatus> {
    let keep = |value: &mut Value, field: &str| match old.get(field) {
        Some(kept) => value[field] = kept.clone(),
        None => drop(remove(value, field)),
    };
    match (kind.rules, status) {
        (Rules::Custom, true) => {
            let new_status = remove(value, "status");
            *value = old.clone();
            match new_status {
                Some(status) => value["status"] = status,
                None => drop(remove(value, "status")),
            }
        }
        (_, true) => keep(value, "spec"),
        (_, false) if kind.status => keep(value, "status"),
        _ => {}
    }
    if kind.rules == Rules::Namespace {
        value["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
        value["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(meta(old, "name"));
    }
    if kind.rules == Rules::Service && !status {
        service::carry_over(value, old);
    }
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let kept = old["metadata"].get(field).cloned().unwrap_or_default();
        set_meta(value, field, kept);
    }
    set_meta(value, "generation", next_generation(kind, value, old));
    let mut causes = validate_metadata(kind, value);
    if meta(value, "name") != meta(old, "name") {
        let name = json!(meta(value, "name"));
        causes.push(Cause::invalid("metadata.name", name, "field is immutable"));
    }
    causes.extend(validate(kind, value, Some(old)));
    refuse(kind, value, causes)
}

fn next_generation(kind: &ResourceKind, value: &Value, old: &Value) -> Value {
    let changed = |field: &str| value.get(field) != old.get(field);
    let content_changed = |ignored: &[&str]| {
        let keys = [value, old].into_iter().filter_map(Value::as_object).flat_map(|m| m.keys());
        keys.into_iter().any(|key| !ignored.contains(&key.as_str()) && changed(key))
    };
    let labels = |object: &Value| object.pointer("/metadata/labels").cloned();
    let bump = match kind.rules {
        Rules::EndpointSlice => content_changed(&["metadata"]) || labels(value) != labels(old),
        Rules::Custom if kind.status => content_changed(&["metadata", "status"]),
        Rules::Custom => content_changed(&["metadata"]),
        _ => return old["metadata"].get("generation").cloned().unwrap_or_default(),
    };
    let generation = old["metadata"]["generation"].as_u64().unwrap_or(1);
    json!(generation + u64::from(bump))
}

/// 422 where there is a cause for it.
pub(crate) fn refuse(
    kind: &ResourceKind,
    value: &Value,
    causes: Vec<Cause>,
) -> Result<(), ApiStatus> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiStatus::invalid(kind, meta(value, "name"), causes))
}

fn validate_metadata(kind: &ResourceKind, value: &Value) -> Vec<Cause> {
    let name = meta(value, "name");
    let mut causes = Vec::new();
    let label = matches!(kind.rules, Rules::Service | Rules::Namespace);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if label && !is_dns_label(name) {
        let detail = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
                      characters or '-', and must start and end with an alphanumeric character";
        causes.push(Cause::invalid("metadata.name", json!(name), detail));
    } else if !is_dns_subdomain(name) {
        let detail = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                      characters, '-' or '.', and must start and end with an alphanumeric \
                      character";
        causes.push(Cause::invalid("metadata.name", json!(name), detail));
    }
    for (field, limit) in [("labels", 63), ("annotations", 256 * 1024)] {
        let map = value["metadata"].get(field).and_then(Value::as_object);
        for (key, text) in map.into_iter().flatten() {
            let path = format!("metadata.{field}");
            let text = text.as_str().unwrap_or_default();
            if !is_qualified_name(key) {
                let detail = "name part must consist of alphanumeric characters, '-', '_' or '.', \
                              and must start and end with an alphanumeric character";
                causes.push(Cause::invalid(&path, json!(key), detail));
            }
            if text.len() > limit {
                let detail = format!("must be no more than {limit} bytes");
                causes.push(Cause::invalid(&path, json!(text), &detail));
            } else if field == "labels" && !text.is_empty() && !is_name_part(text) {
                let detail = "a valid label must be an empty string or consist of alphanumeric \
                              characters, '-', '_' or '.', and must start and end with an \
                              alphanumeric character";
                causes.push(Cause::invalid(&path, json!(text), detail));
            }
        }
    }
    causes
}

fn validate(kind: &ResourceKind, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    match kind.rules {
        Rules::Lease => validate_lease(value),
        Rules::Service => service::validate(value, old),
        // Events are checked when they are made; their update is the strict check of few fields.
        Rules::Event | Rules::EventsV1 if old.is_none() => {
            event::validate(value, kind.rules == Rules::EventsV1)
        }
        _ => Vec::new(),
    }
}

fn validate_lease(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = Vec::new();
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64()
        && seconds <= 0
    {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, seconds, "must be greater than 0"));
    }
    if let Some(transitions) = spec["leaseTransitions"].as_i64()
        && transitions < 0
    {
        let field = "spec.leaseTransitions";
        causes.push(Cause::invalid(field, transitions, "must be greater than or equal to 0"));
    }
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    if !text("preferredHolder").is_empty() && text("strategy").is_empty() {
        let detail = "may only be specified if `strategy` is defined";
        causes.push(Cause::forbidden("spec.preferredHolder", detail));
    }
    causes
}

fn is_name_part(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && alphanumeric(text.chars().next())
        && alphanumeric(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_dns_subdomain(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && is_dns_label(&part[..part.len().min(63)]);
    (1..=253).contains(&text.len()) && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "announcer-vip-192.0.2.10", "a.b-c.d", "0"] {
            assert!(is_dns_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", ".a", "A", "a_b", "fe80::1"] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
        assert!(is_qualified_name("l2announcer.io/announce"));
        assert!(!is_qualified_name("l2announcer.io/"));
        assert!(!is_qualified_name("a/b/c"));
    }
}

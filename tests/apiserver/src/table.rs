//! Tables, as `kubectl get` asks for them: the columns of the real server's printers.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    object::meta,
    registry::{ResourceKind, Rules},
};

/// A `meta.k8s.io/v1` Table of these objects.
pub(crate) fn table(
    kind: &ResourceKind,
    objects: &[Value],
    version: &str,
    with_columns: bool,
) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = objects.iter().map(|object| row(kind, object, now)).collect();
    let columns: Vec<Value> = if with_columns {
        columns(kind).iter().map(|name| column(name)).collect()
    } else {
        Vec::new()
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": columns, "rows": rows,
    })
}

fn column(name: &str) -> Value {
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0})
}

fn row(kind: &ResourceKind, object: &Value, now: Timestamp) -> Value {
    let metadata = json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    });
    json!({"cells": cells(kind, object, now), "object": metadata})
}

fn columns(kind: &ResourceKind) -> &'static [&'static str] {
    match kind.rules {
        Rules::Service => &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"],
        Rules::Node => &["Name", "Status", "Roles", "Age", "Version"],
        Rules::Namespace => &["Name", "Status", "Age"],
        Rules::Event | Rules::EventsV1 => &["Last Seen", "Type", "Reason", "Object", "Message"],
        Rules::Lease => &["Name", "Holder", "Age"],
        Rules::EndpointSlice => &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        Rules::Endpoints => &["Name", "Endpoints", "Age"],
        Rules::Custom => &["Name", "Age"],
    }
}

fn cells(kind: &ResourceKind, object: &Value, now: Timestamp) -> Vec<String> {
    let name = meta(object, "name").to_owned();
    let age = age(meta(object, "creationTimestamp"), now);
    let text =
        |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |path: &str, field: &str| {
        let items = object.pointer(path).and_then(Value::as_array).into_iter().flatten();
        let texts = items.map(|item| if field.is_empty() { item } else { &item[field] });
        let texts: Vec<String> = texts
            .flat_map(|v| v.as_array().cloned().unwrap_or_else(|| vec![v.clone()]))
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect();
        if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
    };
    match kind.rules {
        Rules::Service => {
            let external = match list("/status/loadBalancer/ingress", "ip") {
                none if none == "<none>" && text("/spec/type") == "LoadBalancer" => {
                    "<pending>".to_owned()
                }
                found => found,
            };
            let cluster = match text("/spec/clusterIP") {
                none if none.is_empty() => "<none>".to_owned(),
                found => found,
            };
            vec![name, text("/spec/type"), cluster, external, service_ports(object), age]
        }
        Rules::Node => {
            let version = text("/status/nodeInfo/kubeletVersion");
            vec![name, node_status(object), node_roles(object), age, version]
        }
        Rules::Namespace => vec![name, text("/status/phase"), age],
        Rules::Event | Rules::EventsV1 => event_cells(object, now),
        Rules::Lease => vec![name, text("/spec/holderIdentity"), age],
        Rules::EndpointSlice => {
            let (ports, addresses) = (list("/ports", "port"), list("/endpoints", "addresses"));
            vec![name, text("/addressType"), ports, addresses, age]
        }
        Rules::Endpoints => vec![name, list("/subsets/0/addresses", "ip"), age],
        Rules::Custom => vec![name, age],
    }
}

fn service_ports(service: &Value) -> String {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let show = |port: &Value| {
        let node = match port.get("nodePort").and_then(Value::as_u64) {
            Some(number) if number != 0 => format!(":{number}"),
            _ => String::new(),
        };
        format!("{}{node}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"))
    };
    let shown: Vec<String> = ports.map(show).collect();
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(",") }
}

fn node_status(node: &Value) -> String {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let status = match ready {
        None => "Unknown",
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
    };
    let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if cordoned { format!("{status},SchedulingDisabled") } else { status.to_owned() }
}

fn node_roles(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flat_map(|labels| labels.keys())
        .filter_map(|key| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn event_cells(event: &Value, now: Timestamp) -> Vec<String> {
    let text = |paths: &[&str]| {
        let mut found = paths.iter().filter_map(|path| event.pointer(path)?.as_str());
        found.next().unwrap_or_default().to_owned()
    };
    let seen = text(&[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/firstTimestamp",
        "/eventTime",
    ]);
    let kind = text(&["/involvedObject/kind", "/regarding/kind"]).to_lowercase();
    let name = text(&["/involvedObject/name", "/regarding/name"]);
    let message = text(&["/message", "/note"]);
    let object = format!("{kind}/{name}");
    vec![age(&seen, now), text(&["/type"]), text(&["/reason"]), object, message]
}

/// Time since, as kubectl shows it.
fn age(since: &str, now: Timestamp) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        _ => format!("{}d", hours / 24),
    }
}

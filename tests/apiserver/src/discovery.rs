//! What is served where: what `kubectl` and discovery clients ask before anything else.

use serde_json::{Value, json};

use crate::registry::{Registry, ResourceKind};

/// Answers a path that names no resource; `None` where there is nothing.
pub(crate) fn document(registry: &Registry, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        [] => Some(json!({"paths": [
            "/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version",
        ]})),
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "",
            "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none: announcer-apiserver", "compiler": "rustc",
            "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(registry).iter().map(|group| api_group(registry, group)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] if groups(registry).contains(group) => {
            let mut answer = api_group(registry, group);
            answer["kind"] = json!("APIGroup");
            answer["apiVersion"] = json!("v1");
            Some(answer)
        }
        ["api", version] => resources(registry, "", version),
        ["apis", group, version] => resources(registry, group, version),
        ["openapi", "v3"] => Some(openapi_index(registry)),
        ["openapi", "v3", "api", version] => openapi(registry, "", version),
        ["openapi", "v3", "apis", group, version] => openapi(registry, group, version),
        _ => None,
    }
}

fn groups(registry: &Registry) -> Vec<&str> {
    let mut groups: Vec<&str> = registry
        .kinds()
        .iter()
        .map(|kind| kind.resource.group())
        .filter(|group| !group.is_empty())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn versions<'a>(registry: &'a Registry, group: &str) -> Vec<&'a str> {
    let of_group = registry.kinds().iter().filter(|kind| kind.resource.group() == group);
    let mut versions: Vec<&str> = of_group.map(|kind| kind.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

fn api_group(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = versions(registry, group)
        .into_iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions[0], "versions": versions})
}

fn of_version<'a>(
    registry: &'a Registry,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a ResourceKind> {
    let kinds = registry.kinds().iter().map(AsRef::as_ref);
    kinds.filter(move |kind| kind.resource.group() == group && kind.version == version)
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for kind in of_version(registry, group, version) {
        let verbs =
            ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        let plural = kind.resource.plural();
        let mut entry = json!({
            "name": plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs,
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        list.push(entry);
        if kind.status {
            list.push(json!({
                "name": format!("{plural}/status"), "singularName": "",
                "namespaced": kind.namespaced, "kind": kind.kind,
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!list.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": group_version, "resources": list,
        })
    })
}

fn prefix(kind: &ResourceKind) -> String {
    let root = if kind.resource.group().is_empty() { "api" } else { "apis" };
    format!("{root}/{}", kind.api_version())
}

fn openapi_index(registry: &Registry) -> Value {
    let paths: serde_json::Map<String, Value> = registry
        .kinds()
        .iter()
        .map(|kind| prefix(kind))
        .map(|prefix| {
            let url = format!("/openapi/v3/{prefix}?hash=0");
            (prefix, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// Just enough for kubectl to see that it need not check objects itself: the server does.
fn openapi(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut paths = serde_json::Map::new();
    for kind in of_version(registry, group, version) {
        let namespace = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{namespace}{}/{{name}}", prefix(kind), kind.resource.plural());
        let gvk = json!({"group": group, "version": version, "kind": kind.kind});
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        let operation = json!({
            "parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": gvk,
        });
        paths.insert(path, json!({"patch": operation}));
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.3"},
            "paths": paths, "components": {"schemas": {}},
        })
    })
}

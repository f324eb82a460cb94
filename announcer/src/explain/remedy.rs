//! What to type: commands with all names filled in.

use crate::{
    intent::{
        index::{
            EXCLUDE_LABEL, Kind, NAME_PSEUDO_LABEL, NAMESPACE_PSEUDO_LABEL, ObjectKey, ParentKey,
        },
        selector::Unmet,
    },
    ownership::store::{SESSION_ANNOTATION, vip_lease_name},
    types::{NodeName, Vip},
};

/// The Pods of the shipped DaemonSet, and of the chart.
const PODS: &str = "app.kubernetes.io/name=announcer";

fn service(key: &ObjectKey, verb: &str) -> String {
    format!("kubectl -n {} {verb} service {}", key.namespace, key.name)
}

pub(super) fn list_services(namespace: &str) -> String {
    format!("kubectl -n {namespace} get services")
}

pub(super) fn describe_service(key: &ObjectKey) -> String {
    service(key, "describe")
}

pub(super) fn patch_service(key: &ObjectKey, patch: &str) -> String {
    format!("{} -p '{patch}'", service(key, "patch"))
}

/// The class of a LoadBalancer cannot be changed; that of what is none is forgotten.
pub(super) fn set_class(key: &ObjectKey, class: &str) -> String {
    let away = patch_service(key, r#"{"spec":{"type":"ClusterIP"}}"#);
    let back = format!(r#"{{"spec":{{"type":"LoadBalancer","loadBalancerClass":"{class}"}}}}"#);
    format!("{away} && {}", patch_service(key, &back))
}

/// Labels that satisfy requirements; `None`: labels cannot.
fn label(what: &str, unmet: &[Unmet]) -> Option<String> {
    let pseudo = |unmet: &Unmet| [NAMESPACE_PSEUDO_LABEL, NAME_PSEUDO_LABEL].contains(&&*unmet.key);
    if unmet.is_empty() || unmet.iter().any(pseudo) {
        return None;
    }
    let edits: Vec<String> = unmet.iter().map(Unmet::edit).collect();
    let overwrites = unmet.iter().any(|unmet| unmet.has.is_some() && unmet.wants.is_some());
    let overwrite = if overwrites { " --overwrite" } else { "" };
    Some(format!("kubectl {what} {}{overwrite}", edits.join(" ")))
}

pub(super) fn label_service(key: &ObjectKey, unmet: &[Unmet]) -> Option<String> {
    label(&format!("-n {} label service {}", key.namespace, key.name), unmet)
}

/// A controller would take a label off the Service that it made.
pub(super) fn label_parent(parent: &ParentKey, unmet: &[Unmet]) -> Option<String> {
    let ObjectKey { namespace, name } = &parent.key;
    label(&format!("-n {namespace} label {} {name}", parent_resource(parent.kind)), unmet)
}

const fn parent_resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Gateway => "gateways.gateway.networking.k8s.io",
        _ => "ingress",
    }
}

pub(super) fn list_parents(parent: &ParentKey) -> String {
    format!("kubectl -n {} get {}", parent.key.namespace, parent_resource(parent.kind))
}

pub(super) fn edit_policy(name: &str) -> String {
    format!("kubectl edit l2announcementpolicies.l2announcer.io {name}")
}

pub(super) fn patch_policy(name: &str, spec: &str) -> String {
    let patch = format!(r#"{{"spec":{spec}}}"#);
    format!("kubectl patch l2announcementpolicies.l2announcer.io {name} --type=merge -p '{patch}'")
}

pub(super) fn label_node(node: &NodeName, unmet: &[Unmet]) -> Option<String> {
    label(&format!("label node {node}"), unmet)
}

pub(super) fn include_node(node: &NodeName) -> String {
    format!("kubectl label node {node} {EXCLUDE_LABEL}-")
}

pub(super) fn uncordon(node: &NodeName) -> String {
    format!("kubectl uncordon {node}")
}

pub(super) fn describe_node(node: &NodeName) -> String {
    format!("kubectl describe node {node}")
}

pub(super) fn set_variable(namespace: &str, variable: &str) -> String {
    format!("kubectl -n {namespace} set env daemonset -l {PODS} {variable}")
}

pub(super) fn announcers(namespace: &str) -> String {
    format!("kubectl -n {namespace} get daemonsets,pods -l {PODS} -o wide")
}

pub(super) fn announcer_on(namespace: &str, node: &NodeName) -> String {
    format!(
        "kubectl -n {namespace} get pods -l {PODS} -o wide --field-selector spec.nodeName={node}"
    )
}

pub(super) fn logs(namespace: &str) -> String {
    format!("kubectl -n {namespace} logs -l {PODS} --prefix --tail=50")
}

/// A lease whose holder is emptied in full is a release: announcers take it at its word.
pub(super) fn release(namespace: &str, vip: Vip) -> String {
    let patch = format!(
        r#"{{"spec":{{"holderIdentity":null}},"metadata":{{"annotations":{{"{SESSION_ANNOTATION}":null}}}}}}"#
    );
    let name = vip_lease_name(vip);
    format!("kubectl -n {namespace} patch lease {name} --type=merge -p '{patch}'")
}

pub(super) fn may_i(namespace: Option<&str>, verb: &str, resource: &str) -> String {
    match namespace {
        Some(namespace) => format!("kubectl -n {namespace} auth can-i {verb} {resource}"),
        None => format!("kubectl auth can-i {verb} {resource} --all-namespaces"),
    }
}

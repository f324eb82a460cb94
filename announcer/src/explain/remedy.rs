//! What to type: commands with all names filled in.

use crate::{
    cli::DEFAULT_NAMESPACE,
    explain::facts::Given,
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

/// Commands, each of which is for when the one before has succeeded.
#[derive(Clone, Debug)]
pub(super) struct Remedy(Vec<Command>);

#[derive(Clone, Debug)]
struct Command {
    line: String,
    asks_api_server: bool,
}

impl Remedy {
    fn kubectl(args: impl std::fmt::Display) -> Self {
        Self(vec![Command { line: format!("kubectl {args}"), asks_api_server: true }])
    }

    fn announcer(args: impl std::fmt::Display) -> Self {
        Self(vec![Command { line: format!("announcer {args}"), asks_api_server: true }])
    }

    fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    /// As it is typed into a shell by the one who asked, with the same kubeconfig.
    pub(super) fn line(&self, given: &Given<'_>) -> String {
        let kubeconfig = given.kubeconfig.map(|file| {
            let file = file.to_string_lossy();
            // Not with a NUL, which no argument has.
            let quoted = shlex::try_quote(&file).map(String::from).unwrap_or_default();
            format!(" --kubeconfig {quoted}")
        });
        let kubeconfig = kubeconfig.unwrap_or_default();
        let lines = self.0.iter().map(|Command { line, asks_api_server }| {
            if *asks_api_server { format!("{line}{kubeconfig}") } else { line.clone() }
        });
        lines.collect::<Vec<_>>().join(" && ")
    }
}

fn service(key: &ObjectKey, verb: &str) -> Remedy {
    Remedy::kubectl(service_args(key, verb))
}

fn service_args(key: &ObjectKey, verb: &str) -> String {
    format!("-n {} {verb} service {}", key.namespace, key.name)
}

pub(super) fn list_services(namespace: &str) -> Remedy {
    Remedy::kubectl(format_args!("-n {namespace} get services"))
}

pub(super) fn list_all_services() -> Remedy {
    Remedy::kubectl("get services --all-namespaces -o wide")
}

pub(super) fn list_nodes() -> Remedy {
    Remedy::kubectl("get nodes")
}

pub(super) fn describe_service(key: &ObjectKey) -> Remedy {
    service(key, "describe")
}

pub(super) fn patch_service(key: &ObjectKey, patch: &str) -> Remedy {
    Remedy::kubectl(format_args!("{} -p '{patch}'", service_args(key, "patch")))
}

/// The class of a LoadBalancer cannot be changed; that of what is none is forgotten.
pub(super) fn set_class(key: &ObjectKey, class: &str) -> Remedy {
    let away = patch_service(key, r#"{"spec":{"type":"ClusterIP"}}"#);
    let back = format!(r#"{{"spec":{{"type":"LoadBalancer","loadBalancerClass":"{class}"}}}}"#);
    away.then(patch_service(key, &back))
}

/// Labels that satisfy requirements; `None`: labels cannot.
fn label(what: &str, unmet: &[Unmet]) -> Option<Remedy> {
    let pseudo = |unmet: &Unmet| [NAMESPACE_PSEUDO_LABEL, NAME_PSEUDO_LABEL].contains(&&*unmet.key);
    if unmet.is_empty() || unmet.iter().any(pseudo) {
        return None;
    }
    let edits: Vec<String> = unmet.iter().map(Unmet::edit).collect();
    let overwrites = unmet.iter().any(|unmet| unmet.has.is_some() && unmet.wants.is_some());
    let overwrite = if overwrites { " --overwrite" } else { "" };
    Some(Remedy::kubectl(format_args!("{what} {}{overwrite}", edits.join(" "))))
}

pub(super) fn label_service(key: &ObjectKey, unmet: &[Unmet]) -> Option<Remedy> {
    label(&service_args(key, "label"), unmet)
}

/// A controller would take a label off the Service that it made.
pub(super) fn label_parent(parent: &ParentKey, unmet: &[Unmet]) -> Option<Remedy> {
    let ObjectKey { namespace, name } = &parent.key;
    label(&format!("-n {namespace} label {} {name}", parent_resource(parent.kind)), unmet)
}

const fn parent_resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Gateway => "gateways.gateway.networking.k8s.io",
        _ => "ingress",
    }
}

pub(super) fn list_parents(parent: &ParentKey) -> Remedy {
    let resource = parent_resource(parent.kind);
    Remedy::kubectl(format_args!("-n {} get {resource}", parent.key.namespace))
}

pub(super) fn edit_policy(name: &str) -> Remedy {
    Remedy::kubectl(format_args!("edit l2announcementpolicies.l2announcer.io {name}"))
}

pub(super) fn patch_policy(name: &str, spec: &str) -> Remedy {
    let patch = format!(r#"{{"spec":{spec}}}"#);
    Remedy::kubectl(format_args!(
        "patch l2announcementpolicies.l2announcer.io {name} --type=merge -p '{patch}'"
    ))
}

pub(super) fn label_node(node: &NodeName, unmet: &[Unmet]) -> Option<Remedy> {
    label(&format!("label node {node}"), unmet)
}

pub(super) fn include_node(node: &NodeName) -> Remedy {
    Remedy::kubectl(format_args!("label node {node} {EXCLUDE_LABEL}-"))
}

pub(super) fn uncordon(node: &NodeName) -> Remedy {
    Remedy::kubectl(format_args!("uncordon {node}"))
}

pub(super) fn describe_node(node: &NodeName) -> Remedy {
    Remedy::kubectl(format_args!("describe node {node}"))
}

pub(super) fn set_variable(namespace: &str, variable: &str) -> Remedy {
    Remedy::kubectl(format_args!("-n {namespace} set env daemonset -l {PODS} {variable}"))
}

pub(super) fn announcers(namespace: &str) -> Remedy {
    Remedy::kubectl(format_args!("-n {namespace} get daemonsets,pods -l {PODS} -o wide"))
}

pub(super) fn announcer_on(namespace: &str, node: &NodeName) -> Remedy {
    Remedy::kubectl(format_args!(
        "-n {namespace} get pods -l {PODS} -o wide --field-selector spec.nodeName={node}"
    ))
}

pub(super) fn logs(namespace: &str) -> Remedy {
    Remedy::kubectl(format_args!("-n {namespace} logs -l {PODS} --prefix --tail=50"))
}

/// A lease whose holder is emptied in full is a release: announcers take it at its word.
pub(super) fn release(namespace: &str, vip: Vip) -> Remedy {
    let patch = format!(
        r#"{{"spec":{{"holderIdentity":null}},"metadata":{{"annotations":{{"{SESSION_ANNOTATION}":null}}}}}}"#
    );
    let name = vip_lease_name(vip);
    Remedy::kubectl(format_args!("-n {namespace} patch lease {name} --type=merge -p '{patch}'"))
}

pub(super) fn may_i(namespace: Option<&str>, verb: &str, resource: &str) -> Remedy {
    Remedy::kubectl(match namespace {
        Some(namespace) => format!("-n {namespace} auth can-i {verb} {resource}"),
        None => format!("auth can-i {verb} {resource} --all-namespaces"),
    })
}

/// `target` as `announcer explain` takes it.
pub(super) fn explain(target: &impl std::fmt::Display, namespace: &str) -> Remedy {
    match namespace {
        DEFAULT_NAMESPACE => Remedy::announcer(format_args!("explain {target}")),
        other => announcer_with(&format!("explain {target}"), other),
    }
}

/// A command of the announcer, with Leases of this namespace.
pub(super) fn announcer_with(args: &str, namespace: &str) -> Remedy {
    Remedy::announcer(format_args!("{args} --namespace {namespace}"))
}

/// Where it is to be typed there may be no kubeconfig.
pub(super) fn probe(vip: Vip) -> Remedy {
    let line = format!("announcer probe {vip}  # on another host of that segment");
    Remedy(vec![Command { line, asks_api_server: false }])
}

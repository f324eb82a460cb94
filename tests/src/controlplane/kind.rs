//! The kinds of objects that tests use.

use announcer_apiserver::GroupResource;
use anyhow::{Result, bail};
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

/// A kind of object, as the API serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    pub(super) resource: &'static str,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
) -> Kind {
    Kind { group, version, kind, resource }
}

const SERVICE: Kind = kind("", "v1", "Service", "services");
const NODE: Kind = kind("", "v1", "Node", "nodes");
const POD: Kind = kind("", "v1", "Pod", "pods");
const LEASE: Kind = kind("coordination.k8s.io", "v1", "Lease", "leases");
const SLICE: Kind = kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
const INGRESS: Kind = kind("networking.k8s.io", "v1", "Ingress", "ingresses");
const POLICY: Kind =
    kind("l2announcer.io", "v1alpha1", "L2AnnouncementPolicy", "l2announcementpolicies");
const GATEWAY: Kind = kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways");
const CRD: Kind =
    kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
const DAEMON_SET: Kind = kind("apps", "v1", "DaemonSet", "daemonsets");

const EVENT: Kind = kind("events.k8s.io", "v1", "Event", "events");

const ALL: [Kind; 11] =
    [SERVICE, NODE, POD, LEASE, SLICE, INGRESS, POLICY, GATEWAY, CRD, DAEMON_SET, EVENT];

/// What tests create, and where.
pub(super) const OF_TESTS: [(Kind, &str); 9] = [
    (SERVICE, "default"),
    (SLICE, "default"),
    (INGRESS, "default"),
    (GATEWAY, "default"),
    (POLICY, ""),
    (LEASE, "announcer-system"),
    (POD, "announcer-system"),
    (NODE, ""),
    (EVENT, "default"),
];

impl Kind {
    /// The kind that a resource is.
    pub(super) fn of(resource: &GroupResource) -> Result<Self> {
        let known =
            |kind: &&Kind| kind.group == resource.group() && kind.resource == resource.plural();
        match ALL.iter().find(known) {
            Some(kind) => Ok(*kind),
            None => bail!("tests do not know the kind of {resource}"),
        }
    }

    pub(super) fn api_resource(self) -> ApiResource {
        let Self { group, version, kind, resource } = self;
        let gvk = kube::core::GroupVersionKind::gvk(group, version, kind);
        ApiResource::from_gvk_with_plural(&gvk, resource)
    }

    /// `body` as an object of this kind.
    pub(super) fn object(self, mut body: Value) -> Result<DynamicObject> {
        let resource = self.api_resource();
        body["apiVersion"] = json!(resource.api_version);
        body["kind"] = json!(resource.kind);
        Ok(serde_json::from_value(body)?)
    }
}

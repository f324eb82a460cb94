//! What the index keeps of each object: only what intent needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Node, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};

use super::{
    super::eligibility::{Ineligible, NotAnnounced},
    EXCLUDE_LABEL, GATEWAY_NAME_LABEL, Kind, ObjectKey, PLACEHOLDER_ENDPOINT, ParentKey,
    SERVICE_NAME_LABEL, Selection, key,
};
use crate::types::{NodeName, Vip, VipError};

/// Labels in little memory: most objects have few.
pub(super) type Labels = Box<[(Box<str>, Box<str>)]>;

pub(super) fn labels(from: Option<&BTreeMap<String, String>>) -> Labels {
    from.into_iter().flatten().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect()
}

/// A Service that has, or may get, addresses to announce.
#[derive(Debug, PartialEq)]
pub(super) struct ServiceFacts {
    pub(super) uid: Arc<str>,
    pub(super) labels: Labels,
    /// Whose labels it inherits.
    pub(super) parents: Box<[ParentKey]>,
    /// Whether load-balancer addresses can be announced at all.
    pub(super) load_balancer: bool,
    pub(super) load_balancer_ips: Box<[Result<Vip, VipError>]>,
    pub(super) external_ips: Box<[Result<Vip, VipError>]>,
    /// `externalTrafficPolicy: Local`.
    pub(super) local: bool,
}

impl ServiceFacts {
    pub(super) fn new(service: &Service, selection: &Selection) -> Result<Self, NotAnnounced> {
        let spec = service.spec.as_ref();
        let kind = spec.and_then(|s| s.type_.as_deref()).unwrap_or("ClusterIP");
        let load_balancer = kind == "LoadBalancer";
        let external = spec.and_then(|s| s.external_ips.as_deref()).unwrap_or_default();
        // No kube-proxy forwards for a name, whatever its externalIPs.
        if !load_balancer && (external.is_empty() || kind == "ExternalName") {
            return Err(NotAnnounced::NotLoadBalancer { kind: kind.to_owned() });
        }
        let ours = || selection.class.clone();
        match spec.and_then(|s| s.load_balancer_class.as_ref()) {
            Some(class) if *class != selection.class => {
                return Err(NotAnnounced::OtherClass { class: class.clone(), ours: ours() });
            }
            None if !selection.classless => return Err(NotAnnounced::NoClass { ours: ours() }),
            _ => {}
        }
        let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let ingress = status.and_then(|lb| lb.ingress.as_deref()).unwrap_or_default();
        let ingress = ingress
            .iter()
            // Such an address is a proxy's own: it is not for the nodes to answer.
            .filter(|_| load_balancer)
            .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
            .filter_map(|i| i.ip.as_deref());
        Ok(Self {
            uid: service.metadata.uid.as_deref().unwrap_or_default().into(),
            labels: labels(service.metadata.labels.as_ref()),
            parents: parents(service),
            load_balancer,
            load_balancer_ips: addresses(ingress),
            external_ips: addresses(external.iter().map(String::as_str)),
            local: spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local"),
        })
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Box<[Result<Vip, VipError>]> {
    texts.filter(|text| !text.is_empty()).map(str::parse).collect()
}

/// The Gateways and Ingresses that a Service was made for: its owners, and the
/// Gateway that the label of GEP-1762 names. Sorted, without doubles.
fn parents(service: &Service) -> Box<[ParentKey]> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let owners = service.metadata.owner_references.iter().flatten().filter_map(|owner| {
        Some(ParentKey { kind: parent_kind(owner)?, key: ObjectKey::new(namespace, &owner.name) })
    });
    let label = service.metadata.labels.as_ref().and_then(|l| l.get(GATEWAY_NAME_LABEL));
    let labelled =
        label.map(|name| ParentKey { kind: Kind::Gateway, key: ObjectKey::new(namespace, name) });
    let parents: BTreeSet<ParentKey> = owners.chain(labelled).collect();
    parents.into_iter().collect()
}

/// Whatever the version: an owner reference may be older than what is served.
fn parent_kind(owner: &OwnerReference) -> Option<Kind> {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, owner.kind.as_str()) {
        ("gateway.networking.k8s.io", "Gateway") => Some(Kind::Gateway),
        ("networking.k8s.io", "Ingress") => Some(Kind::Ingress),
        _ => None,
    }
}

/// A Node, and what speaks against it whatever the VIP.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeFacts {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) unfit: Vec<Ineligible>,
}

impl NodeFacts {
    /// Conditions that a Node does not have speak neither for nor against it,
    /// except Ready, which must be true.
    pub(super) fn new(node: &Node, exclude_cordoned: bool) -> Self {
        let conditions =
            node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let status = |kind| conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str());
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
        let ready = status("Ready");
        let unfit = [
            (ready != Some("True")).then(|| Ineligible::NotReady(ready.map(str::to_owned))),
            (status("NetworkUnavailable") == Some("True"))
                .then_some(Ineligible::NetworkUnavailable),
            labels.contains_key(EXCLUDE_LABEL).then_some(Ineligible::Excluded),
            (cordoned && exclude_cordoned).then_some(Ineligible::Cordoned),
        ];
        Self { labels, unfit: unfit.into_iter().flatten().collect() }
    }
}

pub(super) fn node_name(node: &Node) -> Option<NodeName> {
    node.metadata.name.as_deref()?.parse().ok()
}

/// One EndpointSlice.
#[derive(Debug, PartialEq)]
pub(super) struct SliceFacts {
    /// Nodes with an endpoint that serves, each once.
    pub(super) serving: Box<[NodeName]>,
    /// Whether it has endpoints.
    pub(super) any: bool,
    /// Whether one of them, serving or not, says on which node it is.
    pub(super) located: bool,
}

impl SliceFacts {
    /// The Service that the slice belongs to, and what the slice says.
    pub(super) fn new(slice: &EndpointSlice) -> Option<(ObjectKey, Self)> {
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
        let namespace = key(&slice.metadata).namespace;
        let mut located = false;
        let mut serving = BTreeSet::new();
        for endpoint in &slice.endpoints {
            let placeholder = endpoint.addresses.iter().any(|a| a == PLACEHOLDER_ENDPOINT);
            let Some(node) = endpoint.node_name.as_deref().filter(|_| !placeholder) else {
                continue;
            };
            located = true;
            let conditions = endpoint.conditions.as_ref();
            // An unknown readiness counts as ready; `serving` is readiness
            // regardless of termination (discovery/v1, EndpointConditions).
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let serves = conditions.and_then(|c| c.serving).unwrap_or(ready);
            if (ready || serves)
                && let Ok(node) = node.parse()
            {
                serving.insert(node);
            }
        }
        let facts = Self {
            serving: serving.into_iter().collect(),
            any: !slice.endpoints.is_empty(),
            located,
        };
        Some((ObjectKey { namespace, name: service.as_str().into() }, facts))
    }
}

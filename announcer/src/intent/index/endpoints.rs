//! Where the endpoints of Services are, from their EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{ObjectKey, facts::SliceFacts, key};
use crate::types::NodeName;

/// On which nodes a Service with `externalTrafficPolicy: Local` can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Locality {
    /// On these.
    On(BTreeSet<NodeName>),
    /// It has endpoints, and none says where it is: a stand-in, as Cilium makes
    /// for its Gateways, whose traffic any node can take.
    Unlocated,
    /// EndpointSlices cannot be read.
    Unreadable,
}

/// All EndpointSlices, by their Services.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    by_service: BTreeMap<ObjectKey, BTreeMap<Box<str>, SliceFacts>>,
    /// Slice to Service: a slice can be given to another one.
    owners: BTreeMap<ObjectKey, ObjectKey>,
    pub(super) unreadable: bool,
}

impl Endpoints {
    /// Takes in a slice; returns the Services for which something changed.
    pub(super) fn apply(&mut self, slice: &EndpointSlice) -> Vec<ObjectKey> {
        let slice_key = key(&slice.metadata);
        let Some((service, facts)) = SliceFacts::new(slice) else {
            return self.delete(&slice_key).into_iter().collect();
        };
        let mut changed = Vec::new();
        if self.owners.get(&slice_key).is_some_and(|owner| *owner != service) {
            changed.extend(self.delete(&slice_key));
        }
        let name: Box<str> = (&*slice_key.name).into();
        let slices = self.by_service.entry(service.clone()).or_default();
        if slices.get(&name) != Some(&facts) {
            slices.insert(name, facts);
            changed.push(service.clone());
        }
        self.owners.insert(slice_key, service);
        changed
    }

    /// Forgets a slice; returns its Service.
    pub(super) fn delete(&mut self, slice: &ObjectKey) -> Option<ObjectKey> {
        let service = self.owners.remove(slice)?;
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.remove(&*slice.name);
            if slices.is_empty() {
                self.by_service.remove(&service);
            }
        }
        Some(service)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.owners.keys()
    }

    pub(super) fn locality(&self, service: &ObjectKey) -> Locality {
        if self.unreadable {
            return Locality::Unreadable;
        }
        let slices = || self.by_service.get(service).into_iter().flat_map(BTreeMap::values);
        if slices().any(|slice| slice.any) && !slices().any(|slice| slice.located) {
            return Locality::Unlocated;
        }
        Locality::On(slices().flat_map(|slice| slice.serving.iter().cloned()).collect())
    }
}

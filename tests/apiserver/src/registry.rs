//! Which kinds of objects the server knows, and in what their handling differs.

use std::{borrow::Cow, fmt, sync::Arc};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Endpoints, Event, Namespace, Node, Service},
    discovery::v1::EndpointSlice,
    events::v1::Event as EventsV1Event,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A resource, as the API names it: `leases` of group `coordination.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    group: Cow<'static, str>,
    plural: Cow<'static, str>,
}

/// Core services.
pub const SERVICES: GroupResource = GroupResource::of("", "services");
/// Core nodes (cluster-scoped: their namespace is the empty string).
pub const NODES: GroupResource = GroupResource::of("", "nodes");
/// Core namespaces (cluster-scoped).
pub const NAMESPACES: GroupResource = GroupResource::of("", "namespaces");
/// Core endpoints.
pub const ENDPOINTS: GroupResource = GroupResource::of("", "endpoints");
/// Events by their core/v1 name.
pub const EVENTS: GroupResource = GroupResource::of("", "events");
/// The same events by their events.k8s.io/v1 name.
pub const EVENTS_V1: GroupResource = GroupResource::of("events.k8s.io", "events");
/// coordination.k8s.io leases.
pub const LEASES: GroupResource = GroupResource::of("coordination.k8s.io", "leases");
/// discovery.k8s.io endpointslices.
pub const ENDPOINT_SLICES: GroupResource = GroupResource::of("discovery.k8s.io", "endpointslices");

impl GroupResource {
    const fn of(group: &'static str, plural: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), plural: Cow::Borrowed(plural) }
    }

    /// Group (empty for core) and plural name.
    pub fn new(group: impl Into<String>, plural: impl Into<String>) -> Self {
        Self { group: Cow::Owned(group.into()), plural: Cow::Owned(plural.into()) }
    }

    /// The API group; empty for core.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The plural name, as in paths.
    pub fn plural(&self) -> &str {
        &self.plural
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(out, ".{}", self.group) }
    }
}

/// A custom resource to register, as a CustomResourceDefinition would.
///
/// Its objects are not checked against a schema.
#[derive(Clone, Debug)]
pub struct CustomResource {
    /// API group, for example `l2announcer.io`.
    pub group: String,
    /// The one served and stored version, for example `v1alpha1`.
    pub version: String,
    /// Plural name in paths.
    pub plural: String,
    /// Kind, for example `L2AnnouncementPolicy`.
    pub kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a `/status` subresource.
    pub status: bool,
}

/// Whose rules an object follows beyond the generic ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Service,
    Node,
    Namespace,
    Endpoints,
    Event,
    EventsV1,
    Lease,
    EndpointSlice,
    Custom,
}

/// One row of the table of kinds.
#[derive(Debug)]
pub(crate) struct ResourceKind {
    pub(crate) resource: GroupResource,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) singular: String,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) namespaced: bool,
    pub(crate) status: bool,
    pub(crate) rules: Rules,
    /// PUT of an absent object makes it (`AllowCreateOnUpdate` of the real strategies).
    pub(crate) create_on_update: bool,
    /// PUT without a resourceVersion overwrites (`AllowUnconditionalUpdate`).
    pub(crate) unconditional_update: bool,
    /// DELETE answers with the object instead of a `Status`.
    pub(crate) returns_deleted: bool,
    /// Field selectors beyond metadata.name and metadata.namespace.
    pub(crate) selectable: &'static [&'static str],
    /// Reads and writes the typed form: refuses wrong types, drops unknown fields.
    pub(crate) typed: fn(Value) -> Result<Value, String>,
    /// Index of the table that holds the objects; two kinds may be views of one table.
    pub(crate) table: usize,
}

impl ResourceKind {
    /// `v1`, or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.resource.group().is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.resource.group(), self.version)
        }
    }
}

/// All kinds that are served.
#[derive(Debug)]
pub(crate) struct Registry {
    kinds: Vec<Arc<ResourceKind>>,
    tables: usize,
}

impl Registry {
    pub(crate) fn builtin() -> Self {
        let mut kinds: Vec<ResourceKind> = vec![
            builtin(NAMESPACES, "Namespace", Rules::Namespace, typed::<Namespace>),
            builtin(NODES, "Node", Rules::Node, typed::<Node>),
            builtin(SERVICES, "Service", Rules::Service, typed::<Service>),
            builtin(ENDPOINTS, "Endpoints", Rules::Endpoints, typed::<Endpoints>),
            builtin(EVENTS, "Event", Rules::Event, typed::<Event>),
            builtin(LEASES, "Lease", Rules::Lease, typed::<Lease>),
            builtin(ENDPOINT_SLICES, "EndpointSlice", Rules::EndpointSlice, typed::<EndpointSlice>),
            builtin(EVENTS_V1, "Event", Rules::EventsV1, typed::<EventsV1Event>),
        ];
        let mut tables = 0;
        for kind in &mut kinds {
            kind.table = tables;
            tables += 1;
        }
        let events = kinds.iter().position(|kind| kind.rules == Rules::Event);
        if let (Some(events), Some(view)) = (events, kinds.last_mut()) {
            view.table = events;
        }
        Self { kinds: kinds.into_iter().map(Arc::new).collect(), tables }
    }

    /// Adds a custom resource; one of the same group and plural is replaced.
    pub(crate) fn register(&mut self, custom: CustomResource) -> Arc<ResourceKind> {
        let resource = GroupResource::new(custom.group, custom.plural);
        let known = self.kinds.iter().position(|kind| kind.resource == resource);
        let table = known.map_or(self.tables, |at| self.kinds[at].table);
        let kind = Arc::new(ResourceKind {
            resource,
            version: custom.version,
            singular: custom.kind.to_lowercase(),
            kind: custom.kind,
            short_names: &[],
            namespaced: custom.namespaced,
            status: custom.status,
            rules: Rules::Custom,
            create_on_update: false,
            unconditional_update: false,
            returns_deleted: false,
            selectable: &[],
            typed: Ok,
            table,
        });
        match known {
            Some(at) => self.kinds[at] = Arc::clone(&kind),
            None => {
                self.kinds.push(Arc::clone(&kind));
                self.tables += 1;
            }
        }
        kind
    }

    pub(crate) fn kinds(&self) -> &[Arc<ResourceKind>] {
        &self.kinds
    }

    /// How many tables the kinds need.
    pub(crate) fn tables(&self) -> usize {
        self.tables
    }

    pub(crate) fn find(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&Arc<ResourceKind>> {
        self.kinds.iter().find(|kind| {
            kind.resource.group() == group
                && kind.version == version
                && kind.resource.plural() == plural
        })
    }

    pub(crate) fn resource(&self, resource: &GroupResource) -> Option<&Arc<ResourceKind>> {
        self.kinds.iter().find(|kind| kind.resource == *resource)
    }
}

fn builtin(
    resource: GroupResource,
    kind: &str,
    rules: Rules,
    typed: fn(Value) -> Result<Value, String>,
) -> ResourceKind {
    const EVENT_FIELDS: &[&str] = &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "reason",
        "reportingComponent",
        "type",
    ];
    let (short_names, selectable): (&[&str], &[&str]) = match rules {
        Rules::Service => (&["svc"], &["spec.clusterIP", "spec.type"]),
        Rules::Node => (&["no"], &["spec.unschedulable"]),
        Rules::Namespace => (&["ns"], &["status.phase"]),
        Rules::Endpoints => (&["ep"], &[]),
        Rules::Event => (&["ev"], EVENT_FIELDS),
        Rules::EventsV1 => (&["ev"], &[]),
        Rules::Lease | Rules::EndpointSlice | Rules::Custom => (&[], &[]),
    };
    ResourceKind {
        resource,
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        singular: kind.to_lowercase(),
        short_names,
        namespaced: !matches!(rules, Rules::Node | Rules::Namespace),
        status: matches!(rules, Rules::Service | Rules::Node | Rules::Namespace),
        rules,
        create_on_update: matches!(
            rules,
            Rules::Service | Rules::Endpoints | Rules::Event | Rules::EventsV1 | Rules::Lease
        ),
        unconditional_update: rules != Rules::Lease,
        returns_deleted: matches!(rules, Rules::Service | Rules::Namespace),
        selectable,
        typed,
        table: 0,
    }
}

fn typed<K: DeserializeOwned + Serialize>(value: Value) -> Result<Value, String> {
    let object: K = serde_json::from_value(value).map_err(|error| error.to_string())?;
    serde_json::to_value(object).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_both_groups_share_a_table() {
        let registry = Registry::builtin();
        let table = |resource: &GroupResource| registry.resource(resource).map(|k| k.table);
        assert!(table(&EVENTS).is_some());
        assert_eq!(table(&EVENTS), table(&EVENTS_V1));
        assert_ne!(table(&EVENTS), table(&LEASES));
    }

    #[test]
    fn a_registered_resource_is_found() {
        let mut registry = Registry::builtin();
        let before = registry.tables();
        registry.register(CustomResource {
            group: "example.io".to_owned(),
            version: "v1".to_owned(),
            plural: "things".to_owned(),
            kind: "Thing".to_owned(),
            namespaced: true,
            status: true,
        });
        assert!(registry.find("example.io", "v1", "things").is_some());
        assert_eq!(registry.tables(), before + 1);
    }
}

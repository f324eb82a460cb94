//! The objects that the index reads, how it names them, and what it has to say.

use std::{fmt, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{Node, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::super::{policy::L2AnnouncementPolicy, rules::RuleError};
use crate::types::{Vip, VipError};

/// The kinds of objects that the index reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Core Services.
    Service,
    /// Core Nodes.
    Node,
    /// discovery.k8s.io EndpointSlices.
    EndpointSlice,
    /// Our L2AnnouncementPolicies.
    Policy,
    /// Gateways of the Gateway API: their labels only.
    Gateway,
    /// Ingresses: their labels only.
    Ingress,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::Node => "Node",
            Self::EndpointSlice => "EndpointSlice",
            Self::Policy => "L2AnnouncementPolicy",
            Self::Gateway => "Gateway",
            Self::Ingress => "Ingress",
        })
    }
}

/// An object to take in.
#[derive(Clone, Debug)]
pub enum Object {
    /// A Service.
    Service(Box<Service>),
    /// A Node.
    Node(Box<Node>),
    /// An EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
    /// A policy.
    Policy(Box<L2AnnouncementPolicy>),
    /// What should be a policy and cannot be read as one.
    BadPolicy(Box<BadPolicy>),
    /// A Gateway.
    Gateway(Box<ObjectMeta>),
    /// An Ingress.
    Ingress(Box<ObjectMeta>),
}

impl Object {
    /// Which kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Node(_) => Kind::Node,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Policy(_) | Self::BadPolicy(_) => Kind::Policy,
            Self::Gateway(_) => Kind::Gateway,
            Self::Ingress(_) => Kind::Ingress,
        }
    }

    /// Its namespace and name.
    pub fn key(&self) -> ObjectKey {
        key(match self {
            Self::Service(service) => &service.metadata,
            Self::Node(node) => &node.metadata,
            Self::EndpointSlice(slice) => &slice.metadata,
            Self::Policy(policy) => &policy.metadata,
            Self::BadPolicy(bad) => &bad.metadata,
            Self::Gateway(metadata) | Self::Ingress(metadata) => metadata,
        })
    }
}

/// What should be a policy and cannot be read as one.
#[derive(Clone, Debug)]
pub struct BadPolicy {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is wrong.
    pub error: String,
}

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`; empty for what has none.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// From namespace (empty for what has none) and name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Gateway or an Ingress whose labels a Service inherits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParentKey {
    /// Gateway or Ingress.
    pub kind: Kind,
    /// Which.
    pub key: ObjectKey,
}

impl fmt::Display for ParentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// Kinds that are only looked at when some Service calls for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// A Service that is announced has `externalTrafficPolicy: Local`.
    pub endpoints: bool,
    /// A Service was made for a Gateway.
    pub gateways: bool,
    /// A Service was made for an Ingress.
    pub ingresses: bool,
}

/// Something that people should be told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An address that a Service asks for and that cannot be announced.
    Unfit {
        /// The Service.
        service: ObjectKey,
        /// What is wrong with the address.
        error: VipError,
    },
    /// `externalTrafficPolicy: Local`, yet no endpoint says where it is: announced
    /// as if the policy were Cluster.
    Unlocated {
        /// The Service.
        service: ObjectKey,
    },
    /// A policy that has no effect.
    BadPolicy {
        /// Its name.
        policy: ObjectKey,
        /// What is wrong with it.
        errors: Vec<RuleError>,
    },
    /// Services share an address, and no node can serve all of them.
    Divided {
        /// The address.
        vip: Vip,
        /// The Services.
        services: Vec<ObjectKey>,
    },
}

/// The key of an object.
pub fn key(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

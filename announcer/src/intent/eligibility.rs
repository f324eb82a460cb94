//! Why something is not announced, or not by some node: reasons for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::index::{ObjectKey, RuleId};

/// Why a node may not hold a VIP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ineligible {
    /// The Node's condition Ready is not True; with what it is, if there is one.
    NotReady(Option<String>),
    /// The Node's condition NetworkUnavailable is True.
    NetworkUnavailable,
    /// The Node has the exclude label.
    Excluded,
    /// The Node is cordoned, and `--exclude-cordoned` is set.
    Cordoned,
    /// None of the policies that announce the VIP for this Service selects the node.
    NotSelected {
        /// The Service.
        service: ObjectKey,
        /// The policies.
        policies: Vec<RuleId>,
    },
    /// `externalTrafficPolicy: Local`, and the node has no endpoint that serves.
    NoLocalEndpoint {
        /// The Service.
        service: ObjectKey,
    },
    /// Something that only the node itself knows.
    Local(LinkTrouble),
}

/// What is wrong with this node's interfaces for a VIP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkTrouble {
    /// The daemon answers on no interface that the policies mean.
    NoneMatches {
        /// What they mean.
        wanted: String,
    },
    /// Every interface that is meant cannot carry frames; one of them, and why.
    Unfit {
        /// The interface.
        interface: String,
        /// What is wrong with it.
        state: LinkState,
    },
}

/// What the data plane says of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Up, with carrier.
    #[serde(rename = "up")]
    Fit,
    /// Up, but nothing is connected.
    NoCarrier,
    /// Administratively down.
    Down,
    /// It does not exist at present.
    Missing,
    /// The data plane could not be attached to it.
    Unattached,
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady(None) => f.write_str("the node has not said yet whether it is ready"),
            Self::NotReady(Some(status)) => {
                write!(f, "the node is not ready (condition Ready is {status})")
            }
            Self::NetworkUnavailable => {
                f.write_str("the node's network is unavailable (condition NetworkUnavailable)")
            }
            Self::Excluded => {
                write!(f, "the node is excluded by label {}", super::index::EXCLUDE_LABEL)
            }
            Self::Cordoned => f.write_str("the node is cordoned (--exclude-cordoned)"),
            Self::NotSelected { service, policies } => {
                let policies: Vec<String> = policies.iter().map(ToString::to_string).collect();
                write!(f, "no node selector for {service} matches ({})", policies.join(", "))
            }
            Self::NoLocalEndpoint { service } => write!(
                f,
                "{service} has externalTrafficPolicy: Local and no serving endpoint on the node"
            ),
            Self::Local(trouble) => trouble.fmt(f),
        }
    }
}

impl fmt::Display for LinkTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoneMatches { wanted } => {
                write!(f, "the announcer answers on no interface of {wanted} here")
            }
            Self::Unfit { interface, state } => write!(f, "interface {interface} {state}"),
        }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fit => "is up",
            Self::NoCarrier => "has no carrier",
            Self::Down => "is down",
            Self::Missing => "does not exist",
            Self::Unattached => "has not let the data plane attach",
        })
    }
}

/// Why a Service, or what of it, is not announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAnnounced {
    /// Neither of type LoadBalancer nor with externalIPs.
    NotLoadBalancer {
        /// Its type.
        kind: String,
    },
    /// It belongs to another implementation.
    OtherClass {
        /// Its `spec.loadBalancerClass`.
        class: String,
        /// Ours.
        ours: String,
    },
    /// It has no class, and `--require-class` is set.
    NoClass {
        /// Ours.
        ours: String,
    },
    /// No policy is there, and `--service-selector` does not match.
    SelectorMismatch {
        /// The selector.
        selector: String,
    },
    /// None of the policies selects it.
    NoPolicySelects {
        /// How many there are.
        policies: usize,
    },
    /// It is selected, but has no address of the kinds that are announced.
    NoAddress {
        /// Whether load-balancer addresses are among those kinds.
        load_balancer_ips: bool,
        /// Whether external addresses are.
        external_ips: bool,
    },
}

impl fmt::Display for NotAnnounced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoadBalancer { kind } => {
                write!(f, "it is of type {kind}, not LoadBalancer, and has no externalIPs")
            }
            Self::OtherClass { class, ours } => write!(
                f,
                "its loadBalancerClass {class} is another implementation's (ours is {ours})"
            ),
            Self::NoClass { ours } => {
                write!(
                    f,
                    "it has no loadBalancerClass, and --require-class is set (ours is {ours})"
                )
            }
            Self::SelectorMismatch { selector } => {
                write!(f, "its labels do not match --service-selector {selector}")
            }
            Self::NoPolicySelects { policies } => write!(
                f,
                "none of the {policies} L2AnnouncementPolicies selects it (with a policy in the \
                 cluster, --service-selector has no say)"
            ),
            Self::NoAddress { load_balancer_ips: true, .. } => f.write_str(
                "it has no address: nobody has filled in status.loadBalancer.ingress \
                 (that is the work of an address allocator)",
            ),
            Self::NoAddress { load_balancer_ips: false, external_ips: true } => {
                f.write_str("it has no spec.externalIPs, and nothing else is announced for it")
            }
            Self::NoAddress { load_balancer_ips: false, external_ips: false } => {
                f.write_str("what selects it announces no kind of address")
            }
        }
    }
}

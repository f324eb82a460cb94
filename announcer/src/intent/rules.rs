//! What a policy (or the command line) means, compiled and checked. Pure.

use std::sync::Arc;

use super::{
    desired::{InterfacePatterns, InterfaceScope},
    index::Selection,
    policy::L2AnnouncementPolicySpec,
    selector::{LabelSelector, RequirementError},
};

/// Services on one side, nodes and interfaces on the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which Services.
    pub services: LabelSelector,
    /// Which nodes may announce them.
    pub nodes: LabelSelector,
    /// Which of those go first, if any.
    pub preferred: Option<LabelSelector>,
    /// On which interfaces.
    pub interfaces: InterfaceScope,
    /// Whether `status.loadBalancer.ingress` is announced.
    pub load_balancer_ips: bool,
    /// Whether `spec.externalIPs` is announced.
    pub external_ips: bool,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not an L2AnnouncementPolicy at all, though the API server keeps it.
    #[error("the object cannot be read: {0}")]
    Unreadable(String),
    /// `spec.serviceSelector`.
    #[error("spec.serviceSelector: {0}")]
    ServiceSelector(#[source] RequirementError),
    /// `spec.nodeSelector`.
    #[error("spec.nodeSelector: {0}")]
    NodeSelector(#[source] RequirementError),
    /// `spec.preferredNodes`.
    #[error("spec.preferredNodes: {0}")]
    PreferredNodes(#[source] RequirementError),
    /// One of `spec.interfaces`.
    #[error("spec.interfaces: {pattern:?} is not a regular expression: {why}")]
    Interface {
        /// The expression.
        pattern: String,
        /// What the compiler says.
        why: String,
    },
    /// It selects Services and announces nothing of them.
    #[error("neither spec.loadBalancerIPs nor spec.externalIPs is true: nothing is announced")]
    NothingToAnnounce,
}

impl RuleError {
    /// A word for the status condition's reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Unreadable",
            Self::ServiceSelector(_) => "BadServiceSelector",
            Self::NodeSelector(_) => "BadNodeSelector",
            Self::PreferredNodes(_) => "BadPreferredNodes",
            Self::Interface { .. } => "BadInterfaces",
            Self::NothingToAnnounce => "NothingToAnnounce",
        }
    }
}

impl Rule {
    /// Compiles a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it. A policy with an error has no effect at
    /// all: what remained of it might announce more than was meant.
    pub fn from_spec(spec: &L2AnnouncementPolicySpec) -> Result<Self, Vec<RuleError>> {
        let L2AnnouncementPolicySpec {
            service_selector,
            node_selector,
            preferred_nodes,
            interfaces,
            load_balancer_ips,
            external_ips,
        } = spec;
        let mut errors = Vec::new();
        let mut selector = |from: &Option<_>, error: fn(RequirementError) -> RuleError| {
            from.as_ref().map(LabelSelector::try_from).transpose().unwrap_or_else(|e| {
                errors.push(error(e));
                None
            })
        };
        let services = selector(service_selector, RuleError::ServiceSelector);
        let nodes = selector(node_selector, RuleError::NodeSelector);
        let preferred = selector(preferred_nodes, RuleError::PreferredNodes);
        let mut scope: Option<InterfaceScope> = None;
        for pattern in interfaces {
            match InterfacePatterns::one(pattern) {
                Ok(one) => {
                    let one = InterfaceScope::Matching(Arc::new(one));
                    scope = Some(scope.map_or(one.clone(), |scope| scope.union(&one)));
                }
                Err(error) => {
                    errors.push(RuleError::Interface { pattern: pattern.clone(), why: why(&error) })
                }
            }
        }
        if !load_balancer_ips && !external_ips {
            errors.push(RuleError::NothingToAnnounce);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            services: services.unwrap_or_default(),
            nodes: nodes.unwrap_or_default(),
            preferred,
            interfaces: scope.unwrap_or(InterfaceScope::All),
            load_balancer_ips: *load_balancer_ips,
            external_ips: *external_ips,
        })
    }

    /// What the flags mean where there is no policy.
    pub fn from_flags(selection: &Selection) -> Self {
        Self {
            services: selection.services.clone(),
            nodes: LabelSelector::default(),
            preferred: None,
            interfaces: InterfaceScope::All,
            load_balancer_ips: true,
            external_ips: selection.external_ips,
        }
    }
}

/// The last line of the compiler's message: the others draw the place.
fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

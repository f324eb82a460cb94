//! What the index says: the whole intent, as one value.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use regex::bytes::{Regex, RegexBuilder};

use crate::types::{NodeName, Vip};

/// Which VIPs should be announced, and how each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Intent {
    /// Per VIP the nodes and interfaces. Node sets are shared between VIPs, so
    /// that 5,000 of them on 500 nodes cost 5,000 pointers.
    pub vips: BTreeMap<Vip, VipIntent>,
    /// Whether this node may hold any, now or when Services come.
    pub candidacy: Candidacy,
}

/// Whether this node is one of those that VIPs may be placed on. One that is not
/// gives up what it holds, and then sends nothing: no heartbeat either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Candidacy {
    /// Some rule selects it, and it has an interface for that.
    #[default]
    Candidate,
    /// No rule that selects it has an interface here that works, or none selects
    /// it, or the node itself is not fit (not ready, excluded).
    Unselected,
    /// No interface at all works: nobody hears this node, so it says nothing.
    Unlinked,
}

/// How one VIP should be announced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VipIntent {
    /// Nodes that may hold it; nodes without a live announcer do no harm.
    pub eligible: Arc<BTreeSet<NodeName>>,
    /// Those of the eligible that a policy prefers; empty: no preference.
    pub preferred: Arc<BTreeSet<NodeName>>,
    /// The interfaces of *this* node to answer on, should it hold the VIP.
    pub interfaces: InterfaceScope,
    /// The Services that it is for, sorted: whom to tell when something is wrong with it.
    pub services: Arc<[ServiceRef]>,
}

/// A Service, as an Event names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`: `kubectl describe` shows the Events of this very object only.
    pub uid: Arc<str>,
}

impl VipIntent {
    /// On these nodes, without preference, on every interface, for no Service.
    pub fn on(eligible: Arc<BTreeSet<NodeName>>) -> Self {
        let (preferred, services) = (Arc::default(), Arc::default());
        Self { eligible, preferred, interfaces: InterfaceScope::All, services }
    }
}

/// Which interfaces of those that the daemon is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceScope {
    /// All of them.
    All,
    /// Those whose names match.
    Matching(Arc<InterfacePatterns>),
}

impl InterfaceScope {
    /// Whether an interface of this name is meant.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Matching(patterns) => patterns.matches(name),
        }
    }

    /// What either means.
    #[must_use]
    pub fn union(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Matching(mine), Self::Matching(others)) if mine != *others => {
                let mut patterns = Arc::unwrap_or_clone(mine);
                patterns.0.extend(others.0.iter().map(|(p, r)| (p.clone(), r.clone())));
                Self::Matching(Arc::new(patterns))
            }
            (Self::Matching(mine), Self::Matching(_)) => Self::Matching(mine),
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }
}

impl std::fmt::Display for InterfaceScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all interfaces"),
            Self::Matching(patterns) => {
                let patterns: Vec<&str> = patterns.0.keys().map(String::as_str).collect();
                write!(f, "interfaces matching {}", patterns.join(" or "))
            }
        }
    }
}

/// Regular expressions for interface names. They match anywhere in a name, as
/// in Cilium's policies: `^eth0$` for one interface.
#[derive(Clone, Debug)]
pub struct InterfacePatterns(BTreeMap<String, Regex>);

/// A hostile expression may not cost more memory than this, in bytes.
const COMPILED_SIZE: usize = 64 * 1024;

impl InterfacePatterns {
    /// Compiles one expression.
    ///
    /// # Errors
    /// What the expression lacks, or that it is too big.
    pub fn one(pattern: &str) -> Result<Self, regex::Error> {
        // Bytes and no Unicode: names of interfaces are neither text nor long, and
        // \w and \d then need none of Unicode's tables.
        let regex = RegexBuilder::new(pattern).unicode(false).size_limit(COMPILED_SIZE).build()?;
        Ok(Self(BTreeMap::from([(pattern.to_owned(), regex)])))
    }

    fn matches(&self, name: &str) -> bool {
        self.0.values().any(|regex| regex.is_match(name.as_bytes()))
    }
}

impl PartialEq for InterfacePatterns {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl Eq for InterfacePatterns {}

impl Hash for InterfacePatterns {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
        self.0.keys().for_each(|pattern| pattern.hash(state));
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn scope(pattern: &str) -> InterfaceScope {
        InterfaceScope::Matching(Arc::new(InterfacePatterns::one(pattern).expect(pattern)))
    }

    #[test]
    fn expressions_match_anywhere_unless_anchored() {
        for (pattern, name, matches) in [
            ("eth", "eth0", true),
            ("eth", "veth0", true),
            ("^eth", "veth0", false),
            (r"^ens\d+$", "ens18", true),
            (r"^ens\d+$", "ens18.100", false),
            (r"^\w+$", "br_0", true),
            ("(?i)^ETH0$", "eth0", true),
            ("^(eth|ens).*", "ens18", true),
        ] {
            assert_eq!(scope(pattern).includes(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_union_means_what_either_means() {
        let both = scope("^a$").union(&scope("^b$"));
        assert!(both.includes("a") && both.includes("b") && !both.includes("c"));
        assert_eq!(both, scope("^b$").union(&scope("^a$")));
        assert_eq!(scope("^a$").union(&InterfaceScope::All), InterfaceScope::All);
        assert_eq!(InterfaceScope::All.union(&scope("^a$")), InterfaceScope::All);
    }

    #[test]
    fn what_is_no_expression_or_too_big_is_refused() {
        for bad in ["eth(", "[", "*", "(a{1000}){1000}"] {
            assert!(InterfacePatterns::one(bad).is_err(), "{bad}");
        }
    }
}

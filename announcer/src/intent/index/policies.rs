//! The rules in force, and which nodes each selects.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{
    super::{
        desired::InterfaceScope,
        policy::L2AnnouncementPolicy,
        rules::{Rule, RuleError},
    },
    ObjectKey,
    facts::NodeFacts,
    status::{self, PolicyStatus},
};
use crate::types::NodeName;

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleId {
    /// The command line, where there is no policy.
    Flags,
    /// The policy of this name.
    Policy(Arc<str>),
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags => f.write_str("--service-selector"),
            Self::Policy(name) => write!(f, "L2AnnouncementPolicy {name}"),
        }
    }
}

/// A rule with the nodes that it selects.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) rule: Rule,
    /// The nodes it selects that nothing else speaks against.
    pub(super) nodes: BTreeSet<NodeName>,
    /// Those of them that it prefers.
    pub(super) preferred: BTreeSet<NodeName>,
    /// Nodes that it selects, fit or not.
    pub(super) selected: BTreeSet<NodeName>,
}

impl Placed {
    fn new(rule: Rule, nodes: &BTreeMap<NodeName, NodeFacts>) -> Self {
        let none = BTreeSet::new;
        let mut placed = Self { rule, nodes: none(), preferred: none(), selected: none() };
        for (name, facts) in nodes {
            placed.place(name, Some(facts));
        }
        placed
    }

    /// Looks at one node anew; returns whether that changes anything.
    fn place(&mut self, name: &NodeName, facts: Option<&NodeFacts>) -> bool {
        let selected = facts.is_some_and(|f| self.rule.nodes.matches(&f.labels));
        let fit = selected && facts.is_some_and(|f| f.unfit.is_empty());
        let prefers = |f: &NodeFacts| {
            self.rule.preferred.as_ref().is_some_and(|selector| selector.matches(&f.labels))
        };
        let preferred = fit && facts.is_some_and(prefers);
        let sets = [
            (&mut self.selected, selected),
            (&mut self.nodes, fit),
            (&mut self.preferred, preferred),
        ];
        let mut changed = false;
        for (set, member) in sets {
            changed |= if member { set.insert(name.clone()) } else { set.remove(name) };
        }
        changed
    }
}

#[derive(Debug)]
struct Policy {
    rule: Result<Placed, Vec<RuleError>>,
    status: PolicyStatus,
}

/// The policies, and the flags for where there is none.
#[derive(Debug)]
pub(super) struct Policies {
    flags: Placed,
    by_name: BTreeMap<Arc<str>, Policy>,
}

impl Policies {
    pub(super) fn new(flags: Rule) -> Self {
        Self { flags: Placed::new(flags, &BTreeMap::new()), by_name: BTreeMap::new() }
    }

    /// Takes in a policy; returns whether the rules have changed, and the errors
    /// if they are news.
    pub(super) fn apply(
        &mut self,
        policy: Result<&L2AnnouncementPolicy, &super::BadPolicy>,
        nodes: &BTreeMap<NodeName, NodeFacts>,
    ) -> (bool, Vec<RuleError>) {
        let (rule, metadata, conditions) = match policy {
            Ok(policy) => {
                let conditions = policy.status.as_ref().map(|s| s.conditions.as_slice());
                (Rule::from_spec(&policy.spec), &policy.metadata, conditions)
            }
            Err(bad) => (Err(vec![RuleError::Unreadable(bad.error.clone())]), &bad.metadata, None),
        };
        let status = status::desired(metadata, rule.as_ref().err(), conditions.unwrap_or_default());
        let name: Arc<str> = metadata.name.as_deref().unwrap_or_default().into();
        let old = self.by_name.get_mut(&name);
        let same = old.as_ref().is_some_and(|old| match (&old.rule, &rule) {
            (Ok(old), Ok(new)) => old.rule == *new,
            (Err(old), Err(new)) => old == new,
            _ => false,
        });
        if same && let Some(old) = old {
            old.status = status;
            return (false, Vec::new());
        }
        let errors = rule.as_ref().err().cloned().unwrap_or_default();
        let rule = rule.map(|rule| Placed::new(rule, nodes));
        self.by_name.insert(name, Policy { rule, status });
        (true, errors)
    }

    pub(super) fn delete(&mut self, key: &ObjectKey) -> bool {
        self.by_name.remove(&key.name).is_some()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// How many policies there are, accepted or not. While there is one, even
    /// one that is not accepted, the flags have no say: to announce more because
    /// of a mistake in a policy would be a surprise.
    pub(super) fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Looks at one node anew; returns whether that changes a rule's nodes.
    pub(super) fn place(&mut self, name: &NodeName, facts: Option<&NodeFacts>) -> bool {
        let policies = self.by_name.values_mut().filter_map(|p| p.rule.as_mut().ok());
        let rules = std::iter::once(&mut self.flags).chain(policies);
        // Every rule has to look: no short cut.
        rules.map(|rule| rule.place(name, facts)).filter(|changed| *changed).count() > 0
    }

    /// The rules in force.
    pub(super) fn rules(&self) -> impl Iterator<Item = (RuleId, &Placed)> {
        let flags = self.by_name.is_empty().then_some((RuleId::Flags, &self.flags));
        let policies = self.by_name.iter().filter_map(|(name, policy)| {
            Some((RuleId::Policy(name.clone()), policy.rule.as_ref().ok()?))
        });
        flags.into_iter().chain(policies)
    }

    /// The policies that are not accepted, and what is wrong with each.
    pub(super) fn refused(&self) -> impl Iterator<Item = (RuleId, &[RuleError])> {
        self.by_name.iter().filter_map(|(name, policy)| {
            Some((RuleId::Policy(name.clone()), policy.rule.as_ref().err()?.as_slice()))
        })
    }

    /// A rule in force.
    pub(super) fn rule(&self, id: &RuleId) -> Option<&Placed> {
        match id {
            RuleId::Flags => Some(&self.flags),
            RuleId::Policy(name) => self.by_name.get(name)?.rule.as_ref().ok(),
        }
    }

    /// The interfaces of `me` that the rules mean together. Each rule counts on
    /// the nodes that it selects; on a node that none selects all count, as it
    /// goes on answering for a moment while it hands over.
    pub(super) fn interfaces(&self, ids: &BTreeSet<RuleId>, me: &NodeName) -> InterfaceScope {
        let scope = |here: bool| {
            let rules = ids.iter().filter_map(|id| self.rule(id));
            let rules = rules.filter(|rule| !here || rule.selected.contains(me));
            rules.map(|rule| rule.rule.interfaces.clone()).reduce(|all, scope| all.union(&scope))
        };
        scope(true).or_else(|| scope(false)).unwrap_or(InterfaceScope::All)
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = &PolicyStatus> {
        self.by_name.values().map(|policy| &policy.status).filter(|status| status.differs)
    }
}

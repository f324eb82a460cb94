//! The API server of the simulation: two kinds of leases, compare-and-swap,
//! one global version, and a history for watches.

use std::collections::{BTreeMap, BTreeSet};

use announcer::{
    ownership::{
        lease::{Answer, Claim, Expect, NodeLease, Reply, Request, Seen, Version, VipLease},
        machine::Input,
    },
    types::{NodeName, Session, Vip},
};

/// What a change was about, as a watch delivers it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// What a watch by name shows; and what the watch of closed leases shows, if
    /// the lease was closed before or is closed now.
    Node {
        node: NodeName,
        seen: Seen<NodeLease>,
        overview: Option<NodeLease>,
    },
    Vip(Vip, Seen<VipLease>),
}

impl Change {
    /// What a node sees of it that watches `watched` by name.
    pub(crate) fn seen_by(self, watched: &BTreeSet<NodeName>) -> Option<Input> {
        match self {
            Self::Node { node, seen, .. } if watched.contains(&node) => {
                Some(Input::NodeLease(node, seen))
            }
            Self::Node { node, overview, .. } => {
                Some(Input::NodeLease(node, Seen::Present(overview?)))
            }
            Self::Vip(vip, seen) => Some(Input::VipLease(vip, seen)),
        }
    }
}

/// What the watch of closed leases makes of a change: a lease that leaves it has
/// been opened, as far as can be told from there.
fn overview(
    before: Option<&NodeLease>,
    after: Option<&NodeLease>,
    at: Version,
) -> Option<NodeLease> {
    match (before, after) {
        (_, Some(after)) if !after.open => Some(after.clone()),
        (Some(before), _) if !before.open => Some(before.opened(at)),
        _ => None,
    }
}

#[derive(Default)]
pub(crate) struct Store {
    version: u64,
    nodes: BTreeMap<NodeName, NodeLease>,
    vips: BTreeMap<Vip, VipLease>,
    /// How many writes were applied.
    pub(crate) writes: u64,
}

impl Store {
    /// Applies a request; returns the answer, and the change if there was one.
    pub(crate) fn apply(&mut self, request: &Request) -> (Answer, Option<Change>) {
        match request {
            Request::ReadNode(node) => (Answer::Node(found(self.nodes.get(node).cloned())), None),
            Request::ReadVip(vip) => (Answer::Vip(found(self.vips.get(vip).cloned())), None),
            Request::WriteNode { node, expect, transitions, open } => {
                let current = self.nodes.get(node);
                if let Some(refusal) = refuse(current.map(NodeLease::expect), expect) {
                    return (Answer::Node(refusal), None);
                }
                let uid = match current {
                    Some(lease) => lease.session.uid().to_owned(),
                    None => format!("uid-{}", self.version + 1),
                };
                let version = self.next();
                let session = Session::new(uid, *transitions);
                let lease = NodeLease { version, session, open: *open };
                let before = self.nodes.insert(node.clone(), lease.clone());
                let change = Change::Node {
                    node: node.clone(),
                    seen: Seen::Present(lease.clone()),
                    overview: overview(before.as_ref(), Some(&lease), version),
                };
                (Answer::Node(Reply::Ok(lease)), Some(change))
            }
            Request::WriteVip { vip, expect, claim } => {
                let current = self.vips.get(vip).map(VipLease::expect);
                let uid = current.as_ref().map(|e| e.uid.clone());
                if let Some(refusal) = refuse(current, expect) {
                    return (Answer::Vip(refusal), None);
                }
                let version = self.next();
                let uid = uid.unwrap_or_else(|| format!("uid-{}", version.0));
                let lease = VipLease { version, uid, claim: claim.clone() };
                self.vips.insert(*vip, lease.clone());
                let change = Change::Vip(*vip, Seen::Present(lease.clone()));
                (Answer::Vip(Reply::Ok(lease)), Some(change))
            }
        }
    }

    /// Somebody deletes a node lease by hand.
    pub(crate) fn delete_node(&mut self, node: &NodeName) -> Option<Change> {
        let before = self.nodes.remove(node)?;
        let version = self.next();
        let overview = overview(Some(&before), None, version);
        Some(Change::Node { node: node.clone(), seen: Seen::Absent(Some(version)), overview })
    }

    /// Somebody deletes a VIP lease by hand.
    pub(crate) fn delete_vip(&mut self, vip: Vip) -> Option<Change> {
        self.vips.remove(&vip)?;
        let version = self.next();
        Some(Change::Vip(vip, Seen::Absent(Some(version))))
    }

    /// Somebody clears a VIP lease's holder by hand.
    pub(crate) fn clear_holder(&mut self, vip: Vip) -> Option<Change> {
        let version = Version(self.version + 1);
        let lease = self.vips.get_mut(&vip)?;
        *lease = VipLease { version, uid: lease.uid.clone(), claim: Claim::Unclear };
        let change = Change::Vip(vip, Seen::Present(lease.clone()));
        self.next();
        Some(change)
    }

    /// One node lease as a list shows it.
    pub(crate) fn node(&self, node: &NodeName) -> Input {
        let seen = self.nodes.get(node).cloned().map_or(Seen::Absent(None), Seen::Present);
        Input::NodeLease(node.clone(), seen)
    }

    /// Everything there is, and the absence of what is known of and gone.
    pub(crate) fn list(&self, nodes: &[NodeName], vips: &[Vip]) -> Vec<Input> {
        let vip = |v: &Vip| {
            let seen = self.vips.get(v).cloned().map_or(Seen::Absent(None), Seen::Present);
            Input::VipLease(*v, seen)
        };
        nodes.iter().map(|n| self.node(n)).chain(vips.iter().map(vip)).collect()
    }

    fn next(&mut self) -> Version {
        self.version += 1;
        self.writes += 1;
        Version(self.version)
    }
}

fn found<T>(object: Option<T>) -> Reply<T> {
    object.map_or(Reply::NotFound, Reply::Ok)
}

/// The compare of compare-and-swap. A write to a deleted object whose uid it
/// names is a conflict too, as on the API server.
fn refuse<T>(current: Option<Expect>, expect: &Option<Expect>) -> Option<Reply<T>> {
    (current != *expect).then_some(Reply::Conflict)
}

//! The API server's store: two kinds of leases, compare-and-swap, one global
//! version, and a history for watches to resume from.
//!
//! Versions only grow, as they do on a real API server that is restarted. An etcd
//! that is restored from a backup takes writes back that nodes have seen: no
//! protocol over leases survives that, and it is not simulated.

use std::collections::BTreeMap;

use announcer::{
    ownership::lease::{Answer, Claim, Expect, NodeLease, Reply, Request, Seen, Version, VipLease},
    types::{NodeName, Session, Vip},
};

/// One write, as watches tell of it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: Version,
    pub(crate) what: What,
}

/// What was written.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Node { node: NodeName, before: Option<NodeLease>, after: Option<NodeLease> },
    Vip { vip: Vip, after: Option<VipLease> },
}

#[derive(Default)]
pub(crate) struct Store {
    version: u64,
    nodes: BTreeMap<NodeName, NodeLease>,
    vips: BTreeMap<Vip, VipLease>,
    history: Vec<Change>,
    /// The version up to which the history is gone.
    compacted: u64,
    /// How many writes were applied.
    pub(crate) writes: u64,
}

impl Store {
    /// Applies a request; returns the answer, and whether it changed anything.
    pub(crate) fn apply(&mut self, request: &Request) -> (Answer, bool) {
        match request {
            Request::ReadNode(node) => (Answer::Node(found(self.nodes.get(node))), false),
            Request::ReadVip(vip) => (Answer::Vip(found(self.vips.get(vip))), false),
            Request::WriteNode { node, expect, transitions, open } => {
                let current = self.nodes.get(node).map(NodeLease::expect);
                let Ok(uid) = self.admit(current, expect.as_ref()) else {
                    return (Answer::Node(Reply::Conflict), false);
                };
                let session = Session::new(uid, *transitions);
                let version = self.next_version();
                let lease = NodeLease { version, session, open: *open };
                self.put_node(node, Some(lease.clone()));
                (Answer::Node(Reply::Ok(lease)), true)
            }
            Request::WriteVip { vip, expect, claim } => {
                let current = self.vips.get(vip).map(VipLease::expect);
                let Ok(uid) = self.admit(current, expect.as_ref()) else {
                    return (Answer::Vip(Reply::Conflict), false);
                };
                let lease = VipLease { version: self.next_version(), uid, claim: claim.clone() };
                self.put_vip(*vip, Some(lease.clone()));
                (Answer::Vip(Reply::Ok(lease)), true)
            }
        }
    }

    /// The compare of compare-and-swap: the uid of the object that the write makes,
    /// or a conflict.
    ///
    /// As kube-apiserver does it: an update of an object that is gone makes it
    /// anew, whatever version it names, unless it names the uid.
    fn admit(&self, current: Option<Expect>, expect: Option<&Expect>) -> Result<String, ()> {
        let new = format!("uid-{}", self.version + 1);
        match (current, expect) {
            (None, None) => Ok(new),
            (None, Some(expect)) if expect.uid.is_empty() => Ok(new),
            (Some(current), Some(expect))
                if current.version == expect.version
                    && (expect.uid.is_empty() || current.uid == expect.uid) =>
            {
                Ok(current.uid)
            }
            _ => Err(()),
        }
    }

    /// Somebody deletes a node lease by hand. Returns whether there was one.
    pub(crate) fn delete_node(&mut self, node: &NodeName) -> bool {
        let exists = self.nodes.contains_key(node);
        if exists {
            self.put_node(node, None);
        }
        exists
    }

    /// Somebody deletes a VIP lease by hand. Returns whether there was one.
    pub(crate) fn delete_vip(&mut self, vip: Vip) -> bool {
        let exists = self.vips.contains_key(&vip);
        if exists {
            self.put_vip(vip, None);
        }
        exists
    }

    /// Somebody clears a VIP lease's holder by hand.
    pub(crate) fn clear_holder(&mut self, vip: Vip) -> bool {
        self.edit_vip(vip, |lease| lease.claim = Claim::Unclear)
    }

    /// Somebody annotates a VIP lease: a new version that says the same.
    pub(crate) fn touch_vip(&mut self, vip: Vip) -> bool {
        self.edit_vip(vip, |_| {})
    }

    /// Somebody annotates a node lease: a new version that says the same.
    pub(crate) fn touch_node(&mut self, node: &NodeName) -> bool {
        let Some(mut lease) = self.nodes.get(node).cloned() else { return false };
        lease.version = self.next_version();
        self.put_node(node, Some(lease));
        true
    }

    fn edit_vip(&mut self, vip: Vip, edit: impl FnOnce(&mut VipLease)) -> bool {
        let Some(mut lease) = self.vips.get(&vip).cloned() else { return false };
        lease.version = self.next_version();
        edit(&mut lease);
        self.put_vip(vip, Some(lease));
        true
    }

    /// The write that was applied last.
    pub(crate) fn last_change(&self) -> Option<&Change> {
        self.history.last()
    }

    /// What has happened after `version`; `None` if that is no longer known (410 Gone).
    pub(crate) fn since(&self, version: Version) -> Option<&[Change]> {
        let first = self.history.partition_point(|change| change.version <= version);
        (version.0 >= self.compacted).then(|| &self.history[first..])
    }

    /// Forgets all history.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.version;
        self.history.clear();
    }

    /// The version of the newest write.
    pub(crate) const fn version(&self) -> Version {
        Version(self.version)
    }

    /// All node leases, as a list shows them.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&NodeName, &NodeLease)> {
        self.nodes.iter()
    }

    /// All VIP leases, as a list shows them.
    pub(crate) fn vips(&self) -> impl Iterator<Item = (Vip, &VipLease)> {
        self.vips.iter().map(|(vip, lease)| (*vip, lease))
    }

    /// The node that a VIP lease names.
    pub(crate) fn holder(&self, vip: Vip) -> Option<&NodeName> {
        match &self.vips.get(&vip)?.claim {
            Claim::Held { node, .. } => Some(node),
            Claim::Released { .. } | Claim::Unclear => None,
        }
    }

    /// One node lease, as a list of that name shows it.
    pub(crate) fn node(&self, node: &NodeName) -> Seen<NodeLease> {
        self.nodes.get(node).cloned().map_or(Seen::Absent(None), Seen::Present)
    }

    const fn next_version(&self) -> Version {
        Version(self.version + 1)
    }

    fn put_node(&mut self, node: &NodeName, after: Option<NodeLease>) {
        let before = match &after {
            Some(lease) => self.nodes.insert(node.clone(), lease.clone()),
            None => self.nodes.remove(node),
        };
        self.record(What::Node { node: node.clone(), before, after });
    }

    fn put_vip(&mut self, vip: Vip, after: Option<VipLease>) {
        match &after {
            Some(lease) => self.vips.insert(vip, lease.clone()),
            None => self.vips.remove(&vip),
        };
        self.record(What::Vip { vip, after });
    }

    fn record(&mut self, what: What) {
        self.version += 1;
        self.writes += 1;
        self.history.push(Change { version: Version(self.version), what });
    }
}

fn found<T: Clone>(object: Option<&T>) -> Reply<T> {
    object.cloned().map_or(Reply::NotFound, Reply::Ok)
}

//! The API server of the model: leases, compare-and-swap, and what its watches
//! say of a change.

use announcer::{
    ownership::lease::{Answer, Claim, NodeLease, Reply, Request, Seen, Version, VipLease},
    types::{NodeName, Session},
};

/// What a write or a human hand has changed.
pub(crate) enum Change {
    Node { node: usize, before: Option<NodeLease>, after: Seen<NodeLease> },
    Vip(Seen<VipLease>),
}

/// Versions grow with every write that somebody could put in order with
/// another: those of one lease, and those of the VIP lease with those of any
/// node lease. Two node leases are never compared, so their versions do not
/// tell which was written first; otherwise every order of renewals would be a
/// state of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    nodes: Vec<Slot>,
    vip: Option<VipLease>,
    /// All node leases written from now on are newer, all older ones are not.
    base: u64,
    vip_births: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Slot {
    lease: Option<NodeLease>,
    /// Version of the last write since `base`, if there was one.
    last: u64,
    births: u32,
}

/// Versions per tick, and per write of the VIP lease.
const PER_TICK: u64 = 10_000;
const PER_VIP_WRITE: u64 = 100;

impl Store {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Slot::default(); nodes], vip: None, base: 0, vip_births: 0 }
    }

    /// Versions tell the tick, so that they do not tell how many writes there were.
    pub(crate) fn tick(&mut self, tick: u16) {
        self.base = self.base.max(u64::from(tick) * PER_TICK);
        self.nodes.iter_mut().for_each(|slot| slot.last = 0);
    }

    pub(crate) fn node(&self, node: usize) -> Option<&NodeLease> {
        self.nodes[node].lease.as_ref()
    }

    pub(crate) const fn vip(&self) -> Option<&VipLease> {
        self.vip.as_ref()
    }

    /// How often the VIP lease was made.
    pub(crate) const fn vip_births(&self) -> u32 {
        self.vip_births
    }

    /// Whether a write could succeed now.
    pub(crate) fn matches(&self, names: &[NodeName], request: &Request) -> bool {
        match request {
            Request::WriteNode { node, expect, .. } => {
                self.node(index(names, node)).map(NodeLease::expect) == *expect
            }
            Request::WriteVip { expect, .. } => self.vip().map(VipLease::expect) == *expect,
            Request::ReadNode(_) | Request::ReadVip(_) => false,
        }
    }

    /// Applies a request; returns the answer, and the change if there was one.
    pub(crate) fn apply(
        &mut self,
        names: &[NodeName],
        request: &Request,
    ) -> (Answer, Option<Change>) {
        match request {
            Request::ReadNode(node) => {
                (Answer::Node(found(self.node(index(names, node)).cloned())), None)
            }
            Request::ReadVip(_) => (Answer::Vip(found(self.vip.clone())), None),
            Request::WriteNode { .. } if !self.matches(names, request) => {
                (Answer::Node(Reply::Conflict), None)
            }
            Request::WriteVip { .. } if !self.matches(names, request) => {
                (Answer::Vip(Reply::Conflict), None)
            }
            Request::WriteNode { node: name, transitions, open, .. } => {
                let node = index(names, name);
                let version = self.next(node);
                let slot = &mut self.nodes[node];
                let before = slot.lease.take();
                if before.is_none() {
                    slot.births += 1;
                }
                let session = Session::new(format!("{name}.{}", slot.births), *transitions);
                let lease = NodeLease { version, session, open: *open };
                slot.lease = Some(lease.clone());
                let after = Seen::Present(lease.clone());
                (Answer::Node(Reply::Ok(lease)), Some(Change::Node { node, before, after }))
            }
            Request::WriteVip { claim, .. } => {
                let lease = self.write_vip(claim.clone());
                let change = Change::Vip(Seen::Present(lease.clone()));
                (Answer::Vip(Reply::Ok(lease)), Some(change))
            }
        }
    }

    /// Somebody deletes a node lease by hand.
    pub(crate) fn delete_node(&mut self, node: usize) -> Option<Change> {
        let before = self.nodes[node].lease.take()?;
        let after = Seen::Absent(Some(self.next(node)));
        Some(Change::Node { node, before: Some(before), after })
    }

    /// Somebody deletes the VIP lease by hand.
    pub(crate) fn delete_vip(&mut self) -> Option<Change> {
        self.vip.take()?;
        Some(Change::Vip(Seen::Absent(Some(self.next_vip()))))
    }

    /// Somebody clears the VIP lease's holder by hand.
    pub(crate) fn clear_holder(&mut self) -> Option<Change> {
        self.vip.as_ref()?;
        let lease = self.write_vip(Claim::Unclear);
        Some(Change::Vip(Seen::Present(lease)))
    }

    fn write_vip(&mut self, claim: Claim) -> VipLease {
        if self.vip.is_none() {
            self.vip_births += 1;
        }
        let uid = format!("vip.{}", self.vip_births);
        let lease = VipLease { version: self.next_vip(), uid, claim };
        self.vip = Some(lease.clone());
        lease
    }

    fn next(&mut self, node: usize) -> Version {
        let slot = &mut self.nodes[node];
        slot.last = slot.last.max(self.base) + 1;
        assert!(slot.last < self.base + PER_VIP_WRITE, "room for the writes of one tick");
        Version(slot.last)
    }

    fn next_vip(&mut self) -> Version {
        self.base += PER_VIP_WRITE;
        assert!(self.base % PER_TICK < PER_TICK - PER_VIP_WRITE, "room for the writes of one tick");
        Version(self.base)
    }
}

/// What the watch of closed node leases makes of a change: a lease that leaves
/// it has been opened, as far as can be told from there.
pub(crate) enum Overview {
    Closed(NodeLease),
    Opened(NodeLease),
}

pub(crate) fn overview(before: Option<&NodeLease>, after: &Seen<NodeLease>) -> Option<Overview> {
    let closed = before.filter(|lease| !lease.open);
    match after {
        Seen::Present(lease) if !lease.open => Some(Overview::Closed(lease.clone())),
        Seen::Present(lease) => Some(Overview::Opened(closed?.opened(lease.version))),
        Seen::Absent(version) => Some(Overview::Opened(closed?.opened((*version)?))),
    }
}

fn index(names: &[NodeName], name: &NodeName) -> usize {
    names.iter().position(|n| n == name).expect("requests are about nodes that exist")
}

fn found<T>(object: Option<T>) -> Reply<T> {
    object.map_or(Reply::NotFound, Reply::Ok)
}

//! What the protocol reads from and writes to Lease objects, and nothing else
//! of them. [`store`](super::store) translates.

use crate::types::{NodeName, Session, Vip};

/// `metadata.resourceVersion`: grows with every write to any Lease of the
/// cluster, so that two readings of one object can be put in order (Kubernetes
/// guarantees this for one resource type, KEP-5504).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// What a write must find: the object of this uid, unchanged since this version.
///
/// The uid matters: the API server makes a deleted Lease anew when it is
/// updated, whatever version the update names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expect {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: Version,
}

/// What is known of an object after a read, a write or a watch event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seen<T> {
    /// It exists, like this.
    Present(T),
    /// It does not exist; the version of its deletion if that was seen.
    Absent(Option<Version>),
}

/// A node lease: `announcer-node-<node>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeLease {
    /// The reading's version.
    pub version: Version,
    /// uid and `spec.leaseTransitions`.
    pub session: Session,
    /// Whether the session is in use. False after a fence or an orderly end.
    pub open: bool,
}

impl NodeLease {
    /// The lease as it is at `version` after its session was opened: all that a
    /// watch tells of an object that leaves its selection is that it did.
    pub fn opened(&self, version: Version) -> Self {
        let transitions = self.session.transitions().saturating_add(1);
        Self { version, session: Session::new(self.session.uid(), transitions), open: true }
    }

    /// What a write must find for this reading to be current.
    pub fn expect(&self) -> Expect {
        Expect { uid: self.session.uid().to_owned(), version: self.version }
    }
}

/// A VIP lease: `announcer-vip-<address>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VipLease {
    /// The reading's version.
    pub version: Version,
    /// The object's uid.
    pub uid: String,
    /// Who holds the VIP, as far as this object says.
    pub claim: Claim,
}

impl VipLease {
    /// What a write must find for this reading to be current.
    pub fn expect(&self) -> Expect {
        Expect { uid: self.uid.clone(), version: self.version }
    }
}

/// What a VIP lease says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// `node` took it in `session`; true only while the node is in that session.
    Held {
        /// `spec.holderIdentity`.
        node: NodeName,
        /// The session annotation.
        session: Session,
    },
    /// Given up in order by its holder: anybody may take it.
    Released {
        /// The node that goes on answering until somebody has taken it.
        offered_by: Option<NodeName>,
        /// The node that it is meant for, if not for whoever comes first. The others
        /// leave it to the two for a while.
        offered_to: Option<NodeName>,
    },
    /// Neither: somebody edited it by hand. Who held it before may still answer.
    Unclear,
}

impl Claim {
    /// Given up for good, nobody answers.
    pub const RELEASED: Self = Self::Released { offered_by: None, offered_to: None };
}

/// A request to the API server; every write is a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read a node lease (a consistent read, not from a cache).
    ReadNode(NodeName),
    /// Write a node lease: a renewal, a new session, a fence, an orderly end.
    WriteNode {
        /// Whose.
        node: NodeName,
        /// What must still be current; `None` creates.
        expect: Option<Expect>,
        /// `spec.leaseTransitions` after the write.
        transitions: u32,
        /// Whether the session is in use after the write.
        open: bool,
    },
    /// Read a VIP lease.
    ReadVip(Vip),
    /// Write a VIP lease.
    WriteVip {
        /// Which.
        vip: Vip,
        /// What must still be current; `None` creates.
        expect: Option<Expect>,
        /// What it says after the write.
        claim: Claim,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply<T> {
    /// Read, or written: this is the object now.
    Ok(T),
    /// A read found nothing, or a write found the object gone.
    NotFound,
    /// The compare-and-swap failed: the object is not what was expected.
    Conflict,
    /// Refused, timed out, or lost: a write may or may not have been applied.
    Failed,
}

impl<T> Reply<T> {
    /// The same outcome about another view of the object.
    pub fn map<U>(self, view: impl FnOnce(T) -> U) -> Reply<U> {
        match self {
            Self::Ok(object) => Reply::Ok(view(object)),
            Self::NotFound => Reply::NotFound,
            Self::Conflict => Reply::Conflict,
            Self::Failed => Reply::Failed,
        }
    }
}

/// A reply with the kind of object it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To `ReadNode` and `WriteNode`.
    Node(Reply<NodeLease>),
    /// To `ReadVip` and `WriteVip`.
    Vip(Reply<VipLease>),
}

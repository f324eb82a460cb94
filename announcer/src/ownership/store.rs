//! Lease objects: names, fields, and the requests about them. The only file
//! that knows what a Lease looks like on the API server.

mod record;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::sync::watch;

pub use self::record::{NodeRecord, Records, VipRecord};
use super::{
    lease::{Answer, Claim, Expect, NodeLease, Reply, Request, Version, VipLease},
    profile::{Conflicts, Profile},
    timing::Timing,
};
use crate::types::{MacAddr, NodeName, Session, Vip};

/// Label on every Lease of ours: `node` or `vip`.
pub const LEASE_LABEL: &str = "l2announcer.io/lease";
/// Label on node leases: `open` while the session is in use, `over` after.
pub const SESSION_LABEL: &str = "l2announcer.io/session";
/// Annotation on VIP leases: the session under which the holder took the VIP.
pub const SESSION_ANNOTATION: &str = "l2announcer.io/session";
/// Annotation on released VIP leases: who answers until somebody takes it.
pub const OFFERED_BY_ANNOTATION: &str = "l2announcer.io/offered-by";
/// Annotation on released VIP leases: whom it is offered to, if to one node.
pub const OFFERED_TO_ANNOTATION: &str = "l2announcer.io/offered-to";
/// Annotation on node leases: the MAC addresses that the node announces with.
pub const MACS_ANNOTATION: &str = "l2announcer.io/macs";
/// Annotation on node leases: the daemon's settings that bear on which VIPs there are (JSON).
pub const SETTINGS_ANNOTATION: &str = "l2announcer.io/settings";
/// Annotation on node leases: the interfaces that the daemon answers on (JSON).
pub const INTERFACES_ANNOTATION: &str = "l2announcer.io/interfaces";
/// Annotation on node leases: strangers that use VIPs of the node (JSON); absent if there are
/// none.
pub const CONFLICTS_ANNOTATION: &str = "l2announcer.io/conflicts";
/// The annotations of a [`Profile`], in the order of its texts.
const PROFILE_ANNOTATIONS: [&str; 3] =
    [SETTINGS_ANNOTATION, INTERFACES_ANNOTATION, CONFLICTS_ANNOTATION];

const NODE_PREFIX: &str = "announcer-node-";
const VIP_PREFIX: &str = "announcer-vip-";

/// This node's Node object, once it is known: its lease is to go with it.
pub type Owner = Arc<watch::Sender<Option<OwnerReference>>>;

/// A Lease of ours, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A node lease, and the MAC addresses that its node announces with.
    Node(NodeName, NodeLease, Vec<MacAddr>),
    /// A VIP lease.
    Vip(Vip, VipLease),
}

/// Why a Lease with our label cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Its name is neither a node lease's nor a VIP lease's.
    #[error("lease {0:?} is labelled as the announcer's but its name is not one of ours")]
    Name(String),
    /// The API server's version is not a number.
    #[error("lease {0:?} has a resourceVersion that is not a number: {1:?}")]
    Version(String, String),
}

/// The name of a node's lease.
pub fn node_lease_name(node: &NodeName) -> String {
    format!("{NODE_PREFIX}{node}")
}

/// The name of a VIP's lease: dots become dashes.
pub fn vip_lease_name(vip: Vip) -> String {
    let [a, b, c, d] = vip.octets();
    format!("{VIP_PREFIX}{a}-{b}-{c}-{d}")
}

/// What a name says, without the object: for leases that are gone.
pub fn subject(name: &str) -> Option<Subject> {
    if let Some(node) = name.strip_prefix(NODE_PREFIX) {
        return node.parse().ok().map(Subject::Node);
    }
    name.strip_prefix(VIP_PREFIX)?.replace('-', ".").parse().ok().map(Subject::Vip)
}

/// What a lease is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A node's session.
    Node(NodeName),
    /// A VIP's holder.
    Vip(Vip),
}

/// Reads a Lease.
///
/// # Errors
/// A name or version that cannot be one of ours.
pub fn understand(lease: &Lease) -> Result<Known, LeaseError> {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let version = version(lease)?;
    match subject(name).ok_or_else(|| LeaseError::Name(name.to_owned()))? {
        Subject::Node(node) => {
            let (lease, macs) = node_lease(lease, version);
            Ok(Known::Node(node, lease, macs))
        }
        Subject::Vip(vip) => Ok(Known::Vip(vip, vip_lease(lease, version))),
    }
}

/// The version of an object.
///
/// # Errors
/// A version that is not a number (KEP-5504 promises one).
pub fn version(lease: &Lease) -> Result<Version, LeaseError> {
    let text = lease.metadata.resource_version.as_deref().unwrap_or_default();
    text.parse().map(Version).map_err(|_| {
        LeaseError::Version(lease.metadata.name.clone().unwrap_or_default(), text.to_owned())
    })
}

fn node_lease(lease: &Lease, version: Version) -> (NodeLease, Vec<MacAddr>) {
    let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
    let uid = lease.metadata.uid.clone().unwrap_or_default();
    let session = Session::new(uid, u32::try_from(transitions).unwrap_or(0));
    let open = value(lease.metadata.labels.as_ref(), SESSION_LABEL) == Some("open");
    let macs = value(lease.metadata.annotations.as_ref(), MACS_ANNOTATION)
        .map(|list| list.split(',').filter_map(|mac| mac.parse().ok()).collect())
        .unwrap_or_default();
    (NodeLease { version, session, open }, macs)
}

fn vip_lease(lease: &Lease, version: Version) -> VipLease {
    let uid = lease.metadata.uid.clone().unwrap_or_default();
    VipLease { version, uid, claim: claim(lease) }
}

fn claim(lease: &Lease) -> Claim {
    let annotations = lease.metadata.annotations.as_ref();
    let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).unwrap_or("");
    let session = value(annotations, SESSION_ANNOTATION);
    match (holder, session) {
        ("", None) => {
            let node = |key| value(annotations, key).and_then(|n| n.parse().ok());
            let offered_by = node(OFFERED_BY_ANNOTATION);
            // Without an offer there is nobody who would see to it.
            let offered_to = offered_by.as_ref().and_then(|_| node(OFFERED_TO_ANNOTATION));
            Claim::Released { offered_by, offered_to }
        }
        (holder, Some(session)) => match (holder.parse(), session.parse()) {
            (Ok(node), Ok(session)) => Claim::Held { node, session },
            _ => Claim::Unclear,
        },
        (_, None) => Claim::Unclear,
    }
}

fn value<'a>(map: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    map?.get(key).map(String::as_str)
}

/// Sends requests about Leases of one namespace.
#[derive(Clone, Debug)]
pub struct Store {
    api: Api<Lease>,
    timing: Timing,
    me: NodeName,
    macs: watch::Receiver<BTreeSet<MacAddr>>,
    profile: watch::Receiver<Profile>,
    conflicts: Conflicts,
    owner: Owner,
}

impl Store {
    /// `macs` are published in the own node lease with each renewal, so that other
    /// announcers know them from strangers, and `profile` for people; `owner`, once it is known, is this node's Node
    /// object, with which its lease is collected.
    pub fn new(
        client: Client,
        namespace: &str,
        timing: Timing,
        me: NodeName,
        macs: watch::Receiver<BTreeSet<MacAddr>>,
        profile: watch::Receiver<Profile>,
        owner: Owner,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, timing, me, macs, profile, conflicts: Conflicts::new(), owner }
    }

    /// What renewals are to say of conflicts from now on, besides the profile.
    pub fn set_conflicts(&mut self, conflicts: Conflicts) {
        self.conflicts = conflicts;
    }

    /// Whether this node announces with this MAC address.
    pub fn announces_with(&self, mac: MacAddr) -> bool {
        self.macs.borrow().contains(&mac)
    }

    /// The API of the Leases, for watches.
    pub const fn api(&self) -> &Api<Lease> {
        &self.api
    }

    /// Carries out one request; gives up after the request timeout.
    pub async fn send(&self, request: &Request) -> (Answer, Option<kube::Error>) {
        let (reply, error) = match self.attempt(request).await {
            Ok(lease) => (version(&lease).map_or(Reply::Failed, |v| Reply::Ok((lease, v))), None),
            Err(Failure::NotFound) => (Reply::NotFound, None),
            Err(Failure::Conflict) => (Reply::Conflict, None),
            Err(Failure::Other(error)) => (Reply::Failed, error),
        };
        let answer = match request {
            Request::ReadNode(_) | Request::WriteNode { .. } => {
                Answer::Node(reply.map(|(lease, version)| node_lease(&lease, version).0))
            }
            Request::ReadVip(_) | Request::WriteVip { .. } => {
                Answer::Vip(reply.map(|(lease, version)| vip_lease(&lease, version)))
            }
        };
        (answer, error)
    }

    async fn attempt(&self, request: &Request) -> Result<Lease, Failure> {
        let work = async {
            match request {
                Request::ReadNode(node) => self.api.get(&node_lease_name(node)).await,
                Request::ReadVip(vip) => self.api.get(&vip_lease_name(*vip)).await,
                Request::WriteNode { expect, .. } | Request::WriteVip { expect, .. } => {
                    let mut lease = self.object(request);
                    if let Request::WriteNode { node, expect: Some(expect), .. } = request
                        && *node != self.me
                    {
                        // A fence: what else its owner wrote there stays.
                        let current = self.api.get(&node_lease_name(node)).await?;
                        if version(&current).ok() != Some(expect.version) {
                            return Err(conflict());
                        }
                        lease.metadata.owner_references = current.metadata.owner_references;
                        lease.metadata.annotations = current.metadata.annotations;
                    }
                    let name = lease.metadata.name.clone().unwrap_or_default();
                    match expect {
                        Some(_) => self.api.replace(&name, &PostParams::default(), &lease).await,
                        None => self.api.create(&PostParams::default(), &lease).await,
                    }
                }
            }
        };
        match tokio::time::timeout(self.timing.request_timeout(), work).await {
            Err(_elapsed) => Err(Failure::Other(None)),
            Ok(Ok(lease)) => Ok(lease),
            // A create finds nothing missing but its namespace, which is an error to show.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() && !creates(request) => {
                Err(Failure::NotFound)
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failure::Conflict),
            Ok(Err(error)) => Err(Failure::Other(Some(error))),
        }
    }

    /// The object that a write puts in place.
    fn object(&self, request: &Request) -> Lease {
        let now = || Some(MicroTime(Timestamp::now()));
        match request {
            Request::WriteNode { node, expect, transitions, open } => {
                let mine = *node == self.me;
                let mut metadata = metadata(node_lease_name(node), expect.as_ref(), "node");
                let state = if *open { "open" } else { "over" };
                add(&mut metadata.labels, SESSION_LABEL, state.to_owned());
                if mine {
                    let macs = self.macs.borrow();
                    let macs: Vec<_> = macs.iter().map(MacAddr::to_string).collect();
                    add(&mut metadata.annotations, MACS_ANNOTATION, macs.join(","));
                    let conflicts = self.conflicts.clone();
                    let profile = Profile { conflicts, ..self.profile.borrow().clone() };
                    for (key, text) in PROFILE_ANNOTATIONS.into_iter().zip(profile.to_texts()) {
                        if let Some(text) = text {
                            add(&mut metadata.annotations, key, text);
                        }
                    }
                    // The lease before it may have gone with a Node that is no more: named
                    // as the owner again, that one would take this one along.
                    if expect.is_none() {
                        self.owner.send_replace(None);
                    }
                    metadata.owner_references = self.owner.borrow().clone().map(|o| vec![o]);
                }
                let spec = LeaseSpec {
                    holder_identity: open.then(|| node.to_string()),
                    lease_duration_seconds: Some(whole_seconds(self.timing.lease_duration())),
                    lease_transitions: Some(i32::try_from(*transitions).unwrap_or(i32::MAX)),
                    renew_time: now(),
                    ..LeaseSpec::default()
                };
                Lease { metadata, spec: Some(spec) }
            }
            Request::WriteVip { vip, expect, claim } => {
                let mut metadata = metadata(vip_lease_name(*vip), expect.as_ref(), "vip");
                let holder_identity = match claim {
                    Claim::Held { node, session } => {
                        add(&mut metadata.annotations, SESSION_ANNOTATION, session.to_string());
                        Some(node.to_string())
                    }
                    Claim::Released { offered_by, offered_to } => {
                        let offer = [
                            (OFFERED_BY_ANNOTATION, offered_by),
                            (OFFERED_TO_ANNOTATION, offered_to),
                        ];
                        for (key, node) in offer {
                            if let Some(node) = node {
                                add(&mut metadata.annotations, key, node.to_string());
                            }
                        }
                        None
                    }
                    Claim::Unclear => None,
                };
                let acquire_time = holder_identity.as_ref().and_then(|_| now());
                let spec = LeaseSpec { holder_identity, acquire_time, ..LeaseSpec::default() };
                Lease { metadata, spec: Some(spec) }
            }
            Request::ReadNode(_) | Request::ReadVip(_) => Lease::default(),
        }
    }
}

enum Failure {
    NotFound,
    Conflict,
    /// `None`: no answer within the request timeout.
    Other(Option<kube::Error>),
}

/// What the API server would say to a write of another version.
fn conflict() -> kube::Error {
    kube::Error::Api(Box::new(kube::core::Status { code: 409, ..kube::core::Status::default() }))
}

const fn creates(request: &Request) -> bool {
    matches!(
        request,
        Request::WriteNode { expect: None, .. } | Request::WriteVip { expect: None, .. }
    )
}

fn metadata(name: String, expect: Option<&Expect>, kind: &str) -> ObjectMeta {
    let mut metadata = ObjectMeta {
        name: Some(name),
        uid: expect.map(|e| e.uid.clone()),
        resource_version: expect.map(|e| e.version.0.to_string()),
        ..ObjectMeta::default()
    };
    add(&mut metadata.labels, LEASE_LABEL, kind.to_owned());
    metadata
}

fn add(map: &mut Option<BTreeMap<String, String>>, key: &str, value: String) {
    map.get_or_insert_default().insert(key.to_owned(), value);
}

/// Lease durations are whole seconds for kubectl's readers; the protocol's own
/// clocks are finer and come from the settings.
fn whole_seconds(d: Duration) -> i32 {
    let rounded_up = d.as_secs() + u64::from(d.subsec_nanos() > 0);
    i32::try_from(rounded_up).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;

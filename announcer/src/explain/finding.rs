//! What an explanation is made of: links, and what is wrong with them.

use std::time::Duration;

use serde::Serialize;

/// How a link of the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Ok,
    /// It holds, and there is something to know.
    Note,
    /// It is broken: nothing is announced because of it.
    Problem,
}

/// What is wrong, in a word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum Finding {
    NotPermitted,
    NoSuchService,
    NoSuchAddress,
    NotLoadBalancer,
    OtherClass,
    NoClass,
    ParentAbsent,
    LabelsDiffer,
    NoPolicySelects,
    PolicyNotAccepted,
    PolicyAnnouncesOtherAddresses,
    NoAddress,
    AddressUnfit,
    ExternalIpsNotAnnounced,
    NoNodes,
    NodeNotReady,
    NodeNetworkUnavailable,
    NodeExcluded,
    NodeCordoned,
    NodeNotSelected,
    NoLocalEndpoint,
    NoInterface,
    LinkTrouble,
    OffLink,
    AddressConflict,
    NoAnnouncer,
    LeasesElsewhere,
    NoSession,
    NobodyTakes,
    LeaseEdited,
    SessionOver,
    HolderSilent,
    Divided,
    SettingsDiffer,
    Transition,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Link {
    /// How it is.
    pub verdict: Verdict,
    /// The Service or VIP that it is about.
    pub of: String,
    /// Which link.
    pub link: &'static str,
    /// How it is, in words.
    pub says: String,
    /// Particulars, one a line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What is wrong, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// What to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Who announces a VIP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Announcer {
    /// The address.
    pub vip: String,
    /// The node.
    pub node: String,
    /// On which interfaces, with which MAC.
    pub interfaces: Vec<AnnouncerInterface>,
    /// All MACs that it announces with, as its lease says.
    pub macs: Vec<String>,
}

/// An interface that a VIP is announced on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnouncerInterface {
    /// Its name.
    pub interface: String,
    /// The MAC.
    pub mac: Option<String>,
    /// Where the program is attached.
    pub hook: Option<String>,
}

/// The whole chain, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What was asked for.
    pub target: String,
    /// Whether everything that was asked for is announced; `None`: it cannot be told.
    pub announced: Option<bool>,
    /// What is wrong first of all; with something that is announced, why clients may fail
    /// all the same.
    pub finding: Option<Finding>,
    /// What to type against it.
    pub remedy: Option<String>,
    /// All in one sentence.
    pub conclusion: String,
    /// Who announces what.
    pub announcers: Vec<Announcer>,
    /// Link by link.
    pub chain: Vec<Link>,
    /// For how long leases were watched, in seconds.
    pub watched_seconds: f64,
    /// How long it can take until leases say more.
    #[serde(skip)]
    pub undecided: Option<Duration>,
}

//! What the daemon says of itself, and of each VIP.

use serde::{Deserialize, Serialize};

use super::interface::seconds;
use crate::{
    conflict::{LastClaim, Vendor},
    datapath::namespace::Holder,
    intent::desired::{Candidacy, ServiceRef},
    ownership::report::{Membership, Report, VipReport},
    types::{BootTime, Vip},
};

/// Whether a daemon runs, and what it says of itself: `state` says which of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Daemon {
    /// It answers.
    Running(DaemonStatus),
    /// It is there, and does not answer: it is stopped or stuck.
    Hung(Holder),
    /// There is none in this network namespace.
    Absent,
    /// It cannot be asked.
    Unknown {
        /// Why.
        error: String,
    },
}

/// Which daemon is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its version.
    pub version: &'static str,
    /// Its process id, as it sees itself.
    pub pid: u32,
    /// When it started.
    pub started: BootTime,
    /// When it is asked.
    pub now: BootTime,
}

/// A daemon, as of one instant. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) uptime_seconds: f64,
    /// Whether its ownership loop answers.
    pub(super) responsive: bool,
    /// Null with static VIPs, and when the loop does not answer.
    pub(super) cluster: Option<ClusterStatus>,
}

/// A node among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ClusterStatus {
    pub(super) node: String,
    pub(super) session: Option<String>,
    pub(super) session_seconds: Option<f64>,
    /// For how long its last renewal still entitles it to answer.
    pub(super) validity_seconds: f64,
    /// It answers although that time is over: the API server is silent.
    pub(super) on_trust: bool,
    /// `candidate`, `unselected` or `unlinked`; null until that is known.
    pub(super) candidacy: Option<String>,
    pub(super) draining: bool,
    pub(super) synced: bool,
    /// For how long requests to the API server have failed; null while they succeed.
    pub(super) api_failing_seconds: Option<f64>,
    pub(super) api_error: Option<String>,
}

/// One VIP, as this node sees it. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct VipStatus {
    pub(super) vip: String,
    /// `held`, `silent`, `offered`, `waiting`, `probing`, `yielded` or `expired`.
    pub(super) state: String,
    /// What comes next, for people; null where the state says it all.
    pub(super) detail: Option<String>,
    /// Until what comes next, where that is known.
    pub(super) until_seconds: Option<f64>,
    pub(super) holder: Option<String>,
    /// Since the holder became the holder; at least, where it was one before this daemon
    /// looked.
    pub(super) held_seconds: Option<f64>,
    /// As `namespace/name`.
    pub(super) services: Vec<String>,
    /// Requests answered by this node.
    pub(super) answered: u64,
    /// Since somebody looked before; null for the first who looks.
    pub(super) answered_per_second: Option<f64>,
    /// The last claim by a station that is no announcer.
    pub(super) conflict: Option<ConflictStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ConflictStatus {
    pub(super) mac: String,
    pub(super) vendor: String,
    pub(super) interface: String,
    pub(super) seconds_ago: f64,
    pub(super) active: bool,
}

impl DaemonStatus {
    pub(super) fn new(origin: &Origin, report: Option<&Report>) -> Self {
        let cluster = report.and_then(|report| {
            report.cluster.as_ref().map(|member| ClusterStatus::new(report.at, member))
        });
        Self {
            version: origin.version.to_owned(),
            pid: origin.pid,
            uptime_seconds: seconds(origin.now.since(origin.started)),
            responsive: report.is_some(),
            cluster,
        }
    }
}

impl ClusterStatus {
    fn new(now: BootTime, member: &Membership) -> Self {
        let Membership {
            node,
            session,
            lease_duration: _,
            valid_until,
            on_trust,
            candidacy,
            draining,
            synced,
            api_failing,
        } = member;
        let candidacy = candidacy.map(|candidacy| match candidacy {
            Candidacy::Candidate => "candidate",
            Candidacy::Unselected => "unselected",
            Candidacy::Unlinked => "unlinked",
        });
        Self {
            node: node.to_string(),
            session: session.as_ref().map(|(session, _)| session.to_string()),
            session_seconds: session.as_ref().map(|(_, since)| seconds(now.since(*since))),
            validity_seconds: seconds(valid_until.since(now)),
            on_trust: *on_trust,
            candidacy: candidacy.map(str::to_owned),
            draining: *draining,
            synced: *synced,
            api_failing_seconds: api_failing.as_ref().map(|(since, _)| seconds(now.since(*since))),
            api_error: api_failing.as_ref().map(|(_, error)| error.clone()),
        }
    }
}

impl VipStatus {
    pub(super) fn new(
        now: BootTime,
        vip: Vip,
        seen: &VipReport,
        answered: u64,
        rate: Option<f64>,
    ) -> Self {
        let VipReport { state, holder, since, services, conflict } = seen;
        let (detail, until) = state.what_next();
        let service =
            |ServiceRef { namespace, name, .. }: &ServiceRef| format!("{namespace}/{name}");
        let conflict = conflict.as_ref().map(|LastClaim { stranger, at, lasts }| ConflictStatus {
            mac: stranger.mac.to_string(),
            vendor: Vendor(stranger.mac).to_string(),
            interface: stranger.interface.to_string(),
            seconds_ago: seconds(now.since(*at)),
            active: *lasts,
        });
        Self {
            vip: vip.to_string(),
            state: state.name().to_owned(),
            detail,
            until_seconds: until.map(|until| seconds(until.since(now))),
            holder: holder.as_ref().map(ToString::to_string),
            held_seconds: since.map(|since| seconds(now.since(since))),
            services: services.iter().map(service).collect(),
            answered,
            answered_per_second: rate.map(|rate| (rate * 10.0).round() / 10.0),
            conflict,
        }
    }
}

//! What is counted when it happens. What is somebody's state is read when somebody asks:
//! `scrape`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    ownership::machine::Takeover,
    types::{BootTime, Vip},
};

/// A takeover that has not been announced after so long is none to be timed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// Handles to everything that is counted; clones count the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    takeovers: Family<TakeoverLabels, Counter>,
    handover: Histogram,
    takeover: Family<TakeoverLabels, Histogram>,
    untaken: Counter,
    conflicts: Counter,
    renew: Histogram,
    renew_failures: Counter,
    requests: Family<RequestLabels, Counter>,
    sessions: Counter,
    events_dropped: Counter,
    /// VIPs that this node has taken and not announced yet, and when each was seen free.
    unannounced: Arc<Mutex<BTreeMap<Vip, (Takeover, BootTime)>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TakeoverLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    result: &'static str,
}

/// How a request to the API server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// It was done.
    Ok,
    /// Somebody else was first.
    Conflict,
    /// There is no such object.
    NotFound,
    /// Refused, or not answered in time.
    Failed,
}

impl RequestResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::NotFound => "notfound",
            Self::Failed => "failed",
        }
    }
}

/// From a millisecond, an answer in a quiet LAN, to half a minute, twice the lease duration
/// that is usual elsewhere.
fn buckets() -> Histogram {
    Histogram::new([
        0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            takeovers: Family::default(),
            handover: buckets(),
            takeover: Family::new_with_constructor(buckets),
            untaken: Counter::default(),
            conflicts: Counter::default(),
            renew: buckets(),
            renew_failures: Counter::default(),
            requests: Family::default(),
            sessions: Counter::default(),
            events_dropped: Counter::default(),
            unannounced: Arc::default(),
        };
        // Before the first event the series is 0, so that its rate is known at the second.
        for why in Takeover::ALL {
            let labels = TakeoverLabels { reason: why.name() };
            let _ = metrics.takeovers.get_or_create(&labels);
            let _ = metrics.takeover.get_or_create(&labels);
        }
        metrics
    }
}

impl Metrics {
    /// This node took a VIP which it had seen free since then.
    pub fn taken(&self, vip: Vip, why: Takeover, free_since: BootTime) {
        self.takeovers.get_or_create(&TakeoverLabels { reason: why.name() }).inc();
        self.unannounced().insert(vip, (why, free_since));
    }

    /// The first announcement of a VIP has been written.
    pub fn announced(&self, now: BootTime, vip: Vip) {
        let Some((why, free_since)) = self.unannounced().remove(&vip) else { return };
        let took = now.since(free_since);
        if took < FORGOTTEN_AFTER {
            let labels = TakeoverLabels { reason: why.name() };
            self.takeover.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// The successor of what this node offered was seen.
    pub fn handed_over(&self, vip: Vip, took: Duration) {
        self.unannounced().remove(&vip);
        self.handover.observe(took.as_secs_f64());
    }

    /// This node took back what it had offered: nobody wanted it.
    pub fn taken_back(&self) {
        self.untaken.inc();
    }

    /// A stranger began to claim a VIP of this node.
    pub fn conflict_began(&self) {
        self.conflicts.inc();
    }

    /// A renewal was answered, or was not.
    pub fn renewed(&self, took: Duration, succeeded: bool) {
        if succeeded {
            self.renew.observe(took.as_secs_f64());
        } else {
            self.renew_failures.inc();
        }
    }

    /// A request to the API server has ended.
    pub fn requested(&self, verb: &'static str, resource: &'static str, result: RequestResult) {
        let labels = RequestLabels { verb, resource, result: result.name() };
        self.requests.get_or_create(&labels).inc();
    }

    /// A session was opened, or taken up from a predecessor.
    pub fn session_opened(&self) {
        self.sessions.inc();
    }

    /// An Event was not written: there were too many.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    fn unannounced(&self) -> std::sync::MutexGuard<'_, BTreeMap<Vip, (Takeover, BootTime)>> {
        // Each holder does one thing with it, so it is whole.
        self.unannounced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all of it part of what is scraped.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self {
            takeovers,
            handover,
            takeover,
            untaken,
            conflicts,
            renew,
            renew_failures,
            requests,
            sessions,
            events_dropped,
            unannounced: _,
        } = self;
        registry.register(
            "announcer_takeovers",
            "VIPs that this node took, by why they were free",
            takeovers.clone(),
        );
        registry.register_with_unit(
            "announcer_handover_duration",
            "From this node's offer of a VIP to its successor's lease",
            Unit::Seconds,
            handover.clone(),
        );
        registry.register_with_unit(
            "announcer_takeover_duration",
            "From a VIP seen free to the first announcement written, by why it was free",
            Unit::Seconds,
            takeover.clone(),
        );
        registry.register(
            "announcer_offers_untaken",
            "Offers of this node that nobody took, and that it took back",
            untaken.clone(),
        );
        registry.register(
            "announcer_conflicts",
            "Conflicts with stations that are no announcers, begun",
            conflicts.clone(),
        );
        registry.register_with_unit(
            "announcer_lease_renew_duration",
            "From sending a renewal of the node lease to its success",
            Unit::Seconds,
            renew.clone(),
        );
        registry.register(
            "announcer_lease_renew_failures",
            "Renewals of the node lease that did not succeed",
            renew_failures.clone(),
        );
        registry.register(
            "announcer_api_requests",
            "Requests to the API server, without watches and lists",
            requests.clone(),
        );
        registry.register(
            "announcer_sessions",
            "Sessions opened or taken up by this process",
            sessions.clone(),
        );
        registry.register(
            "announcer_events_dropped",
            "Events on Services that were not written, being too many",
            events_dropped.clone(),
        );
    }
}

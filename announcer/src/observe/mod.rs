//! What others see of a running daemon: status, metrics, health.
//!
//! Nothing here decides anything, and nothing waits for it: whoever asks makes the daemon
//! look at itself, and a daemon that nobody asks does not.

pub mod health;
pub mod http;
pub mod metrics;
mod scrape;
mod server;
pub mod show;
pub mod socket;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use self::{health::Health, metrics::Metrics};
use crate::{
    causes::with_sources,
    datapath::{self, Inspection},
    intent::index::Links,
    ownership::report::Report,
    responder::ResponderStatus,
    status::{self, Origin, Status},
    types::{BootTime, Vip},
};

/// Asks the loop that owns the VIPs what it knows.
pub type Ask = oneshot::Sender<Report>;

/// Who does not answer within this hangs, or is very busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever scrapes within this is told the same again: the port is open to all, and a look
/// costs the loop that owns the VIPs a whole report.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Rates are over at least this long, and over what was seen at most so long ago.
const SAMPLES: std::ops::Range<Duration> = Duration::from_millis(900)..Duration::from_secs(120);

/// A running daemon, as it is to be seen. Clones are the same.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: BootTime,
    pin_root: PathBuf,
    /// So many VIPs have a series of their own.
    vip_series: usize,
    metrics: Metrics,
    health: Health,
    stages: OnceLock<Stages>,
    /// The last one. Locked while somebody looks: one look at a time.
    look: tokio::sync::Mutex<Option<Arc<Look>>>,
    samples: Mutex<Samples>,
}

/// Where to ask, once there is something to ask.
#[derive(Debug)]
pub struct Stages {
    /// The loop that owns the VIPs.
    pub owner: mpsc::Sender<Ask>,
    /// What the responder says of itself.
    pub responder: watch::Receiver<ResponderStatus>,
    /// Which interfaces can carry frames.
    pub links: watch::Receiver<Option<Links>>,
}

/// Everything that is known at one instant.
#[derive(Debug)]
struct Look {
    began: BootTime,
    at: BootTime,
    /// `None`: the loop that owns the VIPs has not begun, or does not answer.
    report: Option<Report>,
    responder: ResponderStatus,
    links: Links,
    found: Vec<Inspection>,
    /// Why nothing was found that may be there.
    unreadable: Option<String>,
    rates: BTreeMap<Vip, f64>,
}

/// What was counted at two instants.
#[derive(Debug, Default)]
struct Samples {
    before: Option<Sample>,
    last: Option<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: BootTime,
    answered: BTreeMap<Vip, u64>,
}

impl Observer {
    /// Of a daemon that starts now.
    pub fn new(pin_root: PathBuf, vip_series: usize) -> Self {
        Self(Arc::new(Shared {
            started: BootTime::now(),
            pin_root,
            vip_series,
            metrics: Metrics::default(),
            health: Health::default(),
            stages: OnceLock::new(),
            look: tokio::sync::Mutex::default(),
            samples: Mutex::default(),
        }))
    }

    /// What is counted when it happens.
    pub fn metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// Whether the loops turn.
    pub fn health(&self) -> Health {
        self.0.health.clone()
    }

    /// There is something to ask now.
    pub fn set_stages(&self, stages: Stages) {
        // Set once, by the one who starts them.
        let _ = self.0.stages.set(stages);
    }

    /// Whether the data plane is attached, and everything has been read once.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), &'static str> {
        let stages = self.0.stages.get();
        if stages.is_none_or(|stages| stages.responder.borrow().interfaces.is_empty()) {
            return Err("not attached to any interface");
        }
        if !self.0.health.is_synced() {
            return Err("no session yet, or Services, Nodes and Leases are not read yet");
        }
        Ok(())
    }

    /// See [`Health::alive`].
    ///
    /// # Errors
    /// As there.
    pub fn alive(&self) -> Result<(), String> {
        self.0.health.alive()
    }

    /// What `announcer status` says, as of now.
    pub async fn status(&self) -> Status {
        let look = self.look(Duration::ZERO).await;
        let Look { at, report, found, unreadable, rates, .. } = &*look;
        let origin = Origin {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started: self.0.started,
            now: *at,
        };
        let status = Status::new(found, *at).with_daemon(found, &origin, report.as_ref(), rates);
        match unreadable {
            Some(why) => status.with_unreadable(why.clone()),
            None => status,
        }
    }

    /// The metrics, as OpenMetrics text: what is counted as of now, what is somebody's state
    /// as of a second ago at most.
    ///
    /// # Errors
    /// None that is known: the text is written to memory.
    pub async fn scrape(&self) -> Result<String, std::fmt::Error> {
        let look = self.look(SCRAPE_INTERVAL).await;
        scrape::text(&self.0.metrics, look, self.0.vip_series)
    }

    /// What is there to see; it may have been seen so long before. Those who ask while
    /// somebody looks share the next look.
    async fn look(&self, age: Duration) -> Arc<Look> {
        let asked = BootTime::now();
        let mut last = self.0.look.lock().await;
        if let Some(look) = last.as_ref().filter(|look| asked <= look.began + age) {
            return look.clone();
        }
        let look = Arc::new(self.look_now().await);
        match (last.as_ref().and_then(|last| last.unreadable.as_ref()), &look.unreadable) {
            (None, Some(error)) => warn!(error, "what is attached and pinned cannot be read"),
            (Some(_), None) => info!("what is attached and pinned can be read again"),
            _ => {}
        }
        last.insert(look).clone()
    }

    async fn look_now(&self) -> Look {
        let began = BootTime::now();
        let stages = self.0.stages.get();
        let report = match stages {
            Some(stages) => ask(&stages.owner).await,
            None => None,
        };
        let root = self.0.pin_root.clone();
        // Reading the counters of thousands of VIPs takes milliseconds: not on the thread
        // that owns and answers.
        let runtime = tokio::runtime::Handle::current();
        let inspect = move || runtime.block_on(datapath::inspect(&root));
        let found = match tokio::task::spawn_blocking(inspect).await {
            Ok(found) => found.map_err(|error| with_sources(&error)),
            Err(error) => Err(error.to_string()),
        };
        let (found, unreadable) = match found {
            Ok(found) => (found, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let at = BootTime::now();
        let rates = self.sample(at, status::answered(&found));
        let responder = stages.map(|stages| stages.responder.borrow().clone());
        let links = stages.and_then(|stages| stages.links.borrow().clone());
        let (responder, links) = (responder.unwrap_or_default(), links.unwrap_or_default());
        Look { began, at, report, responder, links, found, unreadable, rates }
    }

    fn sample(&self, at: BootTime, answered: BTreeMap<Vip, u64>) -> BTreeMap<Vip, f64> {
        let mut samples = self.0.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.rates(at, answered)
    }
}

/// Asks the loop that owns the VIPs; `None`: it does not answer.
pub(crate) async fn ask(owner: &mpsc::Sender<Ask>) -> Option<Report> {
    let (answer, report) = oneshot::channel();
    let asked = async {
        owner.send(answer).await.ok()?;
        report.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok()?
}

impl Samples {
    /// Requests answered a second since somebody looked before; none for who is the first.
    fn rates(&mut self, at: BootTime, answered: BTreeMap<Vip, u64>) -> BTreeMap<Vip, f64> {
        if self.last.as_ref().is_none_or(|last| SAMPLES.start <= at.since(last.at)) {
            self.before = self.last.take();
            self.last = Some(Sample { at, answered: answered.clone() });
        }
        let Some(before) = self.before.as_ref() else { return BTreeMap::new() };
        let time = at.since(before.at);
        if !SAMPLES.contains(&time) {
            return BTreeMap::new();
        }
        let rate = |(vip, now): (Vip, u64)| {
            // A VIP that came back counts from 0 again.
            let more = now.checked_sub(*before.answered.get(&vip)?)?;
            Some((vip, u32::try_from(more).ok().map(f64::from)? / time.as_secs_f64()))
        };
        answered.into_iter().filter_map(rate).collect()
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_time_since_somebody_looked_before() {
        let vip: Vip = "192.0.2.10".parse().expect("a VIP");
        let at = |ms| BootTime::ZERO + Duration::from_millis(ms);
        let mut samples = Samples::default();
        let mut rate = |ms, count| samples.rates(at(ms), [(vip, count)].into()).get(&vip).copied();
        assert_eq!(rate(10_000, 100), None, "nobody looked before");
        assert_eq!(rate(12_000, 120), Some(10.0));
        assert_eq!(rate(12_500, 125), Some(10.0), "two who look together share what was before");
        assert_eq!(rate(13_000, 130), Some(10.0));
        assert_eq!(rate(14_000, 5), None, "it came back");
        assert_eq!(rate(500_000, 50), None, "too long ago");
        assert_eq!(rate(501_000, 57), Some(7.0));
    }
}

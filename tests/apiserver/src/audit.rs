//! Who asked for what, when, and what came of it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    registry::GroupResource,
    request::{Match, RequestInfo, Verb},
    signal::Signal,
};

/// How many requests are remembered one by one; counts go on beyond.
const REMEMBERED: usize = 100_000;

/// One request that was received in full.
#[derive(Clone, Debug)]
pub struct Audited {
    /// Who asked for what.
    pub request: RequestInfo,
    /// When it had been received.
    pub at: Instant,
    /// From then until its answer was handed to the connection (for a watch: until it began), or
    /// until it was decided that there is none.
    pub took: Duration,
    /// HTTP status code; `None` where the connection was cut instead of an answer.
    pub code: Option<u16>,
    /// The revision of the last write that this request made; `None` where it changed nothing.
    pub wrote: Option<u64>,
}

type Group = (String, Verb, Option<GroupResource>);

#[derive(Debug, Default)]
struct Log {
    recent: VecDeque<Audited>,
    requests: HashMap<Group, u64>,
    writes: HashMap<Group, u64>,
    /// Events delivered to watch streams, by client and resource.
    events: HashMap<(String, GroupResource), u64>,
}

#[derive(Debug, Default)]
struct Inner {
    log: Mutex<Log>,
    grown: Signal,
}

/// The request log: a handle that can be cloned and sent. Requests are recorded when their fate
/// is decided, writes made through [`crate::Objects`] never.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    inner: Arc<Inner>,
}

impl Audit {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.inner.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request: the server's own, or one that another server has logged.
    pub fn record(&self, entry: Audited) {
        let mut log = self.lock();
        let request = &entry.request;
        let group = (request.client.clone(), request.verb, request.resource.clone());
        if entry.wrote.is_some() {
            *log.writes.entry(group.clone()).or_default() += 1;
        }
        *log.requests.entry(group).or_default() += 1;
        if log.recent.len() >= REMEMBERED {
            log.recent.pop_front();
        }
        log.recent.push_back(entry);
        drop(log);
        self.inner.grown.notify();
    }

    pub(crate) fn delivered(&self, request: &RequestInfo, events: u64) {
        let Some(resource) = request.resource.clone() else { return };
        let mut log = self.lock();
        *log.events.entry((request.client.clone(), resource)).or_default() += events;
    }

    /// How many requests matched. Exact where the match is by client, verb and resource only;
    /// with other conditions the last 100,000 requests are looked at.
    pub fn count(&self, of: &Match) -> u64 {
        let log = self.lock();
        log.count(of, &log.requests, |_| true)
    }

    /// How many matching requests changed something (a refused or no-op write does not count).
    pub fn writes(&self, of: &Match) -> u64 {
        let log = self.lock();
        log.count(of, &log.writes, |entry| entry.wrote.is_some())
    }

    /// How many events (initial ones and bookmarks included) matching watches were handed. Only
    /// client and resource of the match are looked at.
    pub fn events(&self, of: &Match) -> u64 {
        let of = of.clone().verb(Verb::Watch);
        let log = self.lock();
        let matching = log.events.iter().filter(|((client, resource), _)| {
            of.matches_group(client, Verb::Watch, Some(resource))
        });
        matching.map(|(_, count)| count).sum()
    }

    /// Requests per client, verb and resource, in this order.
    pub fn totals(&self) -> Vec<(String, Verb, Option<GroupResource>, u64)> {
        let log = self.lock();
        let mut totals: Vec<_> = log
            .requests
            .iter()
            .map(|((client, verb, resource), count)| {
                (client.clone(), *verb, resource.clone(), *count)
            })
            .collect();
        totals.sort();
        totals
    }

    /// Matching requests among the last 100,000, oldest first.
    pub fn recent(&self, of: &Match) -> Vec<Audited> {
        let log = self.lock();
        log.recent.iter().filter(|entry| of.matches(&entry.request)).cloned().collect()
    }

    /// Forgets everything: counting starts anew.
    pub fn clear(&self) {
        *self.lock() = Log::default();
    }

    /// Blocks until at least `count` requests matched; whether that came true in time.
    pub fn wait_for(&self, of: &Match, count: u64, within: Duration) -> bool {
        self.inner.grown.wait(within, || self.count(of) >= count)
    }

    /// The same for async code; needs a tokio runtime with time.
    pub async fn until(&self, of: &Match, count: u64, within: Duration) -> bool {
        self.inner.grown.until_within(within, || self.count(of) >= count).await
    }
}

impl Log {
    fn count(
        &self,
        of: &Match,
        totals: &HashMap<Group, u64>,
        also: impl Fn(&Audited) -> bool,
    ) -> u64 {
        if of.is_group() {
            let matching = totals.iter().filter(|((client, verb, resource), _)| {
                of.matches_group(client, *verb, resource.as_ref())
            });
            return matching.map(|(_, count)| count).sum();
        }
        let matching = self.recent.iter().filter(|e| of.matches(&e.request) && also(e));
        matching.map(|_| 1).sum()
    }
}

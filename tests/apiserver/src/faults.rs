//! Faults to inject while the server runs, matched by client, verb, resource and name.
//!
//! A request is first received in full; from then on its fate does not depend on its connection.
//! Then, in this order: delays before; the first refusal, drop or hang in the order of injection;
//! processing; delays after; loss of the answer. All matching delays add up. A fault that is
//! limited to a number of requests is used up by the requests that it acted on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    gate::{Network, Outage, OutageGuard},
    registry::GroupResource,
    request::{Match, RequestInfo},
    signal::Signal,
    status::ApiStatus,
};

/// What is to go wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The request waits this long before it is processed. It is then processed even if the
    /// client has given up, as a request that was long under way would be.
    DelayBefore(Duration),
    /// The request is processed at once, its answer is sent only this much later.
    DelayAfter(Duration),
    /// The request is processed; the connection is closed instead of an answer.
    LoseAnswer,
    /// The request is answered with an error and not processed.
    Refuse(Refusal),
    /// The connection is closed; the request is not processed.
    Drop,
    /// The request is neither processed nor answered. When the fault is removed its connection
    /// is closed.
    Hang,
    /// Watch streams, those already open and new ones, stay open but deliver nothing, not even
    /// their end. When the fault is removed they deliver what was held back. (Verbs of the match
    /// other than `watch` are never frozen.) Not limited by a number of requests.
    FreezeWatches,
}

/// An error to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403: what a server that starts answers until it has read its RBAC rules.
    Forbidden,
    /// 409 with reason Conflict.
    Conflict,
    /// 410 with reason Expired.
    Gone,
    /// 429 with a `Retry-After` header.
    TooManyRequests {
        /// Value of the header.
        retry_after_seconds: u32,
    },
    /// A server error, 500 to 599.
    Server(u16),
}

impl Refusal {
    fn status(self, request: &RequestInfo) -> ApiStatus {
        let none = GroupResource::new("", "");
        let resource = request.resource.as_ref().unwrap_or(&none);
        match self {
            Self::Forbidden => ApiStatus::forbidden(resource, &request.name, "injected"),
            Self::Conflict => ApiStatus::modified(resource, &request.name),
            Self::Gone => ApiStatus::expired("too old resource version (injected)"),
            Self::TooManyRequests { retry_after_seconds } => {
                ApiStatus::too_many_requests(retry_after_seconds)
            }
            Self::Server(code) => ApiStatus::server_error(code),
        }
    }
}

/// What is to become of a request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) delay_before: Duration,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) delay_after: Duration,
    pub(crate) lose_answer: bool,
}

/// Why a request is not processed.
#[derive(Debug)]
pub(crate) enum Verdict {
    Refuse(ApiStatus),
    Drop,
    /// Until the fault of this id is gone.
    Hang(u64),
}

#[derive(Debug)]
struct Entry {
    id: u64,
    on: Match,
    fault: Fault,
    left: Option<u32>,
    hits: u64,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    next_id: u64,
}

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    /// Faults came, went or acted.
    changed: Signal,
    /// Spares the watch streams the lock while nothing is frozen.
    freezes: AtomicUsize,
    network: Network,
}

/// The faults of a server: a handle that can be cloned and sent.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: Arc<Inner>,
}

impl Faults {
    pub(crate) fn new(network: Network) -> Self {
        let (table, changed) = (Mutex::default(), Signal::default());
        let freezes = AtomicUsize::new(0);
        Self { inner: Arc::new(Inner { table, changed, freezes, network }) }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Injects a fault until the guard is dropped.
    #[must_use = "the fault ends when the guard is dropped"]
    pub fn inject(&self, on: Match, fault: Fault) -> Injected {
        self.add(on, fault, None)
    }

    /// Injects a fault for the next `times` requests that match, or until the guard is dropped.
    #[must_use = "the fault ends when the guard is dropped"]
    pub fn inject_times(&self, times: u32, on: Match, fault: Fault) -> Injected {
        self.add(on, fault, Some(times))
    }

    fn add(&self, on: Match, fault: Fault, left: Option<u32>) -> Injected {
        if fault == Fault::FreezeWatches {
            self.inner.freezes.fetch_add(1, Ordering::SeqCst);
        }
        let mut table = self.lock();
        table.next_id += 1;
        let id = table.next_id;
        table.entries.push(Entry { id, on, fault, left, hits: 0 });
        drop(table);
        self.inner.changed.notify();
        Injected { faults: self.clone(), id }
    }

    fn remove(&self, id: u64) {
        let mut table = self.lock();
        let found = table.entries.iter().position(|entry| entry.id == id);
        let removed = found.map(|at| table.entries.remove(at));
        drop(table);
        if removed.is_some_and(|entry| entry.fault == Fault::FreezeWatches) {
            self.inner.freezes.fetch_sub(1, Ordering::SeqCst);
        }
        self.inner.changed.notify();
    }

    /// Takes the whole server away until the guard is dropped. In effect when this returns.
    ///
    /// Of several outages at once, refusal outweighs the black hole.
    #[must_use = "the outage ends when the guard is dropped"]
    pub fn outage(&self, outage: Outage) -> OutageGuard {
        self.inner.network.begin(outage)
    }

    /// Decides the fate of a request, and counts it against limited faults.
    pub(crate) fn plan(&self, request: &RequestInfo) -> Plan {
        let mut plan = Plan::default();
        let mut table = self.lock();
        let mut hit = false;
        for entry in &mut table.entries {
            if entry.left == Some(0) || !entry.on.matches(request) {
                continue;
            }
            match &entry.fault {
                Fault::DelayBefore(delay) => plan.delay_before += *delay,
                Fault::FreezeWatches => continue,
                // Not processed: faults behind it are not used up.
                _ if plan.verdict.is_some() => continue,
                Fault::DelayAfter(delay) => plan.delay_after += *delay,
                Fault::LoseAnswer => plan.lose_answer = true,
                Fault::Refuse(refusal) => {
                    plan.verdict = Some(Verdict::Refuse(refusal.status(request)));
                }
                Fault::Drop => plan.verdict = Some(Verdict::Drop),
                Fault::Hang => plan.verdict = Some(Verdict::Hang(entry.id)),
            }
            entry.hits += 1;
            entry.left = entry.left.map(|left| left - 1);
            hit = true;
        }
        drop(table);
        if hit {
            self.inner.changed.notify();
        }
        plan
    }

    /// Waits while a fault of this id is in force.
    pub(crate) async fn while_present(&self, id: u64) {
        let gone = || self.lock().entries.iter().all(|entry| entry.id != id);
        self.inner.changed.until(gone).await;
    }

    /// Waits while the watch is frozen.
    pub(crate) async fn while_frozen(&self, request: &RequestInfo) {
        if self.inner.freezes.load(Ordering::SeqCst) == 0 || !self.is_frozen(request) {
            return;
        }
        for entry in &mut self.lock().entries {
            if entry.fault == Fault::FreezeWatches && entry.on.matches(request) {
                entry.hits += 1;
            }
        }
        self.inner.changed.notify();
        self.inner.changed.until(|| !self.is_frozen(request)).await;
    }

    fn is_frozen(&self, request: &RequestInfo) -> bool {
        let frozen = |e: &Entry| e.fault == Fault::FreezeWatches && e.on.matches(request);
        self.lock().entries.iter().any(frozen)
    }

    fn hits(&self, id: u64) -> u64 {
        self.lock().entries.iter().find(|entry| entry.id == id).map_or(0, |entry| entry.hits)
    }
}

/// An injected fault; dropping it removes the fault.
#[derive(Debug)]
pub struct Injected {
    faults: Faults,
    id: u64,
}

impl Injected {
    /// On how many requests the fault has acted. For frozen watches: how often a stream had
    /// something to deliver and held it back.
    pub fn hits(&self) -> u64 {
        self.faults.hits(self.id)
    }

    /// Blocks until the fault has acted on `count` requests; whether that came true in time.
    pub fn wait_hits(&self, count: u64, within: Duration) -> bool {
        self.faults.inner.changed.wait(within, || self.hits() >= count)
    }

    /// The same for async code; needs a tokio runtime with time.
    pub async fn until_hits(&self, count: u64, within: Duration) -> bool {
        self.faults.inner.changed.until_within(within, || self.hits() >= count).await
    }

    /// Ends the fault, as dropping does.
    pub fn remove(self) {}
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.faults.remove(self.id);
    }
}

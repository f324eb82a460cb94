//! The loop between the machine and the world: wait, feed, act, publish.

mod claims;
mod log;
mod lookup;
mod report;
mod validity;
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, FuturesUnordered, Stream},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamMap;
use tracing::debug;

pub use self::witness::Witness;
use self::{
    log::{Log, why_silent},
    lookup::Lookup,
};
use super::{
    lease::{Answer, Claim, Reply, Request},
    machine::{Input, Intent, Machine, Settings},
    pace::Pace,
    profile,
    report::VipState,
    store::Store,
    tenures::Tenures,
    watch::{self as leases, LeaseEvent},
};
use crate::{
    conflict::{self, Claims},
    events::Reports,
    observe::{
        Ask,
        health::{Loop, TICK},
    },
    types::{BootTime, MacAddr, NodeName},
    wire_state::{Adopted, Heard, WireState},
};

/// Requests about VIPs under way at once; renewals and fences never queue behind them.
const VIP_REQUESTS: usize = 32;

/// What is ready is taken in before deciding and publishing once, up to so many events.
const BATCH: usize = 256;

/// The driver's channels.
#[derive(Debug)]
pub struct Channels {
    /// What should be announced; `None` until the first sync.
    pub intent: watch::Receiver<Option<Arc<Intent>>>,
    /// Frames of others that claim a VIP. Lossy: the data plane reports again.
    pub claims: mpsc::Receiver<Heard>,
    /// What the Services' people are to know of conflicts.
    pub reports: Reports,
    /// The desired state of the wire.
    pub wire: watch::Sender<Option<Arc<WireState>>>,
    /// Becomes true when everything is to be handed over.
    pub drain: watch::Receiver<bool>,
    /// Who wants to know what is going on.
    pub asks: mpsc::Receiver<Ask>,
}

/// Runs the protocol until a drain has come to its end.
pub async fn run(
    settings: Settings,
    conflicts: conflict::Settings,
    adopted: Option<Adopted>,
    store: Store,
    channels: Channels,
    witness: Witness,
) {
    let api = store.api().clone();
    let events = stream::select(leases::vip_leases(api.clone()), leases::sessions(api));
    let claims = Claims::new(conflicts, settings.me.clone());
    Driver::new(settings, claims, adopted, store, channels, witness).run(events).await;
}

struct Driver {
    machine: Machine,
    /// Between what the machine says and the wire.
    claims: Claims,
    store: Store,
    channels: Channels,
    /// Requests about VIPs that wait for their turn, and how many are under way.
    waiting: VecDeque<Request>,
    under_way: usize,
    pace: Pace,
    macs: BTreeMap<MacAddr, NodeName>,
    lookup: Lookup,
    /// Longer than that nothing waits for the API server.
    patience: Duration,
    /// One watch for each node that this one monitors.
    monitored: StreamMap<NodeName, BoxStream<'static, LeaseEvent>>,
    log: Log,
    tenures: Tenures,
    witness: Witness,
}

impl Driver {
    fn new(
        settings: Settings,
        claims: Claims,
        adopted: Option<Adopted>,
        store: Store,
        channels: Channels,
        witness: Witness,
    ) -> Self {
        Self {
            patience: settings.timing.request_timeout(),
            tenures: Tenures::new(settings.me.clone()),
            witness,
            machine: Machine::new(settings, adopted),
            claims,
            store,
            channels,
            waiting: VecDeque::new(),
            under_way: 0,
            pace: Pace::default(),
            macs: BTreeMap::new(),
            lookup: Lookup::default(),
            monitored: StreamMap::new(),
            log: Log::default(),
        }
    }

    async fn run(mut self, events: impl Stream<Item = LeaseEvent>) {
        let mut events = pin!(events);
        let mut inflight = FuturesUnordered::new();
        loop {
            let now = BootTime::now();
            for request in self.machine.poll(now) {
                if about_vip(&request) {
                    self.note_attempt(&request);
                    self.waiting.push_back(request);
                } else {
                    inflight.push(attempt(self.store.clone(), request));
                }
            }
            while let Some(request) = self.next_waiting(now) {
                inflight.push(attempt(self.store.clone(), request));
            }
            self.follow_monitored();
            self.publish(now);
            self.witness.health.turns(Loop::Ownership);
            self.witness.health.set_synced(self.machine.is_synced());
            if self.machine.finished() {
                return;
            }
            let turn = (!self.waiting.is_empty() && self.under_way < VIP_REQUESTS)
                .then(|| self.pace.next(now));
            let deadline = turn.into_iter().chain(self.claims.next_deadline());
            let deadline = deadline.chain([self.machine.next_deadline(now)]).min();
            let wait = deadline.unwrap_or(now).since(now).min(TICK);
            // Cancel-safe: each branch takes one whole message or nothing.
            tokio::select! {
                Some(attempted) = inflight.next() => self.answered(attempted),
                Some(event) = events.next() => self.lease_event(event),
                Some((_, event)) = self.monitored.next() => self.lease_event(event),
                Ok(()) = self.channels.intent.changed() => self.intent_changed(),
                Some(claim) = self.channels.claims.recv() => self.claimed(claim),
                (macs, claims) = self.lookup.found() => {
                    macs.into_iter().for_each(|event| self.lease_event(event));
                    claims.into_iter().for_each(|claim| self.judge(claim));
                }
                Some(ask) = self.channels.asks.recv() => {
                    // Who asked may have lost patience.
                    let _ = ask.send(self.report(BootTime::now()));
                }
                Ok(()) = self.channels.drain.changed() => {
                    self.machine.input(BootTime::now(), Input::Drain);
                }
                () = tokio::time::sleep(wait) => {}
            }
            for _ in 0..BATCH {
                if let Some(Some(event)) = events.next().now_or_never() {
                    self.lease_event(event);
                } else if let Some(Some(attempted)) = inflight.next().now_or_never() {
                    self.answered(attempted);
                } else if let Ok(claim) = self.channels.claims.try_recv() {
                    self.claimed(claim);
                } else {
                    break;
                }
            }
        }
    }

    /// The next request about a VIP, if it may go now.
    fn next_waiting(&mut self, now: BootTime) -> Option<Request> {
        if self.under_way >= VIP_REQUESTS || self.pace.next(now) > now {
            return None;
        }
        let request = self.waiting.pop_front()?;
        self.pace.take(now);
        self.under_way += 1;
        let me = Some(&self.machine.settings().me);
        if let Request::WriteVip { vip, claim: Claim::Released { offered_by, .. }, .. } = &request
            && offered_by.as_ref() == me
        {
            self.tenures.offering(now, *vip);
        }
        Some(request)
    }

    /// Begins and ends watches as the machine's choice of nodes changes.
    fn follow_monitored(&mut self) {
        let wanted = self.machine.monitored();
        let watched: BTreeSet<_> = self.monitored.keys().cloned().collect();
        for node in watched.difference(&wanted) {
            self.monitored.remove(node);
        }
        for node in wanted.difference(&watched) {
            let watch = leases::node_lease(self.store.api().clone(), node.clone());
            self.monitored.insert(node.clone(), watch.boxed());
        }
    }

    fn intent_changed(&mut self) {
        let intent = self.channels.intent.borrow_and_update().clone();
        if let Some(intent) = intent {
            self.log.candidacy(intent.candidacy);
            self.machine.input(BootTime::now(), Input::Intent(intent.clone()));
            let (tenures, machine) = (&mut self.tenures, &self.machine);
            tenures.retain(|vip| {
                intent.vips.contains_key(&vip) || machine.named_holder(vip).is_some()
            });
        }
    }

    fn lease_event(&mut self, event: LeaseEvent) {
        match event {
            LeaseEvent::Input(Input::VipLease(vip, seen)) => {
                let now = BootTime::now();
                self.machine.input(now, Input::VipLease(vip, seen));
                let moved = self.tenures.seen(now, vip, self.machine.named_holder(vip));
                self.moved(vip, moved);
            }
            LeaseEvent::Input(input) => self.machine.input(BootTime::now(), input),
            LeaseEvent::Macs(node, macs) => {
                self.macs.retain(|_, owner| *owner != node);
                self.macs.extend(macs.into_iter().map(|mac| (mac, node.clone())));
            }
            LeaseEvent::Broken(error) => debug!(error, "lease watch interrupted"),
        }
    }

    fn answered(&mut self, Attempted { request, answer, error, took }: Attempted) {
        self.count(&request, &answer, took);
        let now = BootTime::now();
        self.under_way -= usize::from(about_vip(&request));
        if let Some(pause) = error.as_ref().and_then(overloaded) {
            // Every node hears this at the same time: they come back at different ones.
            self.pace.close(now, pause.mul_f64(1.0 + fastrand::f64()));
        }
        let failed = matches!(answer, Answer::Node(Reply::Failed) | Answer::Vip(Reply::Failed));
        let failed = failed.then(|| request.clone());
        if failed.is_none() {
            self.log.request(now, &request, &answer);
        }
        let wrote = match (&request, &answer) {
            (Request::WriteVip { vip, claim, .. }, Answer::Vip(Reply::Ok(_))) => {
                Some((*vip, matches!(claim, Claim::Held { .. })))
            }
            _ => None,
        };
        self.machine.input(now, Input::Answered(request, answer));
        if let Some(request) = failed {
            self.log.failed(now, &self.machine, &request, error.as_ref());
        }
        if let Some((vip, took)) = wrote {
            let taken = if took { self.tenures.taken(now, vip) } else { None };
            let holder = self.machine.named_holder(vip);
            let moved = taken.or_else(|| self.tenures.seen(now, vip, holder));
            self.moved(vip, moved);
        }
    }

    fn publish(&mut self, now: BootTime) {
        let ending = *self.channels.drain.borrow();
        if self.log.session(self.machine.heartbeat().session(), ending) {
            self.witness.metrics.session_opened();
        }
        let Some(mut state) = self.machine.wire(now) else { return };
        for vip in self.machine.take_first_claims() {
            self.claims.claim_first(now, vip);
        }
        self.claims.follow(now, &mut state);
        self.log.validity(now, &self.machine, &state);
        self.store.set_conflicts(profile::conflicts(&self.claims));
        self.tell();
        let state = Some(Arc::new(state));
        let (log, machine, claims) = (&self.log, &self.machine, &self.claims);
        let why = |vip| {
            let Some((state, holder)) = machine.describe(now, vip) else { return String::new() };
            let state = VipState::new(now, state, claims.hindrance(vip), None);
            why_silent(&state, holder.as_ref())
        };
        self.channels.wire.send_if_modified(|current| {
            if *current == state {
                return false;
            }
            log.wire(current.as_deref(), state.as_deref(), why);
            *current = state;
            true
        });
    }
}

/// A request, what became of it, and why if that is nothing.
struct Attempted {
    request: Request,
    answer: Answer,
    error: Option<kube::Error>,
    took: Duration,
}

async fn attempt(store: Store, request: Request) -> Attempted {
    let sent = BootTime::now();
    let (answer, error) = store.send(&request).await;
    Attempted { request, answer, error, took: BootTime::now().since(sent) }
}

const fn about_vip(request: &Request) -> bool {
    matches!(request, Request::ReadVip(_) | Request::WriteVip { .. })
}

/// How long an API server that refuses for want of capacity asks us to wait.
fn overloaded(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    if status.code != 429 && status.code < 500 {
        return None;
    }
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Some(Duration::from_secs(u64::from(seconds)).max(Duration::from_millis(500)))
}

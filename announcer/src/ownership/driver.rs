//! The loop between the machine and the world: wait, feed, act, publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, FuturesUnordered, Stream},
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::StreamMap;
use tracing::{debug, info, warn};

use super::{
    lease::{Answer, Claim, Reply, Request},
    machine::{Input, Intent, Machine, Settings},
    store::Store,
    watch::{self as leases, LeaseEvent},
};
use crate::{
    types::{BootTime, MacAddr, NodeName, Session},
    wire_state::{Adopted, ForeignClaim, WireEntry, WireState},
};

/// VIP writes under way at once; renewals and fences never queue behind them.
const VIP_REQUESTS: usize = 32;

/// The driver's channels.
#[derive(Debug)]
pub struct Channels {
    /// What should be announced; `None` until the first sync.
    pub intent: watch::Receiver<Option<Arc<Intent>>>,
    /// Frames of others that claim a VIP. Lossy: the data plane reports again.
    pub claims: mpsc::Receiver<ForeignClaim>,
    /// The desired state of the wire.
    pub wire: watch::Sender<Option<Arc<WireState>>>,
    /// Becomes true when everything is to be handed over.
    pub drain: watch::Receiver<bool>,
}

/// Runs the protocol until a drain has come to its end.
pub async fn run(settings: Settings, adopted: Option<Adopted>, store: Store, channels: Channels) {
    let api = store.api().clone();
    let events = stream::select(leases::vip_leases(api.clone()), leases::sessions(api));
    Driver::new(settings, adopted, store, channels).run(events).await;
}

struct Driver {
    machine: Machine,
    store: Store,
    channels: Channels,
    vip_requests: Arc<Semaphore>,
    macs: BTreeMap<MacAddr, NodeName>,
    /// One watch for each node that this one monitors.
    monitored: StreamMap<NodeName, BoxStream<'static, LeaseEvent>>,
    log: Log,
}

impl Driver {
    fn new(settings: Settings, adopted: Option<Adopted>, store: Store, channels: Channels) -> Self {
        Self {
            machine: Machine::new(settings, adopted),
            store,
            channels,
            vip_requests: Arc::new(Semaphore::new(VIP_REQUESTS)),
            macs: BTreeMap::new(),
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
                inflight.push(attempt(self.store.clone(), self.vip_requests.clone(), request));
            }
            self.follow_monitored();
            self.publish(now);
            if self.machine.finished() {
                return;
            }
            let wait = self.machine.next_deadline(now).since(now);
            // Cancel-safe: each branch takes one whole message or nothing.
            tokio::select! {
                Some((request, answer, error)) = inflight.next() => {
                    self.answered(request, answer, error.as_deref());
                }
                Some(event) = events.next() => self.lease_event(event),
                Some((_, event)) = self.monitored.next() => self.lease_event(event),
                Ok(()) = self.channels.intent.changed() => self.intent_changed(),
                Some(claim) = self.channels.claims.recv() => self.claimed(claim),
                Ok(()) = self.channels.drain.changed() => {
                    self.machine.input(BootTime::now(), Input::Drain);
                }
                () = tokio::time::sleep(wait) => {}
            }
            // Everything that is ready besides, before deciding and publishing once.
            while let Some(Some(event)) = events.next().now_or_never() {
                self.lease_event(event);
            }
        }
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
            self.machine.input(BootTime::now(), Input::Intent(intent));
        }
    }

    fn lease_event(&mut self, event: LeaseEvent) {
        match event {
            LeaseEvent::Input(input) => self.machine.input(BootTime::now(), input),
            LeaseEvent::Macs(node, macs) => {
                self.macs.retain(|_, owner| *owner != node);
                self.macs.extend(macs.into_iter().map(|mac| (mac, node.clone())));
            }
            LeaseEvent::Broken(error) => debug!(error, "lease watch interrupted"),
        }
    }

    fn claimed(&mut self, claim: ForeignClaim) {
        // Two of our interfaces on one segment hear each other.
        if self.store.macs().contains(&claim.mac) {
            return;
        }
        let rival = self.macs.get(&claim.mac);
        let announcer = rival.is_some();
        match rival {
            Some(node) => debug!(vip = %claim.vip, %node, mac = %claim.mac, "rival announces"),
            None => warn!(
                vip = %claim.vip, mac = %claim.mac, kind = ?claim.kind,
                "address conflict: a station that is no announcer claims the VIP"
            ),
        }
        self.machine.input(BootTime::now(), Input::Rival { vip: claim.vip, announcer });
    }

    fn answered(&mut self, request: Request, answer: Answer, error: Option<&str>) {
        self.log.request(&request, &answer, error);
        self.machine.input(BootTime::now(), Input::Answered(request, answer));
    }

    fn publish(&mut self, now: BootTime) {
        let ending = *self.channels.drain.borrow();
        self.log.session(self.machine.heartbeat().session(), ending);
        let Some(state) = self.machine.wire(now) else { return };
        let state = Some(Arc::new(state));
        let log = &mut self.log;
        self.channels.wire.send_if_modified(|current| {
            if *current == state {
                return false;
            }
            log.wire(current.as_deref(), state.as_deref());
            *current = state;
            true
        });
    }
}

async fn attempt(
    store: Store,
    vip_requests: Arc<Semaphore>,
    request: Request,
) -> (Request, Answer, Option<String>) {
    let _permit = match request {
        Request::ReadVip(_) | Request::WriteVip { .. } => vip_requests.acquire().await.ok(),
        Request::ReadNode(_) | Request::WriteNode { .. } => None,
    };
    let (answer, error) = store.send(&request).await;
    (request, answer, error.map(|e| e.to_string()))
}

/// What a person reads: sessions, takeovers, fences, and the API server's
/// silence once, not at every attempt.
#[derive(Debug, Default)]
struct Log {
    session: Option<Session>,
    silent_since: Option<BootTime>,
}

impl Log {
    fn session(&mut self, session: Option<&Session>, ending: bool) {
        if self.session.as_ref() == session {
            return;
        }
        match session {
            Some(session) => info!(%session, "session open"),
            None if ending => info!("session closed"),
            None => warn!("session over: answering for nothing until a new one is open"),
        }
        self.session = session.cloned();
    }

    fn request(&mut self, request: &Request, answer: &Answer, error: Option<&str>) {
        let now = BootTime::now();
        let failed = matches!(answer, Answer::Node(Reply::Failed) | Answer::Vip(Reply::Failed));
        if failed {
            let error = error.unwrap_or("no answer in time");
            if self.silent_since.is_none() {
                self.silent_since = Some(now);
                warn!(error, ?request, "a request to the API server failed; trying again");
            } else {
                debug!(error, ?request, "still no answer from the API server");
            }
            return;
        }
        if let Some(since) = self.silent_since.take() {
            let gap = now.since(since);
            info!(after = ?rounded(gap), "requests to the API server succeed again");
        }
        match (request, answer) {
            (Request::WriteNode { node, open: false, .. }, Answer::Node(Reply::Ok(_))) => {
                info!(%node, "session ended by fence or hand-over");
            }
            (Request::WriteVip { vip, claim, .. }, Answer::Vip(Reply::Ok(_))) => match claim {
                Claim::Held { .. } => info!(%vip, "taken"),
                Claim::Released { offered_by: Some(_) } => info!(%vip, "offered to other nodes"),
                Claim::Released { offered_by: None } | Claim::Unclear => info!(%vip, "released"),
            },
            (_, answer) => debug!(?request, ?answer, "answer"),
        }
    }

    fn wire(&self, old: Option<&WireState>, new: Option<&WireState>) {
        let Some(new) = new else { return };
        let answers = |state: Option<&WireState>, vip| {
            matches!(state.and_then(|s| s.vips.get(vip)), Some(WireEntry::Answer { .. }))
        };
        for vip in new.vips.keys() {
            match (answers(old, vip), answers(Some(new), vip)) {
                (false, true) => info!(%vip, "answering"),
                (true, false) => info!(%vip, "silent"),
                _ => {}
            }
        }
        for vip in old.into_iter().flat_map(|o| o.vips.keys()) {
            if !new.vips.contains_key(vip) {
                info!(%vip, "no longer announced by any Service");
            }
        }
    }
}

fn rounded(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

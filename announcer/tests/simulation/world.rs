//! Nodes, their clocks and maps, the network, and time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use announcer::{
    ownership::{
        heartbeat::OnApiLoss,
        lease::{Answer, Reply, Request},
        machine::{Input, Intent, Machine, Settings, VipIntent},
        timing::Timing,
    },
    types::{BootTime, NodeName, Session, Vip},
    wire_state::{Adopted, WireEntry, WireState},
};
use fastrand::Rng;

use crate::store::{Change, Store};

pub(crate) const MS: u64 = 1_000_000;

/// What can happen to a node at a point of (true) time.
enum Event {
    Wake {
        node: usize,
        life: u64,
        ticket: u64,
    },
    /// A request reaches the API server; its answer reaches the node later, or never.
    Arrive {
        node: usize,
        life: u64,
        request: Request,
        answered_at: Option<u64>,
    },
    Answer {
        node: usize,
        life: u64,
        request: Request,
        answer: Answer,
    },
    Watch {
        node: usize,
        life: u64,
        epoch: u64,
        change: Change,
    },
    Relist {
        node: usize,
        life: u64,
    },
    /// A watch by name begins, with the object as it is.
    Named {
        node: usize,
        life: u64,
        watched: NodeName,
    },
    Fault,
}

pub(crate) struct Node {
    pub(crate) name: NodeName,
    /// Clock rate in parts per million off the true rate, and its origin.
    ppm: i64,
    origin: u64,
    life: u64,
    ticket: u64,
    watch_epoch: u64,
    last_delivery: u64,
    machine: Option<Machine>,
    paused: bool,
    backlog: Vec<Event>,
    /// Cut off from the API server.
    cut: bool,
    watch_frozen: bool,
    /// Whose renewals it watches by name.
    watched: BTreeSet<NodeName>,
    /// The pinned maps: they outlive the daemon, not the machine.
    pub(crate) map: BTreeMap<Vip, BootTime>,
    session: Option<Session>,
    pub(crate) draining: bool,
}

impl Node {
    pub(crate) fn clock(&self, t: u64) -> BootTime {
        let drift = i128::from(t) * i128::from(self.ppm) / 1_000_000;
        let local = i128::from(self.origin) + i128::from(t) + drift;
        BootTime::from_nanos(u64::try_from(local).expect("clocks start late enough"))
    }

    /// The true time at which this node's clock shows `local`.
    fn true_time(&self, local: BootTime) -> u64 {
        let elapsed = local.as_nanos().saturating_sub(self.origin);
        let scaled = u128::from(elapsed) * 1_000_000
            / u128::try_from(1_000_000 + self.ppm).expect("rates are near 1");
        u64::try_from(scaled).expect("simulations are short") + 1
    }

    pub(crate) fn answers(&self, t: u64, vip: Vip) -> bool {
        self.map.get(&vip).is_some_and(|until| self.clock(t) < *until)
    }

    pub(crate) fn holds_validly(&self, t: u64, vip: Vip) -> bool {
        let now = self.clock(t);
        self.machine
            .as_ref()
            .is_some_and(|m| m.heartbeat().valid(now) && m.held().any(|v| v == vip))
    }
}

/// How hard life is.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) on_loss: OnApiLoss,
    /// Mean time between faults; 0 for none.
    pub(crate) fault_every: Duration,
    pub(crate) drift_ppm: i64,
    /// Whether people edit and delete leases.
    pub(crate) hands: bool,
    pub(crate) drains: bool,
}

pub(crate) struct World {
    pub(crate) t: u64,
    seq: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) vips: Vec<Vip>,
    pub(crate) store: Store,
    pub(crate) rng: Rng,
    weather: Weather,
    timing: Timing,
    outage: bool,
    healed: bool,
    /// What happened, if somebody wants to read it.
    pub(crate) log: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        nodes: usize,
        vips: usize,
        timing: Timing,
        weather: Weather,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nodes = (0..nodes)
            .map(|i| Node {
                name: format!("node-{i}").parse().expect("a node name"),
                ppm: rng.i64(-weather.drift_ppm..=weather.drift_ppm),
                origin: rng.u64(1..1_000_000) * 1_000 * MS,
                life: 0,
                ticket: 0,
                watch_epoch: 0,
                last_delivery: 0,
                machine: None,
                paused: false,
                backlog: Vec::new(),
                cut: false,
                watch_frozen: false,
                watched: BTreeSet::new(),
                map: BTreeMap::new(),
                session: None,
                draining: false,
            })
            .collect();
        let vips = (1..=vips).map(|i| format!("192.0.2.{i}").parse().expect("a VIP")).collect();
        let mut world = Self {
            t: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            nodes,
            vips,
            store: Store::default(),
            rng,
            weather,
            timing,
            outage: false,
            healed: false,
            log: None,
        };
        for i in 0..world.nodes.len() {
            world.boot(i);
        }
        if !weather.fault_every.is_zero() {
            world.next_fault();
        }
        world
    }

    /// Runs until `until` (true time), checking after every event.
    pub(crate) fn run(
        &mut self,
        until: u64,
        mut check: impl FnMut(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        while let Some(Reverse(key)) = self.queue.peek().copied() {
            if key.0 > until {
                break;
            }
            self.queue.pop();
            let event = self.events.remove(&key).expect("every key has its event");
            self.t = key.0;
            self.handle(event);
            check(self).map_err(|e| format!("at {} ms: {e}", self.t / MS))?;
        }
        self.t = until;
        Ok(())
    }

    /// Ends all faults and brings every node back.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.outage = false;
        for i in 0..self.nodes.len() {
            self.resume(i);
            self.nodes[i].cut = false;
            self.nodes[i].watch_frozen = false;
            if self.nodes[i].machine.is_none() || self.nodes[i].draining {
                self.boot(i);
            }
            self.relist(i);
        }
    }

    /// The API server stops answering anyone, or answers again.
    pub(crate) fn set_outage(&mut self, outage: bool) {
        self.outage = outage;
        if !outage {
            (0..self.nodes.len()).for_each(|i| self.relist(i));
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.seq += 1;
        let key = (at.max(self.t), self.seq);
        self.queue.push(Reverse(key));
        self.events.insert(key, event);
    }

    /// Starts the daemon on a node, adopting what its maps still hold.
    pub(crate) fn boot(&mut self, i: usize) {
        let intent = Arc::new(self.intent());
        let node = &mut self.nodes[i];
        node.life += 1;
        node.watched.clear();
        node.paused = false;
        node.backlog.clear();
        node.draining = false;
        let now = node.clock(self.t);
        let answering: BTreeMap<_, _> =
            node.map.iter().filter(|(_, until)| **until > now).map(|(v, u)| (*v, *u)).collect();
        let adopted =
            node.session.take().map(|session| Adopted { session: Some(session), answering });
        let settings = Settings {
            me: node.name.clone(),
            timing: self.timing,
            on_api_loss: self.weather.on_loss,
            handover_timeout: Duration::from_secs(5),
            rebalance: self.weather.drains.then_some(Duration::from_millis(100)),
        };
        let mut machine = Machine::new(settings, adopted);
        machine.input(now, Input::Intent(intent));
        node.machine = Some(machine);
        self.relist(i);
        self.step(i);
    }

    pub(crate) fn intent(&self) -> Intent {
        let eligible: Arc<BTreeSet<_>> =
            Arc::new(self.nodes.iter().map(|n| n.name.clone()).collect());
        let vips = self.vips.iter().map(|v| (*v, VipIntent::on(eligible.clone()))).collect();
        Intent { vips, ..Intent::default() }
    }

    fn relist(&mut self, i: usize) {
        self.nodes[i].watch_epoch += 1;
        let (life, delay) = (self.nodes[i].life, self.rng.u64(1..20) * MS);
        self.schedule(self.t + delay, Event::Relist { node: i, life });
    }

    fn handle(&mut self, event: Event) {
        let (node, life) = match &event {
            Event::Wake { node, life, .. }
            | Event::Answer { node, life, .. }
            | Event::Watch { node, life, .. }
            | Event::Named { node, life, .. }
            | Event::Relist { node, life } => (*node, *life),
            Event::Arrive { node, life, request, answered_at } => {
                return self.arrive(*node, *life, request.clone(), *answered_at);
            }
            Event::Fault => return self.fault(),
        };
        if self.nodes[node].life != life || self.nodes[node].machine.is_none() {
            return;
        }
        if self.nodes[node].paused {
            self.nodes[node].backlog.push(event);
            return;
        }
        let now = self.nodes[node].clock(self.t);
        match event {
            Event::Wake { ticket, .. } if ticket != self.nodes[node].ticket => return,
            Event::Wake { .. } => {}
            Event::Answer { request, answer, .. } => {
                self.feed(node, now, Input::Answered(request, answer));
            }
            Event::Watch { epoch, change, .. } => {
                if epoch != self.nodes[node].watch_epoch {
                    return;
                }
                let Some(input) = change.seen_by(&self.nodes[node].watched) else { return };
                self.feed(node, now, input);
            }
            Event::Named { watched, .. } => {
                if self.outage || self.nodes[node].cut || self.nodes[node].watch_frozen {
                    return;
                }
                let input = self.store.node(&watched);
                self.feed(node, now, input);
            }
            Event::Relist { .. } => {
                if self.outage || self.nodes[node].cut || self.nodes[node].watch_frozen {
                    return self.relist(node);
                }
                let names: Vec<_> = self.nodes.iter().map(|n| n.name.clone()).collect();
                for input in self.store.list(&names, &self.vips) {
                    self.feed(node, now, input);
                }
                self.feed(node, now, Input::NodesListed);
                self.feed(node, now, Input::VipsListed);
            }
            Event::Arrive { .. } | Event::Fault => {}
        }
        self.step(node);
    }

    fn feed(&mut self, i: usize, now: BootTime, input: Input) {
        if let Some(machine) = &mut self.nodes[i].machine {
            machine.input(now, input);
        }
    }

    /// One turn of a node's loop: decide, send, publish, sleep.
    fn step(&mut self, i: usize) {
        let now = self.nodes[i].clock(self.t);
        let node = &mut self.nodes[i];
        let Some(machine) = &mut node.machine else { return };
        let requests = machine.poll(now);
        if let Some(WireState { vips, session, .. }) = machine.wire(now) {
            let answered = vips.iter().filter_map(|(vip, entry)| match entry {
                WireEntry::Answer { until } => Some((*vip, *until)),
                WireEntry::Silent => None,
            });
            node.map = answered.collect();
            node.session = session;
        }
        if machine.finished() {
            node.machine = None;
            node.map.clear();
            node.session = None;
            node.life += 1;
            return;
        }
        let monitored = machine.monitored();
        let begun: Vec<_> = monitored.difference(&node.watched).cloned().collect();
        node.watched = monitored;
        let wake = machine.next_deadline(now);
        let (life, at) = (node.life, node.true_time(wake));
        node.ticket += 1;
        let ticket = node.ticket;
        self.schedule(at, Event::Wake { node: i, life, ticket });
        for watched in begun {
            let delay = self.rng.u64(1..20) * MS;
            self.schedule(self.t + delay, Event::Named { node: i, life, watched });
        }
        for request in requests {
            self.send(i, life, request);
        }
    }

    fn send(&mut self, node: usize, life: u64, request: Request) {
        let failure = |request: &Request| match request {
            Request::ReadNode(_) | Request::WriteNode { .. } => Answer::Node(Reply::Failed),
            Request::ReadVip(_) | Request::WriteVip { .. } => Answer::Vip(Reply::Failed),
        };
        let timeout = self.timing.request_timeout().as_nanos();
        let local = self.nodes[node].clock(self.t)
            + Duration::from_nanos(u64::try_from(timeout).expect("short timeouts"));
        let gives_up = self.nodes[node].true_time(local);
        let rough = !self.healed && !self.weather.fault_every.is_zero();
        let lost_on_the_way = self.outage || self.nodes[node].cut || (rough && self.rng.u8(..) < 4);
        let answer = failure(&request);
        // The client gives up on its own clock. What is under way then may still
        // be applied.
        if lost_on_the_way {
            self.schedule(gives_up, Event::Answer { node, life, request, answer });
            return;
        }
        let mut travel = || {
            let slow = rough && self.rng.u8(..) < 8;
            if slow { self.rng.u64(1..3000) * MS } else { self.rng.u64(1..10) * MS }
        };
        let arrives = self.t + travel();
        let answered = arrives + travel();
        let lost = rough && self.rng.u8(..) < 6;
        let answered_at = (!lost && answered < gives_up).then_some(answered);
        if answered_at.is_none() {
            let request = request.clone();
            self.schedule(gives_up, Event::Answer { node, life, request, answer });
        }
        self.schedule(arrives, Event::Arrive { node, life, request, answered_at });
    }

    fn arrive(&mut self, node: usize, life: u64, request: Request, answered_at: Option<u64>) {
        let (answer, change) = self.store.apply(&request);
        self.trace(|w| format!("{}: {request:?} => {answer:?}", w.nodes[node].name));
        if let Some(change) = change {
            self.broadcast(&change);
        }
        if let Some(at) = answered_at {
            self.schedule(at, Event::Answer { node, life, request, answer });
        }
    }

    /// Delivers a change to every watch, in order for each.
    fn broadcast(&mut self, change: &Change) {
        for i in 0..self.nodes.len() {
            let delay = self.rng.u64(1..30) * MS;
            let node = &mut self.nodes[i];
            if self.outage || node.cut || node.watch_frozen {
                continue;
            }
            let at = (self.t + delay).max(node.last_delivery + 1);
            node.last_delivery = at;
            let (life, epoch) = (node.life, node.watch_epoch);
            let change = change.clone();
            self.schedule(at, Event::Watch { node: i, life, epoch, change });
        }
    }

    fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.log.is_some() {
            let line = format!("{:>7} ms  {}", self.t / MS, line(self));
            self.log.get_or_insert_default().push(line);
        }
    }

    fn next_fault(&mut self) {
        let mean = u64::try_from(self.weather.fault_every.as_nanos()).expect("short intervals");
        let at = self.t + self.rng.u64(1..mean * 2);
        self.schedule(at, Event::Fault);
    }

    /// A machine loses power: daemon and maps are gone.
    pub(crate) fn power_off(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        node.machine = None;
        node.life += 1;
        node.map.clear();
        node.session = None;
    }

    fn resume(&mut self, i: usize) {
        self.nodes[i].paused = false;
        for event in std::mem::take(&mut self.nodes[i].backlog) {
            self.schedule(self.t, event);
        }
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let i = self.rng.usize(..self.nodes.len());
        let vip = self.vips[self.rng.usize(..self.vips.len())];
        let kind = self.rng.u8(..14);
        self.trace(|_| format!("fault {kind} at node-{i}"));
        match kind {
            0 => self.set_outage(!self.outage),
            1 | 2 => self.nodes[i].cut = !self.nodes[i].cut,
            // Not with hands: a VIP lease deleted behind a holder's frozen watch, and a
            // node that starts just then, are what only a probe on the wire can tell.
            3 if !self.weather.hands => {
                self.nodes[i].watch_frozen = !self.nodes[i].watch_frozen;
            }
            4 | 5 => self.nodes[i].paused = true,
            6 | 7 => self.resume(i),
            // The daemon is killed; its maps stay.
            8 => {
                self.nodes[i].machine = None;
                self.nodes[i].life += 1;
            }
            // The machine loses power.
            9 => self.power_off(i),
            10 if self.nodes[i].machine.is_none() => self.boot(i),
            11 if self.weather.drains && !self.nodes[i].paused => {
                let now = self.nodes[i].clock(self.t);
                self.nodes[i].draining = true;
                self.feed(i, now, Input::Drain);
                self.step(i);
            }
            12 if self.weather.hands => {
                let node = self.nodes[i].name.clone();
                if let Some(change) = self.store.delete_node(&node) {
                    self.broadcast(&change);
                }
            }
            13 if self.weather.hands => {
                let change = if self.rng.bool() {
                    self.store.delete_vip(vip)
                } else {
                    self.store.clear_holder(vip)
                };
                if let Some(change) = change {
                    self.broadcast(&change);
                }
            }
            _ => {}
        }
        // A broken watch is noticed and relisted once the way is free again.
        if !self.nodes[i].cut && !self.nodes[i].watch_frozen && self.nodes[i].machine.is_some() {
            self.relist(i);
        }
        if self.nodes[i].machine.is_none() && self.rng.bool() {
            self.boot(i);
        }
        self.next_fault();
    }
}

//! One node: the daemon's own machine, what is on its way to it, and the maps
//! that outlive it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use announcer::{
    ownership::{
        lease::{Answer, Claim, NodeLease, Reply, Request, Seen, VipLease},
        machine::{Input, Intent, Machine, Settings},
    },
    types::{BootTime, NodeName, Session},
    wire_state::{Adopted, WireEntry},
};

use crate::{scope::Scope, shared::Shared};

/// What a request is about; a machine has at most one under way for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Own,
    Peer(usize),
    Vip,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) request: Request,
    pub(crate) sent: u16,
    pub(crate) stage: Stage,
    /// Nobody knows when it arrives.
    pub(crate) late: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// On its way to the API server.
    Sent,
    /// Its answer is on its way back.
    Applied(Answer),
    /// It, or its answer, never arrives.
    Lost,
}

/// The watches of the driver: each is in order, none waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Vips,
    /// Node leases that are over.
    Sessions,
    /// One node lease by name.
    Named(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum News {
    Node(usize, Seen<NodeLease>),
    Opened(usize, NodeLease),
    Vip(Seen<VipLease>),
    NodesListed,
    VipsListed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stream {
    pub(crate) connected: bool,
    pub(crate) late: bool,
    /// Whether this watch has shown the VIP lease: a later list tells that it is gone.
    known: bool,
    pub(crate) queue: VecDeque<Vec<News>>,
}

/// An announcement of another node that this one's data plane is to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rival {
    Coming,
    Late,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) machine: Option<Shared<Machine>>,
    /// The tick of its next deadline.
    pub(crate) wake_at: u16,
    /// Stopped: neither fed nor polled. Its maps go on.
    pub(crate) paused: bool,
    /// Cut off from the API server.
    pub(crate) cut: bool,
    /// What stopped, cut or killed it happened in this tick.
    pub(crate) fresh: bool,
    pub(crate) draining: bool,
    pub(crate) flights: BTreeMap<Target, Flight>,
    pub(crate) streams: BTreeMap<Source, Stream>,
    pub(crate) rival: Option<Rival>,
    /// The maps: they outlive the daemon.
    pub(crate) answers_until: Option<BootTime>,
    session: Option<Session>,
    /// It has released the VIP, and answers until a successor does.
    pub(crate) offering: bool,
    /// What its machine must never do.
    pub(crate) flaw: Option<&'static str>,
}

impl Node {
    pub(crate) const fn down() -> Self {
        Self {
            machine: None,
            wake_at: 0,
            paused: false,
            cut: false,
            fresh: false,
            draining: false,
            flights: BTreeMap::new(),
            streams: BTreeMap::new(),
            rival: None,
            answers_until: None,
            session: None,
            offering: false,
            flaw: None,
        }
    }

    pub(crate) const fn running(&self) -> bool {
        self.machine.is_some() && !self.paused
    }

    pub(crate) fn answers(&self, now: BootTime) -> bool {
        self.answers_until.is_some_and(|until| now < until)
    }

    pub(crate) fn valid(&self, now: BootTime) -> bool {
        self.machine.as_ref().is_some_and(|m| m.heartbeat().valid(now))
    }

    pub(crate) fn holds_validly(&self, now: BootTime) -> bool {
        self.valid(now) && self.machine.as_ref().is_some_and(|m| m.held().next().is_some())
    }

    /// Starts the daemon, adopting what the maps still hold.
    pub(crate) fn boot(&mut self, scope: &Scope, me: usize, tick: u16, intent: Arc<Intent>) {
        let now = scope.clock(me, tick);
        let answering = self.answers_until.filter(|until| *until > now);
        let adopted = self.session.take().map(|session| Adopted {
            session: Some(session),
            answering: answering.map(|until| (scope.vip, until)).into_iter().collect(),
        });
        let settings = Settings {
            me: scope.names[me].clone(),
            timing: scope.timing,
            on_api_loss: scope.on_loss,
            handover_timeout: scope.handover_timeout,
            rebalance: scope.rebalance,
            probing: false,
        };
        let mut machine = Machine::new(settings, adopted);
        machine.input(now, Input::Intent(intent));
        self.machine = Some(Shared::new(machine));
        self.draining = false;
        self.wake_at = tick;
        self.streams =
            [Source::Vips, Source::Sessions].map(|s| (s, Stream::default())).into_iter().collect();
    }

    /// The daemon is gone: killed (its maps stay), or with its machine.
    pub(crate) fn die(&mut self, maps_too: bool) {
        self.machine = None;
        self.paused = false;
        self.draining = false;
        self.flights.clear();
        self.streams.clear();
        self.rival = None;
        if maps_too {
            self.answers_until = None;
            self.session = None;
            self.offering = false;
        }
    }

    pub(crate) fn feed(&mut self, now: BootTime, input: Input) {
        if let Some(machine) = &mut self.machine {
            machine.update(|machine| machine.input(now, input));
        }
    }

    /// What a watch has brought, as the machine's inputs.
    pub(crate) fn receive(&mut self, scope: &Scope, now: BootTime, source: Source) {
        let Some(stream) = self.streams.get_mut(&source) else { return };
        let news = stream.queue.pop_front().unwrap_or_default();
        stream.late &= !stream.queue.is_empty();
        let mut inputs = Vec::new();
        let mut listed = false;
        for item in news {
            match item {
                News::Node(node, seen) => {
                    inputs.push(Input::NodeLease(scope.names[node].clone(), seen));
                }
                News::Opened(node, lease) => {
                    inputs.push(Input::NodeOpened(scope.names[node].clone(), lease));
                }
                News::Vip(seen) => {
                    listed = matches!(seen, Seen::Present(_));
                    stream.known = listed;
                    inputs.push(Input::VipLease(scope.vip, seen));
                }
                News::NodesListed => inputs.push(Input::NodesListed),
                News::VipsListed => {
                    if stream.known && !listed {
                        stream.known = false;
                        inputs.push(Input::VipLease(scope.vip, Seen::Absent(None)));
                    }
                    inputs.push(Input::VipsListed);
                }
            }
        }
        for input in inputs {
            self.feed(now, input);
        }
    }

    /// The outcome of a request reaches the machine.
    pub(crate) fn answered(&mut self, now: BootTime, request: Request, answer: Option<Answer>) {
        let answer = answer.unwrap_or(match request {
            Request::ReadNode(_) | Request::WriteNode { .. } => Answer::Node(Reply::Failed),
            Request::ReadVip(_) | Request::WriteVip { .. } => Answer::Vip(Reply::Failed),
        });
        self.feed(now, Input::Answered(request, answer));
    }

    /// One turn of the driver's loop: decide, send, publish, sleep. Returns
    /// whether it has begun to answer, and so announces.
    pub(crate) fn step(&mut self, scope: &Scope, me: usize, tick: u16) -> bool {
        let now = scope.clock(me, tick);
        let Some(machine) = &mut self.machine else { return false };
        let answered = self.answers_until.is_some_and(|until| now < until);
        let requests = machine.update(|machine| machine.poll(now));
        if let Some(wire) = machine.wire(now) {
            self.answers_until = match wire.vips.get(&scope.vip) {
                // What is over is over: one such entry is like another.
                Some(WireEntry::Answer { until }) => Some(*until).filter(|until| now < *until),
                Some(WireEntry::Silent | WireEntry::Probe { .. }) | None => {
                    self.offering = false;
                    None
                }
            };
            self.session = wire.session;
        }
        self.offering &= machine.held().next().is_none();
        let finished = machine.finished();
        self.wake_at = scope.tick_of(me, machine.next_deadline(now)).max(tick + 1);
        let monitored = machine.monitored();
        self.watch_by_name(&monitored.iter().map(|n| scope.index(n)).collect::<Vec<_>>());
        for request in requests {
            self.send(scope, me, tick, request);
        }
        if finished {
            self.die(true);
            return false;
        }
        !answered && self.answers_until.is_some()
    }

    fn watch_by_name(&mut self, monitored: &[usize]) {
        self.streams.retain(|source, _| match source {
            Source::Named(node) => monitored.contains(node),
            Source::Vips | Source::Sessions => true,
        });
        for node in monitored {
            self.streams.entry(Source::Named(*node)).or_default();
        }
    }

    fn send(&mut self, scope: &Scope, me: usize, tick: u16, request: Request) {
        let target = match &request {
            Request::ReadNode(node) | Request::WriteNode { node, .. } => match scope.index(node) {
                node if node == me => Target::Own,
                node => Target::Peer(node),
            },
            Request::ReadVip(_) => Target::Vip,
            Request::WriteVip { claim, .. } => {
                self.offering |= matches!(claim, Claim::Released { offered_by: Some(by), .. } if *by == scope.names[me]);
                Target::Vip
            }
        };
        let stage = if self.cut { Stage::Lost } else { Stage::Sent };
        let flight = Flight { request, sent: tick, stage, late: false };
        if self.flights.insert(target, flight).is_some() {
            self.flaw = Some("two requests about one lease are under way at the same time");
        }
    }

    /// Whether the client has given up waiting.
    pub(crate) fn timed_out(&self, scope: &Scope, me: usize, tick: u16, flight: &Flight) -> bool {
        let gives_up = scope.clock(me, flight.sent) + scope.timing.request_timeout();
        scope.clock(me, tick) >= gives_up
    }

    pub(crate) fn in_session(&self) -> Option<&Session> {
        self.machine.as_ref()?.heartbeat().session()
    }

    pub(crate) fn inherited(&self) -> Option<&Session> {
        self.machine.as_ref()?.heartbeat().inherited()
    }
}

pub(crate) fn names(nodes: usize) -> Vec<NodeName> {
    ["node-a", "node-b", "node-c"][..nodes]
        .iter()
        .map(|name| name.parse().expect("a node name"))
        .collect()
}

//! Virtual time: what happens next, and to whom.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use announcer::{
    conflict::Claims,
    ownership::{
        lease::{Answer, Request},
        machine::Input,
    },
    types::{BootTime, Vip},
};
use fastrand::Rng;

use crate::{
    clock::{Clock, MS},
    cluster::Cluster,
    faults::{Trouble, Weather},
    invariants::Broken,
    lan::Round,
    node::{Flags, Node},
    requests::{Api, Sent, about_vip},
    seeds,
    store::Store,
    watching::Subject,
};

/// What can happen at a point of (true) time.
pub(crate) enum Event {
    /// Something for a daemon, if it still lives then.
    Daemon { node: usize, life: u64, what: ToDaemon },
    /// A request reaches the API server.
    Arrive(Sent),
    /// Its answer reaches the node.
    Answer(Sent, Answer),
    /// A list or the resumption of a watch reaches the API server.
    Watch { node: usize, life: u64, subject: Subject, epoch: u64 },
    /// Gratuitous ARP reaches a node's data plane.
    Frame { to: usize, vip: Vip, from: usize },
    /// A daemon is started, unless one runs.
    Boot { node: usize },
    /// Something goes wrong.
    Fault,
    /// Something that went wrong is over.
    Ease(Trouble),
}

/// What can happen to a daemon; a stopped one gets it when it goes on.
pub(crate) enum ToDaemon {
    Wake {
        ticket: u64,
    },
    Answer {
        request: Request,
        answer: Answer,
        sent: u64,
    },
    Watch {
        subject: Subject,
        epoch: u64,
        inputs: Vec<Input>,
    },
    Intent {
        local: bool,
    },
    Announce(Round),
    Claim {
        vip: Vip,
        from: usize,
    },
    Drain,
    /// The turn in which all that has come in lately is decided about.
    Turn,
}

struct Scheduled {
    at: u64,
    seq: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The greatest is what comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

pub(crate) struct World {
    pub(crate) t: u64,
    queue: BinaryHeap<Scheduled>,
    seq: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) vips: Vec<Vip>,
    pub(crate) cluster: Cluster,
    pub(crate) store: Store,
    pub(crate) api: Api,
    /// When each VIP lease was written last.
    pub(crate) vip_written: BTreeMap<Vip, u64>,
    pub(crate) rng: Rng,
    pub(crate) flags: Flags,
    pub(crate) weather: Weather,
    /// How long a daemon gathers what comes in before it decides; with thousands of
    /// VIPs a turn for each event takes too long.
    pub(crate) batch: u64,
    /// Nothing goes wrong any more.
    pub(crate) healed: bool,
    pub(crate) broken: Option<Broken>,
}

impl World {
    /// A cluster whose daemons have not been started yet.
    pub(crate) fn new(
        seed: u64,
        nodes: usize,
        vips: usize,
        flags: Flags,
        weather: Weather,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nodes: Vec<_> = (0..nodes)
            .map(|i| {
                let ppm = weather.drift.of_node(i, &mut rng);
                let origin = rng.u64(1..1_000_000) * 1_000 * MS;
                let name = format!("node-{i}").parse().expect("a node name");
                Node::new(name, Clock { ppm, origin })
            })
            .collect();
        let vip = |i| format!("192.0.{}.{}", i / 200, i % 200 + 1).parse().expect("a VIP");
        let vips: Vec<Vip> = (0..vips).map(vip).collect();
        let services = vips.iter().map(|vip| (*vip, None)).collect();
        let mut world = Self {
            t: 0,
            queue: BinaryHeap::new(),
            seq: 0,
            nodes,
            vips,
            cluster: Cluster { services, ..Cluster::default() },
            store: Store::default(),
            api: Api::default(),
            vip_written: BTreeMap::new(),
            rng,
            flags,
            weather,
            batch: 0,
            healed: false,
            broken: None,
        };
        if world.stormy() {
            world.next_fault();
        }
        world
    }

    /// Every daemon is started, within so much time.
    pub(crate) fn started(mut self, within: u64) -> Self {
        for node in 0..self.nodes.len() {
            let at = self.rng.u64(0..=within);
            self.schedule(at, Event::Boot { node });
        }
        self
    }

    pub(crate) const fn stormy(&self) -> bool {
        !self.weather.faults.is_empty()
    }

    /// Whether messages are lost and late.
    pub(crate) const fn rough(&self) -> bool {
        self.stormy() && !self.healed
    }

    /// What the clock of a node shows.
    pub(crate) fn now(&self, i: usize) -> BootTime {
        self.nodes[i].clock.at(self.t)
    }

    /// Runs until `until` (true time), judging every step.
    pub(crate) fn run(&mut self, until: u64) -> Result<(), Broken> {
        self.run_watching(until, |_| Ok(()))
    }

    /// The same with a rule of its own, looked at after every step.
    pub(crate) fn run_watching(
        &mut self,
        until: u64,
        mut rule: impl FnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        while self.queue.peek().is_some_and(|next| next.at <= until) {
            let Some(Scheduled { at, event, .. }) = self.queue.pop() else { break };
            self.t = at;
            self.handle(event);
            if let Some(broken) = self.broken.take() {
                return Err(broken);
            }
            rule(self)?;
        }
        self.t = until;
        Ok(())
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.queue.push(Scheduled { at: at.max(self.t), seq: self.seq, event });
    }

    /// A number that was never given before.
    pub(crate) const fn ticket(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Daemon { node, life, what } => self.daemon(node, life, what),
            Event::Arrive(sent) => self.arrive(sent),
            Event::Answer(sent, answer) => self.answer(sent, answer),
            Event::Watch { node, life, subject, epoch } => {
                self.serve_watch(node, life, subject, epoch);
            }
            Event::Frame { to, vip, from } => self.frame(to, vip, from),
            Event::Boot { node } => self.boot(node),
            Event::Fault => self.fault(),
            Event::Ease(trouble) => self.ease(trouble),
        }
    }

    /// Starts the daemon on a node, adopting what its maps still hold.
    pub(crate) fn boot(&mut self, i: usize) {
        if self.nodes[i].machine.is_some() {
            return;
        }
        self.trace(|w| format!("{} starts", w.nodes[i].name));
        let now = self.now(i);
        self.nodes[i].boot(now, &self.flags);
        self.begin_watches(i);
        self.proclaim_to(i);
        self.turn(i);
    }

    fn daemon(&mut self, i: usize, life: u64, what: ToDaemon) {
        let node = &mut self.nodes[i];
        if node.life != life || node.machine.is_none() {
            return;
        }
        if let Some(backlog) = &mut node.paused {
            backlog.push(what);
            return;
        }
        match what {
            ToDaemon::Wake { ticket } if ticket != node.ticket => return,
            ToDaemon::Wake { .. } => {}
            ToDaemon::Answer { request, answer, sent } => {
                node.outbox.under_way -= usize::from(about_vip(&request));
                self.remember_answer(i, &request, &answer, sent);
                self.feed(i, Input::Answered(request, answer));
            }
            ToDaemon::Watch { subject, epoch, inputs } => {
                if !self.expects(i, &subject, epoch) {
                    return;
                }
                inputs.into_iter().for_each(|input| self.feed(i, input));
            }
            ToDaemon::Intent { local } => {
                if !local && !self.reaches_api(i) {
                    return self.proclaim_to(i);
                }
                let intent = self.intent_for(i);
                self.feed(i, Input::Intent(intent));
            }
            ToDaemon::Announce(round) => return self.send_round(i, round),
            ToDaemon::Claim { vip, from } => {
                let takes_over = self.nodes[i].met.contains(&from);
                self.remember_claim(i, vip, takes_over);
                self.feed(i, Input::Rival { vip, takes_over });
            }
            ToDaemon::Drain => {
                self.nodes[i].draining = true;
                self.feed(i, Input::Drain);
            }
            ToDaemon::Turn => {
                self.nodes[i].turn_due = false;
                return self.turn(i);
            }
        }
        self.turn_soon(i);
    }

    /// At once, or together with what comes in within the time of a batch.
    fn turn_soon(&mut self, i: usize) {
        if self.batch == 0 {
            return self.turn(i);
        }
        let node = &mut self.nodes[i];
        if !std::mem::replace(&mut node.turn_due, true) {
            let life = node.life;
            let at = self.t + self.batch;
            self.schedule(at, Event::Daemon { node: i, life, what: ToDaemon::Turn });
        }
    }

    fn feed(&mut self, i: usize, input: Input) {
        if !matches!(input, Input::Intent(_)) {
            self.trace(|w| format!("  {} <- {input:?}", w.nodes[i].name));
        }
        self.remember_input(i, &input);
        let now = self.now(i);
        if let Some(machine) = &mut self.nodes[i].machine {
            machine.input(now, input);
        }
    }

    /// One turn of a daemon's loop: decide, publish, send, sleep.
    pub(crate) fn turn(&mut self, i: usize) {
        let now = self.now(i);
        let node = &mut self.nodes[i];
        let Some(machine) = &mut node.machine else { return };
        let requests = machine.poll(now);
        let mut wire = machine.wire(now);
        if let (Some(wire), Some(claims)) = (&mut wire, &mut node.claims) {
            for vip in machine.take_first_claims() {
                claims.claim_first(now, vip);
            }
            claims.follow(now, wire);
        }
        node.informed = wire.is_some();
        let fresh = match wire {
            Some(wire) => {
                if machine.heartbeat().inherited().is_none() {
                    node.predecessor = None;
                }
                node.plane.follow(now, wire)
            }
            None => Vec::new(),
        };
        node.held = machine.held().collect();
        let finished = machine.finished();
        self.judge_turn(i);
        if finished {
            self.trace(|w| format!("{} leaves in order", w.nodes[i].name));
            return self.nodes[i].vanish();
        }
        self.announce(i, fresh);
        self.follow_monitored(i);
        self.post(i, requests);
        self.sleep(i);
    }

    fn sleep(&mut self, i: usize) {
        let now = self.now(i);
        let ticket = self.ticket();
        let node = &mut self.nodes[i];
        let Some(machine) = &node.machine else { return };
        let wake = machine.next_deadline(now);
        let wake = node.outbox.deadline(now).map_or(wake, |send| send.min(wake));
        let probing = node.claims.as_ref().and_then(Claims::next_deadline);
        let wake = probing.map_or(wake, |ends| ends.min(wake).max(now));
        node.ticket = ticket;
        let (life, at) = (node.life, node.clock.true_time(wake));
        self.schedule(at, Event::Daemon { node: i, life, what: ToDaemon::Wake { ticket } });
    }

    /// A stopped daemon goes on. What has come in meanwhile is taken up in any
    /// order, but that of each watch.
    pub(crate) fn resume(&mut self, i: usize) {
        let Some(backlog) = self.nodes[i].paused.take() else { return };
        self.trace(|w| format!("{} goes on", w.nodes[i].name));
        let life = self.nodes[i].life;
        let mut watches = BTreeMap::new();
        for what in backlog {
            let mut at = self.t + self.rng.u64(0..MS);
            if let ToDaemon::Watch { subject, .. } = &what {
                let due = watches.entry(subject.clone()).or_insert(at);
                at = at.max(*due);
                *due = at;
            }
            self.schedule(at, Event::Daemon { node: i, life, what });
        }
    }

    /// Asks a daemon to hand over and leave.
    pub(crate) fn drain(&mut self, i: usize) {
        self.trace(|w| format!("{} is drained", w.nodes[i].name));
        let life = self.nodes[i].life;
        self.schedule(self.t, Event::Daemon { node: i, life, what: ToDaemon::Drain });
    }

    /// Tells the story, if somebody wants to hear it.
    pub(crate) fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if seeds::single().is_some() {
            seeds::tell(self.t, &line(self));
        }
    }
}

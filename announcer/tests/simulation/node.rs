//! A machine: its clock, the daemon on it, and the data plane that outlives the
//! daemon.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU32,
    time::Duration,
};

use announcer::{
    conflict::{self, Claims, OnConflict},
    ownership::{
        heartbeat::OnApiLoss,
        lease::Request,
        machine::{Machine, Settings},
        pace::Pace,
        timing::Timing,
    },
    types::{BootTime, NodeName, Session, Vip},
    wire_state::{Adopted, WireEntry, WireState},
};

use crate::{
    clock::Clock,
    record::Record,
    watching::{Subject, Watch},
    world::ToDaemon,
};

pub(crate) const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the daemons are told at their start.
#[derive(Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) timing: Timing,
    pub(crate) on_loss: OnApiLoss,
    pub(crate) rebalance: Option<Duration>,
    /// As `--probe-interval`; `None`: off.
    pub(crate) probe_interval: Option<Duration>,
}

impl Flags {
    pub(crate) fn settings(&self, me: NodeName) -> Settings {
        Settings {
            me,
            timing: self.timing,
            on_api_loss: self.on_loss,
            handover_timeout: HANDOVER_TIMEOUT,
            rebalance: self.rebalance,
            probing: self.probe_interval.is_some(),
        }
    }

    /// What stands between the machine and the wire; no stranger ever speaks here.
    fn claims(&self, me: NodeName) -> Claims {
        let settings = conflict::Settings {
            on_conflict: OnConflict::Defend,
            probe_interval: self.probe_interval,
            frames_per_second: NonZeroU32::MAX,
        };
        Claims::new(settings, me)
    }
}

pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) clock: Clock,
    pub(crate) machine: Option<Machine>,
    /// Of the daemon, if one runs.
    pub(crate) claims: Option<Claims>,
    /// The daemon that was killed, as long as the data plane still does what it said.
    pub(crate) predecessor: Option<Machine>,
    /// Counts the daemons; what was meant for a former one does not reach the next.
    pub(crate) life: u64,
    /// Only the wake-up of the last turn counts.
    pub(crate) ticket: u64,
    pub(crate) turn_due: bool,
    /// Whether the daemon has come to know what is wanted.
    pub(crate) informed: bool,
    /// Stopped (SIGSTOP, starved): what has come in since.
    pub(crate) paused: Option<Vec<ToDaemon>>,
    /// Whether its frames reach the LAN, and the LAN's reach it.
    pub(crate) lan: bool,
    /// Whether it reaches the API server.
    pub(crate) api: bool,
    /// Watches of which nothing arrives though everything else does.
    pub(crate) frozen: Frozen,
    pub(crate) watches: BTreeMap<Subject, Watch>,
    /// When the last intent that is under way arrives.
    pub(crate) intent_due: u64,
    pub(crate) plane: Plane,
    /// Nodes whose MAC addresses it has read in their leases.
    pub(crate) met: BTreeSet<usize>,
    pub(crate) outbox: Outbox,
    pub(crate) draining: bool,
    /// The VIPs it holds by its own account.
    pub(crate) held: BTreeSet<Vip>,
    pub(crate) record: Record,
}

/// Which watches stand still.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Frozen {
    Nothing,
    One(Subject),
    /// All that are about node leases.
    Nodes,
    All,
}

/// Requests about VIPs wait here for their turn, as in the driver.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) waiting: VecDeque<Request>,
    pub(crate) under_way: usize,
    pub(crate) pace: Pace,
}

impl Outbox {
    const UNDER_WAY: usize = 32;

    /// The next request, if it may go now.
    pub(crate) fn next(&mut self, now: BootTime) -> Option<Request> {
        if self.under_way >= Self::UNDER_WAY || self.pace.next(now) > now {
            return None;
        }
        let request = self.waiting.pop_front()?;
        self.pace.take(now);
        self.under_way += 1;
        Some(request)
    }

    /// When to look again, should nothing else happen.
    pub(crate) fn deadline(&self, now: BootTime) -> Option<BootTime> {
        let waits = !self.waiting.is_empty() && self.under_way < Self::UNDER_WAY;
        waits.then(|| self.pace.next(now))
    }
}

/// The pinned maps and the responder's account of them. They outlive the daemon,
/// not the machine.
#[derive(Default)]
pub(crate) struct Plane {
    /// What is answered, until when.
    pub(crate) map: BTreeMap<Vip, BootTime>,
    pub(crate) session: Option<Session>,
    /// Which takeover the announcements of a VIP belong to; gone with the daemon.
    pub(crate) announced: BTreeMap<Vip, u64>,
    takeovers: u64,
}

impl Plane {
    pub(crate) fn answers(&self, now: BootTime, vip: Vip) -> bool {
        self.map.get(&vip).is_some_and(|until| now < *until)
    }

    /// Follows the desired state. Returns what is to be announced anew: whatever is
    /// answered now and was not all the time since its last announcement began.
    pub(crate) fn follow(&mut self, now: BootTime, wire: WireState) -> Vec<(Vip, u64)> {
        let answered = wire.vips.iter().filter_map(|(vip, entry)| match entry {
            WireEntry::Answer { until, .. } => Some((*vip, *until)),
            WireEntry::Silent | WireEntry::Probe { .. } => None,
        });
        let before = std::mem::replace(&mut self.map, answered.collect());
        self.session = wire.session;
        self.announced.retain(|vip, _| self.map.contains_key(vip));
        let mut fresh = Vec::new();
        for (vip, until) in &self.map {
            let answered_before = before.get(vip).is_some_and(|until| now < *until);
            if now < *until && !(answered_before && self.announced.contains_key(vip)) {
                self.takeovers += 1;
                self.announced.insert(*vip, self.takeovers);
                fresh.push((*vip, self.takeovers));
            }
        }
        fresh
    }

    fn left_behind(&mut self, now: BootTime) -> Option<Adopted> {
        self.announced.clear();
        let answering = self.map.iter().filter(|(_, until)| now < **until);
        let answering = answering.map(|(vip, until)| (*vip, *until)).collect();
        Some(Adopted { session: Some(self.session.clone()?), answering })
    }
}

impl Node {
    pub(crate) fn new(name: NodeName, clock: Clock) -> Self {
        Self {
            name,
            clock,
            machine: None,
            claims: None,
            predecessor: None,
            life: 0,
            ticket: 0,
            turn_due: false,
            informed: false,
            paused: None,
            lan: true,
            api: true,
            frozen: Frozen::Nothing,
            watches: BTreeMap::new(),
            intent_due: 0,
            plane: Plane::default(),
            met: BTreeSet::new(),
            outbox: Outbox::default(),
            draining: false,
            held: BTreeSet::new(),
            record: Record::default(),
        }
    }

    /// A daemon starts, and adopts what the maps still hold.
    pub(crate) fn boot(&mut self, now: BootTime, flags: &Flags) {
        self.life += 1;
        self.paused = None;
        self.turn_due = false;
        self.informed = false;
        self.watches.clear();
        self.met.clear();
        self.outbox = Outbox::default();
        self.draining = false;
        self.held.clear();
        let adopted = self.plane.left_behind(now);
        self.record.booted(now, adopted.as_ref());
        self.claims = Some(flags.claims(self.name.clone()));
        self.machine = Some(Machine::new(flags.settings(self.name.clone()), adopted));
    }

    /// The daemon is killed; its maps stay.
    pub(crate) fn kill(&mut self) {
        self.claims = None;
        if let Some(machine) = self.machine.take() {
            self.predecessor = Some(machine);
        }
        self.life += 1;
        self.paused = None;
        self.held.clear();
    }

    /// The machine loses power, or the daemon leaves in order: nothing stays.
    pub(crate) fn vanish(&mut self) {
        self.kill();
        self.predecessor = None;
        self.plane = Plane::default();
        self.record = Record::default();
    }

    pub(crate) fn running(&self) -> bool {
        self.machine.is_some() && self.paused.is_none()
    }

    /// Whether it is in a session that it knows to be over.
    pub(crate) fn goes_on_though_over(&self) -> bool {
        let session = self.machine.as_ref().and_then(|machine| machine.heartbeat().session());
        session.is_some() && session == self.record.over.as_ref()
    }

    /// Whether a daemon runs that decides about every answer: it knows what is
    /// wanted, has compared its session, and has had a turn since it was stopped.
    pub(crate) fn decides(&self) -> bool {
        let compared = |m: &Machine| m.heartbeat().inherited().is_none();
        let awake = self.running() && self.record.promised.is_none();
        awake && self.informed && self.machine.as_ref().is_some_and(compared)
    }

    pub(crate) fn answers(&self, t: u64, vip: Vip) -> bool {
        self.plane.answers(self.clock.at(t), vip)
    }

    /// Whether the daemon, or the killed one whose word still stands, is within
    /// the validity of its session.
    pub(crate) fn valid(&self, t: u64) -> bool {
        self.valid_in(t, None)
    }

    /// The same for one session, or for any.
    pub(crate) fn valid_in(&self, t: u64, session: Option<&Session>) -> bool {
        let now = self.clock.at(t);
        let machines = self.machine.iter().chain(&self.predecessor);
        let mut heartbeats = machines.map(Machine::heartbeat).filter(|h| h.valid(now));
        heartbeats.any(|h| session.is_none() || h.session() == session)
    }

    /// Whether it holds the VIP by its own account, and is valid.
    pub(crate) fn holds_validly(&self, t: u64, vip: Vip) -> bool {
        self.held.contains(&vip) && self.valid(t)
    }
}

//! Everything that goes wrong: what, how often, for how long.

use std::{collections::BTreeSet, time::Duration};

use announcer::types::Vip;
use fastrand::Rng;

use crate::{
    clock::MS,
    node::Frozen,
    watching::Subject,
    world::{Event, World},
};

/// The least time in which people see a lease and delete it.
const A_GLANCE: u64 = 200 * MS;

/// How hard life is.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    /// What goes wrong; what is there twice does so twice as often.
    pub(crate) faults: &'static [Fault],
    /// Mean time between two of them.
    pub(crate) every: Duration,
    pub(crate) drift: Drift,
    /// Within how many milliseconds a watch that broke, or was cut off, catches up.
    pub(crate) catch_up: u64,
}

/// How far clock rates are apart.
#[derive(Clone, Copy)]
pub(crate) enum Drift {
    /// Each up to so many parts per million off, to either side.
    UpTo(i64),
    /// Each so many off, to either side.
    Apart(i64),
    /// One runs fast by so many, all others are right.
    OneFast(i64),
}

impl Drift {
    pub(crate) fn of_node(self, i: usize, rng: &mut Rng) -> i64 {
        match self {
            Self::UpTo(ppm) => rng.i64(-ppm..=ppm),
            Self::Apart(ppm) => rng.choice([-ppm, ppm]).unwrap_or(ppm),
            Self::OneFast(ppm) => ppm * i64::from(i == 0),
        }
    }
}

/// Something that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The API server answers nobody for a while.
    Outage,
    /// The API server is restarted: what was under way is lost, watches break, and
    /// their history is gone.
    Restart,
    /// Old history is gone: a watch that breaks cannot be resumed.
    Compaction,
    /// For a while every other write is refused as a conflict.
    Conflicts,
    /// Somebody annotates leases.
    Touch,
    /// A node is cut off from the API server.
    CutApi,
    /// From the LAN.
    CutLan,
    /// From both.
    CutOff,
    /// Its link loses the carrier, which it knows.
    Unplug,
    /// Watches stand still while all else works.
    Freeze,
    /// Watches break.
    BreakWatches,
    /// A daemon is stopped (SIGSTOP, starved), and goes on later.
    Pause,
    /// A daemon is killed, its maps stay; it is started again later.
    Kill,
    /// A machine loses power.
    PowerOff,
    /// A daemon is told to leave in order, and is started again later.
    Drain,
    /// A node is excluded from load balancers or included again, once or in a flurry.
    Exclude,
    /// A Service is deleted, or created again.
    Service,
    /// The endpoints of a Service with `externalTrafficPolicy: Local` move.
    Endpoints,
    /// Somebody deletes a node lease.
    DeleteNodeLease,
    /// Somebody deletes a VIP lease.
    DeleteVipLease,
    /// Somebody clears the holder in a VIP lease.
    ClearHolder,
    /// A machine gets another node name: its daemon is killed or drained, and
    /// started again under that name. The old lease stays behind.
    Rename,
}

/// What ends by itself after a while.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Outage,
    Conflicts,
    Api(usize),
    Lan(usize),
    Carrier(usize),
    Frozen(usize),
    Paused(usize),
    /// Its label is still changed so many times.
    Flapping(usize, u8),
}

impl World {
    pub(crate) fn next_fault(&mut self) {
        let mean = u64::try_from(self.weather.every.as_nanos()).expect("short intervals");
        let at = self.t + self.rng.u64(1..mean * 2);
        self.schedule(at, Event::Fault);
    }

    /// One thing goes wrong, and the next is on its way.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        if let Some(fault) = self.rng.choice(self.weather.faults.iter().copied()) {
            let i = self.rng.usize(..self.nodes.len());
            self.strike(fault, i);
        }
        self.next_fault();
    }

    /// One thing goes wrong with this node (or with what all share).
    pub(crate) fn strike(&mut self, fault: Fault, i: usize) {
        let vip = self.vips[self.rng.usize(..self.vips.len())];
        let long = self.length();
        self.trace(|w| format!("fault: {fault:?}, {} or {vip}, {} ms", w.nodes[i].name, long / MS));
        match fault {
            Fault::Outage => {
                self.api.outage = true;
                self.ends(Trouble::Outage, long);
            }
            Fault::Restart => self.restart_api(),
            Fault::Compaction => self.store.compact(),
            Fault::Conflicts => {
                self.api.quarrelsome = true;
                self.ends(Trouble::Conflicts, long);
            }
            Fault::Touch => self.touch(i, vip),
            Fault::CutApi | Fault::CutLan | Fault::CutOff => {
                if fault != Fault::CutLan {
                    self.nodes[i].api = false;
                    self.ends(Trouble::Api(i), long);
                }
                if fault != Fault::CutApi {
                    self.nodes[i].lan = false;
                    self.ends(Trouble::Lan(i), long);
                }
            }
            Fault::Unplug => {
                self.nodes[i].lan = false;
                self.cluster.unplugged.insert(i);
                self.link_changed(i);
                self.ends(Trouble::Carrier(i), long);
            }
            Fault::Freeze => {
                let one = self.rng.choice([Subject::Vips, Subject::Sessions]);
                let one = one.filter(|_| self.rng.bool());
                self.nodes[i].frozen = one.map_or(Frozen::All, Frozen::One);
                self.ends(Trouble::Frozen(i), long);
            }
            Fault::BreakWatches => self.break_watches(i),
            Fault::Pause => self.pause(i, long),
            Fault::Kill | Fault::PowerOff => self.crash(i, fault == Fault::PowerOff, long),
            Fault::Drain => {
                self.drain(i);
                self.schedule(self.t + long, Event::Boot { node: i });
            }
            Fault::Exclude => {
                let times = if self.rng.bool() { 1 } else { self.rng.u8(2..12) };
                self.ends(Trouble::Flapping(i, times), 0);
            }
            Fault::Service => {
                if self.cluster.services.remove(&vip).is_none() {
                    self.cluster.services.insert(vip, None);
                }
                self.proclaim();
            }
            Fault::Endpoints => self.move_endpoints(vip),
            Fault::DeleteNodeLease => {
                let name = self.nodes[i].name.clone();
                self.by_hand(|w| w.store.delete_node(&name));
            }
            Fault::DeleteVipLease | Fault::ClearHolder if !self.holder_would_see(vip) => {}
            Fault::DeleteVipLease => self.by_hand(|w| w.store.delete_vip(vip)),
            Fault::ClearHolder => self.by_hand(|w| w.store.clear_holder(vip)),
            Fault::Rename => self.rename(i, long),
        }
    }

    /// Troubles are short, about as long as a lease, or long.
    fn length(&mut self) -> u64 {
        match self.rng.u8(..3) {
            0 => self.rng.u64(10..600) * MS,
            1 => self.rng.u64(500..4500) * MS,
            _ => self.rng.u64(4000..15_000) * MS,
        }
    }

    fn ends(&mut self, trouble: Trouble, after: u64) {
        self.schedule(self.t + after, Event::Ease(trouble));
    }

    /// A trouble is over.
    pub(crate) fn ease(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Outage => {
                self.api.outage = false;
                (0..self.nodes.len()).for_each(|i| self.resume_watches(i));
            }
            Trouble::Conflicts => self.api.quarrelsome = false,
            Trouble::Api(i) => {
                self.nodes[i].api = true;
                self.resume_watches(i);
            }
            Trouble::Lan(i) => self.nodes[i].lan = !self.cluster.unplugged.contains(&i),
            Trouble::Carrier(i) => {
                if self.cluster.unplugged.remove(&i) {
                    self.nodes[i].lan = true;
                    self.link_changed(i);
                    self.announce_again(i);
                }
            }
            Trouble::Frozen(i) => {
                self.nodes[i].frozen = Frozen::Nothing;
                self.resume_watches(i);
            }
            Trouble::Paused(i) => self.resume(i),
            Trouble::Flapping(_, 0) => {}
            Trouble::Flapping(i, times) => {
                if !self.cluster.excluded.remove(&i) {
                    self.cluster.excluded.insert(i);
                }
                self.proclaim();
                let pause = self.rng.u64(1..300) * MS;
                self.ends(Trouble::Flapping(i, times - 1), pause);
            }
        }
    }

    /// The API server stops and starts: requests under way are lost, watches
    /// break, and there is no history to resume them from.
    pub(crate) fn restart_api(&mut self) {
        self.api.restarts += 1;
        self.store.compact();
        (0..self.nodes.len()).for_each(|i| self.break_watches(i));
    }

    /// A daemon is stopped for so long.
    pub(crate) fn pause(&mut self, i: usize, long: u64) {
        let node = &mut self.nodes[i];
        if node.running() {
            node.paused = Some(Vec::new());
            self.remember_pause(i);
            self.ends(Trouble::Paused(i), long);
        }
    }

    /// A daemon is killed, or its machine loses power, until it starts again.
    pub(crate) fn crash(&mut self, i: usize, power: bool, long: u64) {
        if power {
            self.nodes[i].vanish();
        } else {
            self.nodes[i].kill();
        }
        self.schedule(self.t + long, Event::Boot { node: i });
    }

    fn rename(&mut self, i: usize, long: u64) {
        if self.rng.bool() {
            self.nodes[i].kill();
        } else {
            // The kubelet's machine is rebooted for it, mostly.
            self.nodes[i].vanish();
        }
        let name = format!("renamed-{}-{i}", self.ticket());
        self.nodes[i].name = name.parse().expect("a node name");
        self.schedule(self.t + long, Event::Boot { node: i });
        self.proclaim();
    }

    fn move_endpoints(&mut self, vip: Vip) {
        let nodes: BTreeSet<_> = (0..self.nodes.len()).filter(|_| self.rng.bool()).collect();
        let local = Some(nodes).filter(|nodes| !nodes.is_empty());
        if let Some(endpoints) = self.cluster.services.get_mut(&vip) {
            *endpoints = local;
        }
        self.proclaim();
    }

    fn touch(&mut self, i: usize, vip: Vip) {
        let name = self.nodes[i].name.clone();
        if self.rng.bool() {
            self.by_hand(|w| w.store.touch_node(&name));
        } else {
            self.by_hand(|w| w.store.touch_vip(vip));
        }
    }

    /// Whether a holder would see at once what becomes of its lease.
    ///
    /// If not, it is a known limit: a node that starts meanwhile finds a VIP that
    /// nobody ever held, as far as it can tell, and only a probe on the wire would
    /// tell it more. The same goes for a lease that is gone before others saw it.
    fn holder_would_see(&self, vip: Vip) -> bool {
        let sees = |i: usize| {
            let watches = self.nodes[i].frozen == Frozen::Nothing && self.reaches_api(i);
            self.nodes[i].running() && watches
        };
        let holder = self.store.holder(vip);
        let holder = self.nodes.iter().position(|node| Some(&node.name) == holder);
        let written = self.vip_written.get(&vip).copied().unwrap_or(0);
        holder.is_none_or(sees) && written + A_GLANCE < self.t
    }

    /// Somebody writes to the store.
    pub(crate) fn by_hand(&mut self, write: impl FnOnce(&mut Self) -> bool) {
        if write(self) {
            self.broadcast();
        }
    }

    /// Ends everything that is wrong, and brings every node back.
    pub(crate) fn heal(&mut self) {
        self.trace(|_| "all is well again".to_owned());
        self.healed = true;
        self.ease(Trouble::Outage);
        self.ease(Trouble::Conflicts);
        for i in 0..self.nodes.len() {
            self.ease(Trouble::Carrier(i));
            self.ease(Trouble::Lan(i));
            self.ease(Trouble::Frozen(i));
            self.ease(Trouble::Api(i));
            self.ease(Trouble::Paused(i));
            if self.nodes[i].draining {
                self.nodes[i].vanish();
            }
            self.boot(i);
            self.proclaim_to(i);
        }
    }
}

//! The whole world at one moment, and what must be true of it.

use std::sync::Arc;

use announcer::{
    ownership::{
        heartbeat::OnApiLoss,
        lease::Request,
        machine::{Intent, VipIntent},
    },
    types::BootTime,
};

use crate::{
    landmarks::Landmark,
    node::{Node, Rival},
    scope::{Faults, Orders, Scope},
    shared::Shared,
    store::Store,
};

#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct World {
    pub(crate) tick: u16,
    pub(crate) store: Shared<Store>,
    pub(crate) nodes: Vec<Shared<Node>>,
    /// Writes that their clients have given up, and that may still be applied.
    pub(crate) ghosts: Vec<Request>,
    pub(crate) left: Faults,
    /// The API server is gone; so all nodes are cut off.
    pub(crate) outage: bool,
    /// Ticks of calm left; faults are over.
    pub(crate) calm: Option<u16>,
    /// Nothing has happened in this tick yet.
    pub(crate) dawn: bool,
    /// What has happened in this tick, counted.
    pub(crate) events: u16,
    /// A rule was broken within a tick of calm, or by a step.
    pub(crate) flaw: Option<&'static str>,
}

/// More than that happens in a tick only if it has no end.
const MOST_IN_A_TICK: u16 = 200;

impl World {
    /// The state from which faults begin: the first node has the VIP, and the others
    /// came after that.
    pub(crate) fn settled(scope: &Scope) -> Self {
        let nodes = scope.names.len();
        let mut world = Self {
            tick: 0,
            store: Shared::new(Store::new(nodes)),
            nodes: (0..nodes).map(|_| Shared::new(Node::down())).collect(),
            ghosts: Vec::new(),
            left: Faults::default(),
            outage: false,
            calm: None,
            dawn: false,
            events: 0,
            flaw: None,
        };
        world.boot_node(scope, 0);
        while scope.settled > world.tick && !world.nodes[0].holds_validly(world.now(scope, 0)) {
            world.usual_tick(scope);
        }
        (1..nodes).for_each(|i| world.boot_node(scope, i));
        while world.tick < scope.settled {
            world.usual_tick(scope);
        }
        let holds = world.nodes[0].holds_validly(world.now(scope, 0));
        assert!(holds || scope.settled == 0, "the first node has the VIP");
        world.left = scope.faults;
        world
    }

    pub(crate) fn boot_node(&mut self, scope: &Scope, i: usize) {
        let eligible = Arc::new(scope.names.iter().cloned().collect());
        let vips = [(scope.vip, VipIntent::on(eligible))].into_iter().collect();
        let intent = Intent { vips, ..Intent::default() };
        let tick = self.tick;
        self.nodes[i].update(|node| node.boot(scope, i, tick, Arc::new(intent)));
    }

    pub(crate) fn now(&self, scope: &Scope, i: usize) -> BootTime {
        scope.clock(i, self.tick)
    }

    /// One tick in the usual order, without any fault.
    fn usual_tick(&mut self, scope: &Scope) {
        while self.flaw.is_none()
            && let Some(action) = self.due(scope).first().copied()
        {
            self.perform(scope, action);
            self.flaw = self.broken(scope);
        }
        self.advance();
    }

    /// Something happens in this tick. (That is not counted where every order is
    /// explored: states that are the same but for the count would be told apart.)
    pub(crate) fn count_event(&mut self, scope: &Scope) {
        if scope.orders == Orders::Every && self.calm.is_none() {
            return;
        }
        self.events += 1;
        if self.events > MOST_IN_A_TICK {
            self.flaw = Some("requests, or answers to them, cause each other without end");
        }
    }

    /// The next tick begins.
    pub(crate) fn advance(&mut self) {
        self.tick += 1;
        self.events = 0;
        self.dawn = true;
        let tick = self.tick;
        self.store.update(|store| store.tick(tick));
        for node in &mut self.nodes {
            if node.fresh {
                node.update(|node| node.fresh = false);
            }
        }
    }

    /// Faults end, and time goes on in calm weather.
    pub(crate) fn calm(&mut self, scope: &Scope) {
        if self.calm.is_none() {
            self.heal(scope);
        }
        self.usual_tick(scope);
        let left = self.calm.unwrap_or(scope.calm) - 1;
        self.calm = Some(left);
        if left == 0 {
            scope.seen.mark(Landmark::Ended);
        }
    }

    pub(crate) fn heal(&mut self, scope: &Scope) {
        self.left = Faults::default();
        self.ghosts.clear();
        self.outage = false;
        for node in &mut self.nodes {
            node.update(|node| {
                (node.paused, node.cut) = (false, false);
                node.rival = node.rival.map(|_| Rival::Coming);
                node.streams.values_mut().for_each(|stream| stream.late = false);
                node.flights.values_mut().for_each(|flight| flight.late = false);
            });
        }
        // The dead stay dead, as long as there is somebody else.
        if self.nodes.iter().all(|node| node.machine.is_none() || node.draining) {
            let down = (0..self.nodes.len()).filter(|i| self.nodes[*i].machine.is_none());
            for i in down.collect::<Vec<_>>() {
                self.boot_node(scope, i);
            }
        }
    }

    /// What is wrong with this state, if anything.
    pub(crate) fn broken(&self, scope: &Scope) -> Option<&'static str> {
        let lost = self.calm == Some(0) && !self.held(scope);
        let end = lost.then_some("after all that calm, no node holds the VIP and answers alone");
        let node = || self.nodes.iter().find_map(|node| node.flaw);
        self.flaw.or_else(node).or_else(|| self.unsound(scope)).or(end)
    }

    /// At most one node is entitled to the VIP, and at most one answers.
    fn unsound(&self, scope: &Scope) -> Option<&'static str> {
        let now = |i: usize| self.now(scope, i);
        if self.count(|i, node| node.holds_validly(now(i))) > 1 {
            return Some("two nodes hold the VIP validly");
        }
        // Who gives it away answers until the successor does, and a little longer.
        if self.count(|i, node| node.answers(now(i)) && !node.offering) < 2 {
            return None;
        }
        match scope.on_loss {
            OnApiLoss::Withdraw => Some("two nodes answer"),
            OnApiLoss::Hold if self.count(|i, n| n.answers(now(i)) && n.deaf()) > 0 => None,
            OnApiLoss::Hold => Some("two nodes answer, and have heard of each other"),
        }
    }

    fn count(&self, which: impl Fn(usize, &Node) -> bool) -> usize {
        self.nodes.iter().enumerate().filter(|(i, node)| which(*i, node)).count()
    }

    /// Exactly one node holds the VIP and answers, if there is one that can.
    fn held(&self, scope: &Scope) -> bool {
        let now = |i: usize| self.now(scope, i);
        let able = self.count(|_, node| node.machine.is_some() && !node.draining);
        let answers = self.count(|i, node| node.answers(now(i)));
        let holds = self.count(|i, node| node.answers(now(i)) && node.holds_validly(now(i)));
        able == 0 || (answers, holds) == (1, 1)
    }
}

impl Node {
    /// Whether it cannot know who else announces the VIP: it does not run, or did
    /// not and has not looked at the API server yet, or the frame is on its way.
    fn deaf(&self) -> bool {
        !self.running() || self.inherited().is_some() || self.rival.is_some()
    }
}

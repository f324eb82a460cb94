//! What can happen next.

use crate::{
    node::{Rival, Source, Stage, Target},
    scope::{Orders, Scope},
    world::World,
};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Time goes on; what has not arrived by now is late.
    Tick,
    /// Faults are over from here on.
    Calm,
    /// A deadline of a machine.
    Wake(usize),
    /// A request reaches the API server.
    Apply(usize, Target),
    Answer(usize, Target),
    /// A client gives up waiting for an answer.
    GiveUp(usize, Target),
    /// A watch begins: a list.
    Connect(usize, Source),
    Watch(usize, Source),
    /// An announcement of another node is heard.
    Hear(usize),
    /// A write that was given up is applied after all.
    Ghost(usize),
    Fault(Fault),
    /// What stopped a node is over.
    Resume(usize),
    Mend(usize),
    Restart(usize),
    OutageEnds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next event of the usual order is late.
    Late,
    Pause(usize),
    Crash(usize),
    PowerOff(usize),
    Cut(usize),
    Outage,
    DeleteVip,
    ClearHolder,
    DeleteNode(usize),
    Drain(usize),
}

impl World {
    /// What is to happen within this tick, in the usual order: what is late may
    /// take as long as it likes.
    pub(crate) fn due(&self, scope: &Scope) -> Vec<Action> {
        let mut due = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            for (target, flight) in &node.flights {
                match flight.stage {
                    Stage::Sent if !flight.late => due.push(Action::Apply(i, *target)),
                    Stage::Applied(_) if !flight.late && node.running() => {
                        due.push(Action::Answer(i, *target));
                    }
                    _ => {}
                }
                if node.running() && node.timed_out(scope, i, self.tick, flight) {
                    due.push(Action::GiveUp(i, *target));
                }
            }
            if !node.running() {
                continue;
            }
            if node.wake_at <= self.tick {
                due.push(Action::Wake(i));
            }
            for (source, stream) in &node.streams {
                if node.cut || stream.late {
                    continue;
                }
                if !stream.connected {
                    due.push(Action::Connect(i, *source));
                } else if !stream.queue.is_empty() {
                    due.push(Action::Watch(i, *source));
                }
            }
            if node.rival == Some(Rival::Coming) {
                due.push(Action::Hear(i));
            }
        }
        due
    }

    /// What may happen at any time, or never.
    fn loose(&self, scope: &Scope) -> Vec<Action> {
        let mut loose = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            for (target, flight) in node.flights.iter().filter(|(_, flight)| flight.late) {
                match flight.stage {
                    Stage::Sent => loose.push(Action::Apply(i, *target)),
                    Stage::Applied(_) if node.running() => loose.push(Action::Answer(i, *target)),
                    Stage::Applied(_) | Stage::Lost => {}
                }
            }
            if !node.running() {
                continue;
            }
            for (source, stream) in node.streams.iter().filter(|(_, s)| s.late && !node.cut) {
                if !stream.queue.is_empty() {
                    loose.push(Action::Watch(i, *source));
                }
            }
            if node.rival == Some(Rival::Late) {
                loose.push(Action::Hear(i));
            }
        }
        let applicable = self.ghosts.iter().enumerate();
        let applicable = applicable.filter(|(_, write)| self.store.matches(&scope.names, write));
        loose.extend(applicable.map(|(k, _)| Action::Ghost(k)));
        loose
    }

    /// Everything that can happen next.
    pub(crate) fn actions(&self, scope: &Scope, actions: &mut Vec<Action>) {
        if self.calm.is_some() {
            actions.extend((self.calm != Some(0)).then_some(Action::Calm));
            return;
        }
        let due = self.due(scope);
        let every = scope.orders == Orders::Every;
        actions.extend(due.iter().take(if every { usize::MAX } else { 1 }));
        actions.extend(self.loose(scope));
        let last = self.tick == scope.last();
        if due.is_empty() {
            actions.push(if last { Action::Calm } else { Action::Tick });
        }
        if last {
            return;
        }
        if self.dawn || (!every && due.is_empty()) {
            self.ends(actions);
        }
        let left = self.left;
        if left.all == 0 {
            return;
        }
        let late = usize::from(left.late.min(left.all));
        if every && !due.is_empty() && due.len() <= late && due.iter().all(deferrable) {
            actions.push(Action::Tick);
        }
        if !every && late > 0 && due.first().is_some_and(deferrable) {
            actions.push(Action::Fault(Fault::Late));
        }
        self.faults(&due, every, actions);
    }

    /// What was wrong with a node ends, before anything else in a tick: all that
    /// follows from it may still come last.
    fn ends(&self, actions: &mut Vec<Action>) {
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.fresh) {
            if node.paused {
                actions.push(Action::Resume(i));
            }
            if node.cut && !self.outage {
                actions.push(Action::Mend(i));
            }
            if node.machine.is_none() {
                actions.push(Action::Restart(i));
            }
        }
        if self.outage && self.nodes.iter().all(|node| !node.fresh) {
            actions.push(Action::OutageEnds);
        }
    }

    /// What stops or cuts a node takes effect at the end of a tick, when nothing is
    /// due any more but what it prevents: before that, all else may go first.
    fn faults(&self, due: &[Action], every: bool, actions: &mut Vec<Action>) {
        let left = self.left;
        let mut add = |kind: u8, fault, prevents: &dyn Fn(&Action) -> bool| {
            if kind > 0 && (!every || due.iter().all(prevents)) {
                actions.push(Action::Fault(fault));
            }
        };
        let at = |i: usize| move |a: &Action| a.node() == Some(i);
        for (i, node) in self.nodes.iter().enumerate() {
            if node.machine.is_some() && !node.paused {
                let prevents =
                    move |a: &Action| a.node() == Some(i) && !matches!(a, Action::Apply(..));
                add(left.pauses, Fault::Pause(i), &prevents);
            }
            if node.machine.is_some() {
                add(left.crashes, Fault::Crash(i), &at(i));
                add(left.power, Fault::PowerOff(i), &at(i));
            }
            if node.machine.is_some() && !node.cut {
                add(left.cuts, Fault::Cut(i), &move |a| a.node() == Some(i) && a.by_network());
            }
            if node.running() && !node.draining {
                add(left.drains, Fault::Drain(i), &|_| true);
            }
            if self.store.node(i).is_some() {
                add(left.hands, Fault::DeleteNode(i), &|_| true);
            }
        }
        if self.nodes.iter().all(|node| !node.cut) {
            add(left.outages, Fault::Outage, &Action::by_network);
        }
        if self.store.vip().is_some() {
            add(left.hands, Fault::ClearHolder, &|_| true);
            add(left.deletions, Fault::DeleteVip, &|_| true);
        }
    }
}

impl Action {
    /// The node at which it happens, or whose request it is.
    pub(crate) const fn node(&self) -> Option<usize> {
        match self {
            Self::Wake(i)
            | Self::Apply(i, _)
            | Self::Answer(i, _)
            | Self::GiveUp(i, _)
            | Self::Connect(i, _)
            | Self::Watch(i, _)
            | Self::Hear(i)
            | Self::Resume(i)
            | Self::Mend(i)
            | Self::Restart(i) => Some(*i),
            Self::Tick | Self::Calm | Self::Ghost(_) | Self::Fault(_) | Self::OutageEnds => None,
        }
    }

    /// Whether with this a fault is over.
    pub(crate) const fn is_an_end(&self) -> bool {
        matches!(self, Self::Resume(_) | Self::Mend(_) | Self::Restart(_) | Self::OutageEnds)
    }

    /// Whether it needs the way between its node and the API server.
    const fn by_network(&self) -> bool {
        matches!(self, Self::Apply(..) | Self::Answer(..) | Self::Connect(..) | Self::Watch(..))
    }
}

/// Whether an event that is due may be late: what takes place within a node is not.
const fn deferrable(action: &Action) -> bool {
    action.by_network() || matches!(action, Action::Hear(_))
}

//! What comes of it when something happens.

use std::hash::{DefaultHasher, Hash, Hasher};

use announcer::ownership::{
    lease::{Answer, Request, Seen},
    machine::Input,
};

use crate::{
    actions::{Action, Fault},
    landmarks::{self, Landmark},
    node::{Flight, News, Node, Rival, Source, Stage, Target},
    scope::Scope,
    store::{Change, Overview, Store, overview},
    world::World,
};

impl World {
    /// The world after `action`.
    pub(crate) fn after(&self, scope: &Scope, action: Action) -> Self {
        let mut next = self.clone();
        next.perform(scope, action);
        next
    }

    pub(crate) fn perform(&mut self, scope: &Scope, action: Action) {
        self.dawn &= action.is_an_end();
        self.count_event(scope);
        match action {
            Action::Tick => {
                for action in self.due(scope) {
                    self.left.late -= 1;
                    self.left.all -= 1;
                    self.delay(action);
                }
                self.advance();
            }
            Action::Calm => self.calm(scope),
            Action::Wake(i) => self.step(scope, i),
            Action::Apply(i, target) => self.apply(scope, i, target),
            Action::Answer(i, target) => self.answer(scope, i, target, false),
            Action::GiveUp(i, target) => self.answer(scope, i, target, true),
            Action::Connect(i, source) => {
                self.connect(i, source);
                self.watch(scope, i, source);
            }
            Action::Watch(i, source) => self.watch(scope, i, source),
            Action::Hear(i) => self.hear(scope, i),
            Action::Ghost(k) => {
                let request = self.ghosts.remove(k);
                scope.seen.mark(Landmark::AppliedLate);
                self.write(scope, None, &request);
            }
            Action::Fault(fault) => self.fault(scope, fault),
            Action::Resume(i) => self.nodes[i].update(|node| node.paused = false),
            Action::Mend(i) => self.nodes[i].update(|node| node.cut = false),
            Action::Restart(i) => self.boot_node(scope, i),
            Action::OutageEnds => {
                self.outage = false;
                // With its history gone, every watch begins anew.
                for node in &mut self.nodes {
                    node.update(|node| {
                        node.cut = false;
                        for stream in node.streams.values_mut() {
                            stream.connected = false;
                            stream.late = false;
                            stream.queue.clear();
                        }
                    });
                }
            }
        }
    }

    fn delay(&mut self, action: Action) {
        let Some(i) = action.node() else { return };
        if let Action::Connect(i, source) = action {
            // The list is as old as this, when it arrives.
            self.connect(i, source);
        }
        self.nodes[i].update(|node| match action {
            Action::Apply(_, target) | Action::Answer(_, target) => {
                if let Some(flight) = node.flights.get_mut(&target) {
                    flight.late = true;
                }
            }
            Action::Connect(_, source) | Action::Watch(_, source) => {
                if let Some(stream) = node.streams.get_mut(&source) {
                    stream.late = true;
                }
            }
            Action::Hear(_) => node.rival = Some(Rival::Late),
            _ => {}
        });
    }

    /// A turn of a node's loop, after `input`; tells the others if it announces.
    fn tracking(&mut self, scope: &Scope, i: usize, input: impl FnOnce(&mut Node)) {
        let (now, tick) = (self.now(scope, i), self.tick);
        let before = self.nodes[i].clone();
        let announces = self.nodes[i].update(|node| {
            input(node);
            node.step(scope, i, tick)
        });
        let after = &self.nodes[i];
        if before.inherited().is_some() && before.inherited() == after.in_session() {
            scope.seen.mark(Landmark::Adopted);
        }
        if let Some(session) = before.in_session() {
            if after.in_session() == Some(session) && !before.valid(now) && after.valid(now) {
                scope.seen.mark(Landmark::WentOn);
            }
            if after.in_session() != Some(session) && !after.draining {
                scope.seen.mark(Landmark::LostSession);
            }
        }
        if announces {
            for (_, other) in self.nodes.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                if other.machine.is_some() && other.rival.is_none() {
                    other.update(|node| node.rival = Some(Rival::Coming));
                }
            }
        }
    }

    fn step(&mut self, scope: &Scope, i: usize) {
        self.tracking(scope, i, |_| {});
    }

    fn hear(&mut self, scope: &Scope, i: usize) {
        let now = self.now(scope, i);
        let answered = self.nodes[i].answers(now);
        self.tracking(scope, i, |node| {
            node.rival = None;
            node.feed(now, Input::Rival { vip: scope.vip, takes_over: true });
        });
        if answered && !self.nodes[i].answers(now) {
            scope.seen.mark(Landmark::Yielded);
        }
    }

    /// A request reaches the API server.
    fn apply(&mut self, scope: &Scope, i: usize, target: Target) {
        let Some(Flight { request, .. }) = self.nodes[i].flights.get(&target).cloned() else {
            return;
        };
        let answer = self.write(scope, Some(i), &request);
        self.nodes[i].update(|node| {
            if let Some(flight) = node.flights.get_mut(&target) {
                flight.stage = if node.cut { Stage::Lost } else { Stage::Applied(answer) };
                flight.late = false;
            }
        });
    }

    /// `by` is the node that waits for the answer.
    fn write(&mut self, scope: &Scope, by: Option<usize>, request: &Request) -> Answer {
        let before = self.store.vip().map(|lease| lease.claim.clone());
        let (answer, change) = self.store.update(|store| store.apply(&scope.names, request));
        if let Some(landmark) =
            landmarks::of_write(scope, by, request, &answer, before.as_ref(), &self.store)
        {
            scope.seen.mark(landmark);
        }
        if let Some(change) = change {
            self.tell(scope, &change);
        }
        answer
    }

    /// Every watch that a change concerns is to deliver it.
    fn tell(&mut self, scope: &Scope, change: &Change) {
        for node in &mut self.nodes {
            for source in node.streams.keys().copied().collect::<Vec<_>>() {
                let Some(news) = news(source, change) else { continue };
                node.update(|node| {
                    if let Some(stream) = node.streams.get_mut(&source).filter(|s| s.connected) {
                        stream.queue.push_back(vec![news]);
                    }
                });
            }
        }
        self.bury(scope);
    }

    /// Forgets ghosts that can never be applied any more: what they expect to
    /// find never comes back. (A creation may find nothing again.)
    fn bury(&mut self, scope: &Scope) {
        let store = &self.store;
        self.ghosts.retain(|write| {
            store.matches(&scope.names, write)
                || matches!(
                    write,
                    Request::WriteNode { expect: None, .. }
                        | Request::WriteVip { expect: None, .. }
                )
        });
    }

    fn haunt(&mut self, scope: &Scope, request: Request) {
        if matches!(request, Request::WriteNode { .. } | Request::WriteVip { .. })
            && !self.ghosts.contains(&request)
        {
            self.ghosts.push(request);
            self.ghosts.sort_by_cached_key(|write| {
                let mut hasher = DefaultHasher::new();
                write.hash(&mut hasher);
                hasher.finish()
            });
            self.bury(scope);
        }
    }

    /// The outcome of a request reaches its node: the answer, or that it gave up.
    fn answer(&mut self, scope: &Scope, i: usize, target: Target, given_up: bool) {
        let now = self.now(scope, i);
        let Some(flight) = self.nodes[i].flights.get(&target).cloned() else { return };
        let answer = match flight.stage {
            Stage::Applied(answer) if !given_up => Some(answer),
            Stage::Sent => {
                self.haunt(scope, flight.request.clone());
                None
            }
            Stage::Applied(_) | Stage::Lost => None,
        };
        self.tracking(scope, i, |node| {
            node.flights.remove(&target);
            node.answered(now, flight.request, answer);
        });
    }

    fn watch(&mut self, scope: &Scope, i: usize, source: Source) {
        let now = self.now(scope, i);
        self.tracking(scope, i, |node| node.receive(scope, now, source));
    }

    /// A watch begins with a list.
    fn connect(&mut self, i: usize, source: Source) {
        let node = |node: usize| {
            let lease = self.store.node(node).cloned();
            News::Node(node, lease.map_or(Seen::Absent(None), Seen::Present))
        };
        let list = match source {
            Source::Vips => {
                let vip = self.store.vip().cloned().map(|lease| News::Vip(Seen::Present(lease)));
                vip.into_iter().chain([News::VipsListed]).collect()
            }
            Source::Sessions => {
                let there = (0..self.nodes.len()).filter(|j| self.store.node(*j).is_some());
                there.map(node).chain([News::NodesListed]).collect()
            }
            Source::Named(watched) => vec![node(watched)],
        };
        self.nodes[i].update(|node| {
            if let Some(stream) = node.streams.get_mut(&source) {
                stream.connected = true;
                stream.queue.push_back(list);
            }
        });
    }

    fn fault(&mut self, scope: &Scope, fault: Fault) {
        let left = &mut self.left;
        left.all -= 1;
        let kind = match fault {
            Fault::Late => &mut left.late,
            Fault::Pause(_) => &mut left.pauses,
            Fault::Crash(_) => &mut left.crashes,
            Fault::PowerOff(_) => &mut left.power,
            Fault::Cut(_) => &mut left.cuts,
            Fault::Outage => &mut left.outages,
            Fault::ClearHolder | Fault::DeleteNode(_) => &mut left.hands,
            Fault::DeleteVip => &mut left.deletions,
            Fault::Drain(_) => &mut left.drains,
        };
        *kind -= 1;
        let change = match fault {
            Fault::DeleteVip => self.store.update(Store::delete_vip),
            Fault::ClearHolder => self.store.update(Store::clear_holder),
            Fault::DeleteNode(i) => self.store.update(|store| store.delete_node(i)),
            Fault::Late => {
                let due = self.due(scope);
                due.first().into_iter().for_each(|action| self.delay(*action));
                None
            }
            Fault::Pause(i) => {
                self.nodes[i].update(|node| (node.paused, node.fresh) = (true, true));
                None
            }
            Fault::Crash(i) | Fault::PowerOff(i) => {
                for (_, flight) in self.nodes[i].flights.clone() {
                    if flight.stage == Stage::Sent {
                        self.haunt(scope, flight.request);
                    }
                }
                self.nodes[i].update(|node| {
                    node.die(matches!(fault, Fault::PowerOff(_)));
                    node.fresh = true;
                });
                None
            }
            Fault::Cut(i) => {
                self.cut(scope, i);
                None
            }
            Fault::Outage => {
                self.outage = true;
                (0..self.nodes.len()).for_each(|i| self.cut(scope, i));
                None
            }
            Fault::Drain(i) => {
                let now = self.now(scope, i);
                self.tracking(scope, i, |node| {
                    node.draining = true;
                    node.feed(now, Input::Drain);
                });
                None
            }
        };
        if let Some(change) = change {
            self.tell(scope, &change);
        }
    }

    /// What is under way may still reach the API server; no answer comes back.
    fn cut(&mut self, scope: &Scope, i: usize) {
        for (_, flight) in self.nodes[i].flights.clone() {
            if flight.stage == Stage::Sent {
                self.haunt(scope, flight.request);
            }
        }
        self.nodes[i].update(|node| {
            (node.cut, node.fresh) = (true, true);
            node.flights.values_mut().for_each(|flight| flight.stage = Stage::Lost);
        });
    }
}

/// What a watch shows of a change.
fn news(source: Source, change: &Change) -> Option<News> {
    match (source, change) {
        (Source::Vips, Change::Vip(seen)) => Some(News::Vip(seen.clone())),
        (Source::Named(watched), Change::Node { node, after, .. }) if watched == *node => {
            Some(News::Node(*node, after.clone()))
        }
        (Source::Sessions, Change::Node { node, before, after }) => {
            Some(match overview(before.as_ref(), after)? {
                Overview::Closed(lease) => News::Node(*node, Seen::Present(lease)),
                Overview::Opened(lease) => News::Opened(*node, lease),
            })
        }
        _ => None,
    }
}

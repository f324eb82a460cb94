//! What the watches of a daemon deliver, and when: the same lists and selections
//! as `ownership::watch` asks the API server for, each an ordered stream of its
//! own, which breaks, freezes, resumes, and is listed again when the history is gone.

use std::collections::BTreeSet;

use announcer::{
    ownership::{
        lease::{Seen, Version},
        machine::Input,
    },
    types::{NodeName, Vip},
};

use crate::{
    clock::MS,
    node::Frozen,
    store::{Change, What},
    world::{Event, ToDaemon, World},
};

/// What one watch is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// All VIP leases.
    Vips,
    /// The node leases that are over.
    Sessions,
    /// One node's lease, renewals included.
    Node(NodeName),
}

/// One watch, as far as the daemon's client and the API server keep account of it.
pub(crate) struct Watch {
    /// Counts the lists; what was sent for a former one is dropped.
    epoch: u64,
    /// Whether events flow; false until the list is there, and after a break.
    connected: bool,
    /// Up to which version everything is on its way.
    cursor: Version,
    /// When the last that is on its way arrives.
    due: u64,
    /// The VIP leases that the daemon's client knows of.
    known: BTreeSet<Vip>,
}

impl Watch {
    const fn new(epoch: u64) -> Self {
        Self { epoch, connected: false, cursor: Version(0), due: 0, known: BTreeSet::new() }
    }
}

impl Subject {
    /// What a watch with this selection tells of a change.
    fn tells(&self, change: &Change) -> Option<Input> {
        let version = change.version;
        match (self, &change.what) {
            (Self::Vips, What::Vip { vip, after }) => {
                let seen = after.clone().map_or(Seen::Absent(Some(version)), Seen::Present);
                Some(Input::VipLease(*vip, seen))
            }
            (Self::Sessions, What::Node { node, before, after }) => match (before, after) {
                (_, Some(after)) if !after.open => {
                    Some(Input::NodeLease(node.clone(), Seen::Present(after.clone())))
                }
                // It has left the selection: opened, as far as can be told from here.
                (Some(before), _) if !before.open => {
                    Some(Input::NodeOpened(node.clone(), before.opened(version)))
                }
                _ => None,
            },
            (Self::Node(name), What::Node { node, after, .. }) if name == node => {
                let seen = after.clone().map_or(Seen::Absent(Some(version)), Seen::Present);
                Some(Input::NodeLease(node.clone(), seen))
            }
            _ => None,
        }
    }
}

impl World {
    /// A daemon begins the watches that it always has.
    pub(crate) fn begin_watches(&mut self, i: usize) {
        self.watch(i, Subject::Vips);
        self.watch(i, Subject::Sessions);
    }

    /// Begins and ends watches by name as the machine's choice of nodes changes.
    pub(crate) fn follow_monitored(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        let Some(machine) = &node.machine else { return };
        let wanted = machine.monitored();
        node.watches.retain(|subject, _| match subject {
            Subject::Node(name) => wanted.contains(name),
            Subject::Vips | Subject::Sessions => true,
        });
        let begun = wanted.into_iter().map(Subject::Node);
        let begun: Vec<_> = begun.filter(|s| !node.watches.contains_key(s)).collect();
        begun.into_iter().for_each(|subject| self.watch(i, subject));
    }

    fn watch(&mut self, i: usize, subject: Subject) {
        // A watch that is begun anew must not be taken for its predecessor.
        let epoch = self.ticket();
        self.nodes[i].watches.insert(subject.clone(), Watch::new(epoch));
        self.ask_again(i, subject, 10 * MS);
    }

    /// Sends the next list (or resumption) of a watch on its way.
    fn ask_again(&mut self, i: usize, subject: Subject, within: u64) {
        let life = self.nodes[i].life;
        let Some(watch) = self.nodes[i].watches.get(&subject) else { return };
        let epoch = watch.epoch;
        let at = self.t + self.rng.u64(1..=within.max(1));
        self.schedule(at, Event::Watch { node: i, life, subject, epoch });
    }

    /// Connections break: all watches of a node, to be resumed in a while.
    pub(crate) fn break_watches(&mut self, i: usize) {
        let subjects: Vec<_> = self.nodes[i].watches.keys().cloned().collect();
        for subject in subjects {
            if let Some(watch) = self.nodes[i].watches.get_mut(&subject)
                && watch.connected
            {
                watch.connected = false;
                self.ask_again(i, subject, self.weather.catch_up * MS);
            }
        }
    }

    /// What has stood still moves again: missed events come in their order.
    pub(crate) fn resume_watches(&mut self, i: usize) {
        let subjects: Vec<_> = self.nodes[i].watches.keys().cloned().collect();
        for subject in subjects {
            self.ask_again(i, subject, self.weather.catch_up * MS);
        }
    }

    /// A list or a resumption reaches the API server.
    pub(crate) fn serve_watch(&mut self, i: usize, life: u64, subject: Subject, epoch: u64) {
        let reachable = self.reaches_api(i);
        let flows = reachable && !self.frozen(i, &subject);
        let node = &mut self.nodes[i];
        if node.life != life {
            return;
        }
        let Some(watch) = node.watches.get_mut(&subject).filter(|w| w.epoch == epoch) else {
            return;
        };
        if !reachable {
            watch.connected = false;
            return self.ask_again(i, subject, self.weather.catch_up * MS);
        }
        let listed = watch.cursor > Version(0);
        match self.store.since(watch.cursor).filter(|_| listed) {
            // A watch that stands still is asked for again when it moves.
            Some(_) if !flows => {}
            Some(missed) => {
                watch.connected = true;
                let missed: Vec<_> = missed.to_vec();
                missed.iter().for_each(|change| self.tell(i, &subject, change));
            }
            None => self.list(i, subject),
        }
    }

    fn list(&mut self, i: usize, subject: Subject) {
        let version = self.store.version();
        let epoch = self.ticket();
        let latency = self.rng.u64(1..20) * MS;
        let node = &mut self.nodes[i];
        let Some(watch) = node.watches.get_mut(&subject) else { return };
        let mut inputs = Vec::new();
        match &subject {
            // Of what is absent the list says nothing.
            Subject::Sessions => {
                inputs.extend(self.store.nodes().map(|(node, lease)| {
                    Input::NodeLease(node.clone(), Seen::Present(lease.clone()))
                }));
                inputs.push(Input::NodesListed);
            }
            Subject::Vips => {
                let listed: BTreeSet<_> = self.store.vips().map(|(vip, _)| vip).collect();
                inputs.extend(
                    self.store
                        .vips()
                        .map(|(vip, lease)| Input::VipLease(vip, Seen::Present(lease.clone()))),
                );
                let gone = watch.known.difference(&listed);
                inputs.extend(gone.map(|vip| Input::VipLease(*vip, Seen::Absent(None))));
                inputs.push(Input::VipsListed);
                watch.known = listed;
            }
            Subject::Node(name) => {
                inputs.push(Input::NodeLease(name.clone(), self.store.node(name)));
            }
        }
        watch.epoch = epoch;
        watch.connected = true;
        // An empty store has version 0, and a list all the same.
        watch.cursor = version.max(Version(1));
        watch.due = self.t + latency;
        let (life, at) = (node.life, watch.due);
        self.schedule(
            at,
            Event::Daemon { node: i, life, what: ToDaemon::Watch { subject, epoch, inputs } },
        );
    }

    /// Tells all who watch of the write that was applied last.
    pub(crate) fn broadcast(&mut self) {
        let Some(change) = self.store.last_change().cloned() else { return };
        for i in 0..self.nodes.len() {
            let interested = |(subject, watch): &(&Subject, &Watch)| {
                watch.connected && subject.tells(&change).is_some()
            };
            let watches = self.nodes[i].watches.iter();
            let subjects: Vec<_> =
                watches.filter(interested).map(|(subject, _)| subject.clone()).collect();
            for subject in subjects {
                if self.reaches_api(i) && !self.frozen(i, &subject) {
                    self.tell(i, &subject, &change);
                } else if let Some(watch) = self.nodes[i].watches.get_mut(&subject) {
                    // From here on it has to catch up.
                    watch.connected = false;
                }
            }
        }
    }

    fn tell(&mut self, i: usize, subject: &Subject, change: &Change) {
        let latency = self.rng.u64(1..30) * MS;
        let node = &mut self.nodes[i];
        let Some(watch) = node.watches.get_mut(subject) else { return };
        if change.version <= watch.cursor {
            return;
        }
        let Some(input) = subject.tells(change) else { return };
        match &input {
            Input::VipLease(vip, Seen::Present(_)) => {
                watch.known.insert(*vip);
            }
            Input::VipLease(vip, Seen::Absent(_)) => {
                watch.known.remove(vip);
            }
            _ => {}
        }
        watch.cursor = change.version;
        watch.due = (self.t + latency).max(watch.due + 1);
        let (life, at, epoch) = (node.life, watch.due, watch.epoch);
        let what = ToDaemon::Watch { subject: subject.clone(), epoch, inputs: vec![input] };
        self.schedule(at, Event::Daemon { node: i, life, what });
    }

    /// Whether what a watch has sent is still waited for.
    pub(crate) fn expects(&self, i: usize, subject: &Subject, epoch: u64) -> bool {
        self.nodes[i].watches.get(subject).is_some_and(|watch| watch.epoch == epoch)
    }

    fn frozen(&self, i: usize, subject: &Subject) -> bool {
        match &self.nodes[i].frozen {
            Frozen::Nothing => false,
            Frozen::One(frozen) => frozen == subject,
            Frozen::Nodes => *subject != Subject::Vips,
            Frozen::All => true,
        }
    }
}

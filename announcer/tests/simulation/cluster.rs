//! What people want: Services, and which nodes may answer for them. Every node
//! hears of it by watches of its own, at a time of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use announcer::{
    ownership::machine::{Candidacy, Intent, VipIntent},
    types::{NodeName, Vip},
};

use crate::world::{Event, ToDaemon, World};

/// Services and nodes.
#[derive(Default)]
pub(crate) struct Cluster {
    /// Services that exist; for those with `externalTrafficPolicy: Local` the nodes
    /// that have an endpoint.
    pub(crate) services: BTreeMap<Vip, Option<BTreeSet<usize>>>,
    /// Nodes with the label that excludes them from load balancers.
    pub(crate) excluded: BTreeSet<usize>,
    /// Nodes whose link has no carrier; only they know.
    pub(crate) unplugged: BTreeSet<usize>,
}

impl Cluster {
    /// Whether a node may answer for a VIP.
    pub(crate) fn eligible(&self, i: usize, vip: Vip) -> bool {
        let local = match self.services.get(&vip) {
            None => false,
            Some(None) => true,
            Some(Some(nodes)) => nodes.contains(&i),
        };
        local && !self.excluded.contains(&i) && !self.unplugged.contains(&i)
    }

    /// The intent as node `i` knows it.
    fn intent(&self, i: usize, names: &[NodeName]) -> Intent {
        let unplugged = |j: usize| j == i && self.unplugged.contains(&j);
        let fit = |j: &usize| !self.excluded.contains(j) && !unplugged(*j);
        let named = |nodes: &mut dyn Iterator<Item = usize>| -> Arc<BTreeSet<NodeName>> {
            Arc::new(nodes.filter(fit).map(|j| names[j].clone()).collect())
        };
        let anywhere = named(&mut (0..names.len()));
        let vips = self.services.iter().map(|(vip, local)| {
            let eligible = match local {
                None => anywhere.clone(),
                Some(nodes) => named(&mut nodes.iter().copied()),
            };
            (*vip, VipIntent::on(eligible))
        });
        let candidacy = if unplugged(i) {
            Candidacy::Unlinked
        } else if self.excluded.contains(&i) {
            Candidacy::Unselected
        } else {
            Candidacy::Candidate
        };
        Intent { vips: vips.collect(), candidacy }
    }
}

impl World {
    /// Something about Services or nodes has changed: everybody gets to hear of it.
    pub(crate) fn proclaim(&mut self) {
        (0..self.nodes.len()).for_each(|i| self.proclaim_to(i));
    }

    /// One node gets to hear how things are.
    pub(crate) fn proclaim_to(&mut self, i: usize) {
        let within = if self.rng.u8(..) < 32 { 2000 } else { 100 };
        let latency = self.rng.u64(1..within) * crate::clock::MS;
        let node = &mut self.nodes[i];
        node.intent_due = (self.t + latency).max(node.intent_due + 1);
        let (at, life) = (node.intent_due, node.life);
        // What was under way to a former daemon holds up nobody.
        self.schedule(at, Event::Daemon { node: i, life, what: ToDaemon::Intent { local: false } });
    }

    /// A link has lost its carrier, or got it back: its own node knows at once.
    pub(crate) fn link_changed(&mut self, i: usize) {
        let life = self.nodes[i].life;
        let what = ToDaemon::Intent { local: true };
        self.schedule(self.t, Event::Daemon { node: i, life, what });
    }

    pub(crate) fn intent_for(&self, i: usize) -> Arc<Intent> {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.clone()).collect();
        Arc::new(self.cluster.intent(i, &names))
    }
}

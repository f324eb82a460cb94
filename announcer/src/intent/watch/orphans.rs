//! VIPs that no node may hold: told once, by one of the nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    events::{News, Occurrence, Reports},
    intent::{
        desired::Intent,
        index::{Index, VipReport},
    },
    ownership::placement,
    types::{BootTime, NodeName, Vip},
};

/// What lasts less long is no news: Nodes and endpoints come and go.
const PATIENCE: Duration = Duration::from_secs(5);

/// The nodes that may tell do so one after the other, so that the first has told when the
/// next one tries.
const HEAD_START: Duration = Duration::from_secs(3);

/// So many nodes may tell; some of them may run no daemon.
const TELLERS: u32 = 3;

/// For each, all nodes are gone through and all they lack is written: what is watched waits
/// for no more than so many.
const TOLD_AT_ONCE: usize = 16;

/// So many nodes are told of; others are much the same.
const NODES_TOLD: usize = 3;

#[derive(Debug)]
pub(super) struct Orphans {
    me: NodeName,
    reports: Reports,
    /// When each is to be told of; `None`: it has been.
    known: BTreeMap<Vip, Option<BootTime>>,
    /// What this node has told of those that still are.
    told: BTreeMap<Vip, String>,
}

impl Orphans {
    pub(super) const fn new(me: NodeName, reports: Reports) -> Self {
        Self { me, reports, known: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Takes in a new intent.
    pub(super) fn follow(&mut self, now: BootTime, intent: &Intent, index: &mut Index) {
        let orphans = intent.vips.iter().filter(|(_, wanted)| wanted.eligible.is_empty());
        let orphans: BTreeSet<Vip> = orphans.map(|(vip, _)| *vip).collect();
        self.known.retain(|vip, _| orphans.contains(vip));
        self.told.retain(|vip, _| orphans.contains(vip));
        for vip in orphans {
            if self.known.contains_key(&vip) {
                continue;
            }
            let due = self.rank(vip, index).map(|rank| now + PATIENCE + HEAD_START * rank);
            self.known.insert(vip, due);
        }
    }

    /// When [`Self::tell`] has something to do.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.known.values().copied().flatten().min()
    }

    /// VIPs that no node may hold, and what this node has told of them.
    pub(super) const fn told(&self) -> &BTreeMap<Vip, String> {
        &self.told
    }

    /// Tells what is due, but not all of it at once if that is much: what is left is due still.
    pub(super) fn tell(&mut self, now: BootTime, intent: &Intent, index: &mut Index) {
        let due = self.known.iter_mut().filter_map(|(vip, due)| {
            due.take_if(|at| *at <= now)?;
            Some(*vip)
        });
        for vip in due.take(TOLD_AT_ONCE) {
            let (Some(wanted), Some(report)) = (intent.vips.get(&vip), index.explain_vip(vip))
            else {
                continue;
            };
            let why = why(&report);
            self.told.insert(vip, why.clone());
            let news = News::NoEligibleNode { vip, why };
            self.reports.send(Occurrence { services: wanted.services.clone(), news });
        }
    }

    /// How many nodes tell before this one, if it does at all.
    fn rank(&self, vip: Vip, index: &Index) -> Option<u32> {
        let none = BTreeSet::new();
        let ahead = placement::vip_ahead(vip, &self.me, &none, index.node_names());
        // No more names are hashed than it takes.
        (0..TELLERS).zip(ahead).count().try_into().ok().filter(|rank| *rank < TELLERS)
    }
}

/// What speaks against the nodes. Interfaces are left out: each node knows its own only, and
/// all shall say the same.
fn why(report: &VipReport) -> String {
    use crate::intent::eligibility::Ineligible;
    let against = |(node, told): (&NodeName, &crate::intent::index::NodeReport)| {
        let shared = told.reasons.iter().filter(|reason| !matches!(reason, Ineligible::Local(_)));
        let reasons: Vec<String> = shared.map(ToString::to_string).collect();
        format!("{node}: {}", reasons.join(", "))
    };
    let nodes = report.nodes.iter().take(NODES_TOLD).map(against).collect::<Vec<_>>();
    let more = match report.nodes.len().saturating_sub(NODES_TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    match nodes.is_empty() {
        true => "The cluster has no nodes".to_owned(),
        false => format!("{}{more}", nodes.join("; ")),
    }
}

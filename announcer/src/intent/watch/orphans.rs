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
            let rank = index.explain_vip(vip).map(|report| self.rank(vip, &report));
            let tells = rank.filter(|rank| *rank < TELLERS);
            self.known.insert(vip, tells.map(|rank| now + PATIENCE + HEAD_START * rank));
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

    /// Tells what is due.
    pub(super) fn tell(&mut self, now: BootTime, intent: &Intent, index: &mut Index) {
        for (vip, due) in &mut self.known {
            if due.take_if(|at| *at <= now).is_none() {
                continue;
            }
            let (Some(wanted), Some(report)) = (intent.vips.get(vip), index.explain_vip(*vip))
            else {
                continue;
            };
            let why = why(&report);
            self.told.insert(*vip, why.clone());
            let news = News::NoEligibleNode { vip: *vip, why };
            self.reports.send(Occurrence { services: wanted.services.clone(), news });
        }
    }

    fn rank(&self, vip: Vip, report: &VipReport) -> u32 {
        let rank = placement::vip_rank(vip, &self.me, &BTreeSet::new(), report.nodes.keys());
        u32::try_from(rank).unwrap_or(u32::MAX)
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

//! From the nodes that may hold a VIP to the one that does: its lease, the session under
//! which it was taken, and whether that is still renewed.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        facts::{Standing, Watched},
        finding::Finding,
        remedy::{self, Remedy},
    },
    Case, Chain, Wrong,
};
use crate::{
    ownership::{
        lease::Claim,
        store::{Records, VipRecord, vip_lease_name},
    },
    types::{NodeName, Session, Vip},
};

impl Case<'_> {
    /// The links of announcers and lease.
    pub(super) fn lease(
        &mut self,
        chain: &mut Chain<'_>,
        vip: Vip,
        candidates: &BTreeSet<NodeName>,
        watched: &Watched,
    ) {
        let namespace = self.given.namespace;
        let Some(records) = &watched.records else {
            let why = watched.unreadable.as_deref().unwrap_or_default();
            let says = format!("the Leases of namespace {namespace} cannot be read: {why}");
            let remedy = remedy::may_i(Some(namespace), "list", "leases.coordination.k8s.io");
            chain.problem(vip, "lease", Wrong::new(Finding::NotPermitted, says).remedy(remedy));
            chain.unknown = true;
            return;
        };
        if records.nodes.is_empty() {
            // Else that has been told.
            if !watched.are_elsewhere() {
                let says = format!(
                    "no announcer has a node lease in namespace {namespace}: none runs, or none \
                     is a candidate for any VIP"
                );
                // Once, of however many VIPs.
                let is_told =
                    chain.links.iter().any(|link| link.finding == Some(Finding::NoAnnouncer));
                let remedy = (!is_told).then(|| remedy::announcers(namespace));
                chain.problem(
                    vip,
                    "announcers",
                    Wrong::new(Finding::NoAnnouncer, says).remedy(remedy),
                );
            }
            return;
        }
        let name = vip_lease_name(vip);
        match records
            .vips
            .get(&vip)
            .map(|VipRecord { lease, holder_identity }| (&lease.claim, holder_identity))
        {
            Some((Claim::Held { node, session }, _)) => {
                self.held(chain, vip, node, session, candidates, watched);
            }
            Some((Claim::Released { offered_by: Some(node), offered_to }, _))
                if matches!(watched.standing(node), Standing::Alive | Standing::Open) =>
            {
                if watched.standing(node) == Standing::Open {
                    chain.wait(duration(records, node));
                }
                let to = offered_to.as_ref().map_or("any node".to_owned(), ToString::to_string);
                let says = format!("{name}: {node} offers it to {to}, and answers until then");
                chain.note(vip, "lease", Wrong::new(Finding::Transition, says));
                self.announces(chain, vip, node, watched);
            }
            Some((Claim::Unclear, holder)) => {
                let says = format!(
                    "lease {name} was edited by hand: its holder ({holder:?}) and the session \
                     under which it was taken do not go together, so nobody knows who may answer"
                );
                let wrong = Wrong::new(Finding::LeaseEdited, says);
                chain.problem(vip, "lease", wrong.remedy(remedy::release(namespace, vip)));
                self.wait_for_takers(chain, candidates, watched, records);
            }
            found => {
                let says = match found {
                    Some(_) => format!("lease {name} is released, and names no holder"),
                    None => format!("there is no lease {name}"),
                };
                self.free(chain, vip, &says, candidates, watched, records);
            }
        }
    }

    fn held(
        &mut self,
        chain: &mut Chain<'_>,
        vip: Vip,
        node: &NodeName,
        session: &Session,
        candidates: &BTreeSet<NodeName>,
        watched: &Watched,
    ) {
        let Some(records) = &watched.records else { return };
        let name = vip_lease_name(vip);
        let own = watched.node(node).map(|record| &record.lease);
        if !own.is_some_and(|own| own.open && own.session == *session) {
            let says = format!(
                "lease {name} names {node} under session {session}, which is over ({}), and \
                 nobody has taken it since",
                own.map_or("there is no node lease".to_owned(), |own| {
                    let state = if own.open { "open" } else { "over" };
                    format!("its node lease says {}, {state}", own.session)
                })
            );
            let remedy = self.takers_remedy(node, candidates, watched);
            chain.problem(vip, "lease", Wrong::new(Finding::SessionOver, says).remedy(remedy));
            self.wait_for_takers(chain, candidates, watched, records);
            return;
        }
        if !watched.is_alive(node) {
            let says = format!(
                "{node} holds it, but has not renewed its session in {:.1} s of watching: it is \
                 cut off or dead, and nobody has taken over",
                watched.lasted.as_secs_f64()
            );
            let remedy = self.takers_remedy(node, candidates, watched);
            chain.problem(vip, "lease", Wrong::new(Finding::HolderSilent, says).remedy(remedy));
            chain.wait(duration(records, node));
            return;
        }
        chain.ok(vip, "lease", format!("{name}: held by {node} under session {session}, renewed"));
        if !candidates.contains(node) {
            let says =
                format!("{node} is not eligible: it keeps the VIP until another node takes it");
            chain.note(vip, "lease", Wrong::new(Finding::Transition, says));
        }
        self.announces(chain, vip, node, watched);
    }

    /// Nobody holds it.
    fn free(
        &self,
        chain: &mut Chain<'_>,
        vip: Vip,
        says: &str,
        candidates: &BTreeSet<NodeName>,
        watched: &Watched,
        records: &Records,
    ) {
        if candidates.is_empty() {
            // Which has been told.
            chain.note(vip, "lease", Wrong::new(Finding::NobodyTakes, says));
            return;
        }
        let open: Vec<&NodeName> = candidates.iter().filter(|node| watched.is_open(node)).collect();
        let alive = open.iter().find(|node| watched.is_alive(node));
        let wrong = match (alive, candidates.first()) {
            (Some(node), _) => {
                let says = format!(
                    "{says}, though {node} could take it: nobody has in {:.1} s of watching",
                    watched.lasted.as_secs_f64()
                );
                Wrong::new(Finding::NobodyTakes, says).remedy(remedy::logs(self.given.namespace))
            }
            (None, Some(node)) => {
                let says = format!(
                    "{says}, and no node that may hold it has a session that is \
                                    renewed; {node}: {}",
                    watched.standing(node)
                );
                let remedy = remedy::announcer_on(self.given.namespace, node);
                Wrong::new(Finding::NoSession, says).remedy(remedy)
            }
            (None, None) => Wrong::new(Finding::NobodyTakes, says),
        };
        chain.problem(vip, "lease", wrong);
        self.wait_for_takers(chain, candidates, watched, records);
    }

    fn wait_for_takers(
        &self,
        chain: &mut Chain<'_>,
        candidates: &BTreeSet<NodeName>,
        watched: &Watched,
        records: &Records,
    ) {
        let open = candidates.iter().filter(|node| watched.is_open(node));
        if let Some(longest) = open.map(|node| duration(records, node)).max() {
            chain.wait(longest);
        }
    }

    /// Of a VIP whose holder is gone: another node should have taken it.
    fn takers_remedy(
        &self,
        holder: &NodeName,
        candidates: &BTreeSet<NodeName>,
        watched: &Watched,
    ) -> Remedy {
        let alive = candidates.iter().any(|node| node != holder && watched.is_alive(node));
        if alive {
            remedy::logs(self.given.namespace)
        } else {
            remedy::announcer_on(self.given.namespace, holder)
        }
    }
}

fn duration(records: &Records, node: &NodeName) -> Duration {
    records.nodes.get(node).map_or(Duration::ZERO, |record| record.duration)
}

//! What becomes of frames by which other stations claim a VIP.

use tracing::{debug, info};

use super::Driver;
use crate::{
    conflict::{self, Stranger},
    events::{News, Occurrence},
    ownership::machine::{Input, Machine, State},
    types::{BootTime, NodeName},
    wire_state::{ClaimKind, ForeignClaim, Heard},
};

impl Driver {
    pub(super) fn claimed(&mut self, heard: Heard) {
        // Two of our interfaces on one segment hear each other.
        let claim = heard.claim;
        if self.store.announces_with(claim.mac) {
            return;
        }
        let now = BootTime::now();
        let is_unknown = !self.macs.contains_key(&claim.mac);
        // Who answers a probe is heard before the probing is over, or too late.
        if is_unknown && self.machine.holds(claim.vip) && !self.claims.is_probing(claim.vip) {
            if claim.kind != ClaimKind::Probe {
                // Whoever it is: nobody answers beside it on trust.
                self.rival(now, &claim, false);
            }
            let deferred = self.lookup.defer(now, self.store.api(), self.patience, heard);
            deferred.into_iter().for_each(|heard| self.judge(heard));
        } else {
            self.judge(heard);
        }
    }

    pub(super) fn judge(&mut self, Heard { claim, interface }: Heard) {
        let now = BootTime::now();
        let (vip, mac) = (claim.vip, claim.mac);
        let probes = claim.kind == ClaimKind::Probe;
        // Who takes over announces it. An old holder may still answer a question of this
        // node's own kernel when this one has offered the VIP in its turn.
        let mut takes_over = false;
        if let Some(node) = self.macs.get(&mac) {
            let announces = claim.announces;
            debug!(%vip, %node, %mac, kind = ?claim.kind, announces, "rival claims");
            takes_over = announces;
        } else if self.machine.holds(vip) {
            self.claims.heard(now, vip, Stranger { mac, interface, probes });
            self.tell();
        } else {
            debug!(%vip, %mac, kind = ?claim.kind, "a stranger claims a VIP that is not ours");
        }
        // Who probes does not use it yet.
        if !probes {
            self.rival(now, &claim, takes_over);
        }
    }

    /// Another station has the VIP. What this node answered on trust it answers no more.
    fn rival(&mut self, now: BootTime, claim: &ForeignClaim, takes_over: bool) {
        let ForeignClaim { vip, mac, .. } = *claim;
        let yields =
            |machine: &Machine| matches!(machine.describe(now, vip), Some((State::Yielded, _)));
        let before = yields(&self.machine);
        self.machine.input(now, Input::Rival { vip, takes_over });
        if !before && yields(&self.machine) {
            let by =
                self.macs.get(&mac).map_or("a station that is no known node", NodeName::as_str);
            info!(
                %vip, by, %mac,
                "gave way: it answers too, and the API server does not say whose the VIP is"
            );
        }
    }

    /// Tells people of conflicts: in the log, and of their edges by Events.
    pub(super) fn tell(&mut self) {
        for notice in self.claims.take_notices() {
            notice.log();
            if notice.what == conflict::What::Began {
                self.witness.metrics.conflict_began();
            }
            let intent = self.channels.intent.borrow();
            let wanted = intent.as_ref().and_then(|intent| intent.vips.get(&notice.vip));
            if let Some(wanted) = wanted.filter(|_| notice.is_edge()) {
                let services = wanted.services.clone();
                let news = News::Conflict(notice);
                self.channels.reports.send(Occurrence { services, news });
            }
        }
    }
}

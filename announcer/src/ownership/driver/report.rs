//! What the driver says of itself when it is asked.

use std::sync::Arc;

use super::Driver;
use crate::{
    ownership::report::{Membership, Report, VipReport, VipState},
    types::BootTime,
};

impl Driver {
    /// Everything, as of now. Some microseconds for each VIP, and only when somebody asks.
    pub(super) fn report(&self, now: BootTime) -> Report {
        let (machine, claims) = (&self.machine, &self.claims);
        let heartbeat = machine.heartbeat();
        let session = heartbeat.session().map(|s| (s.clone(), heartbeat.opened_at()));
        let cluster = Membership {
            node: machine.settings().me.clone(),
            lease_duration: machine.settings().timing.lease_duration(),
            valid_until: heartbeat.valid_until(),
            on_trust: !heartbeat.valid(now) && heartbeat.may_hold_on(now),
            session,
            candidacy: machine.candidacy(),
            draining: machine.is_draining(),
            synced: machine.is_synced(),
            api_failing: self.log.failing().cloned(),
        };
        let wire = self.channels.wire.borrow().clone();
        let intent = self.channels.intent.borrow().clone();
        let wanted = intent.iter().flat_map(|intent| &intent.vips);
        let vips = wanted.filter_map(|(vip, wanted)| {
            let (state, holder) = machine.describe(now, *vip)?;
            let entry = wire.as_ref().and_then(|wire| wire.vips.get(vip)).copied();
            let report = VipReport {
                state: VipState::new(now, state, claims.hindrance(*vip), entry),
                holder,
                since: self.tenures.since(*vip),
                services: Arc::clone(&wanted.services),
                conflict: claims.last_claim(*vip),
            };
            Some((*vip, report))
        });
        let vips = vips.collect();
        Report { at: now, cluster: Some(cluster), vips, conflicts: claims.conflicts() }
    }
}

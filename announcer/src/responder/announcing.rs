//! Which VIPs one interface announces and probes for: pure. It follows from what the
//! maps answer, and from the desired state.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    announce::{Announcement, Schedule, Settings, probing::Probes},
    types::{BootTime, Vip},
    wire_state::{WireEntry, WireState},
};

/// The announcements of one interface.
#[derive(Debug)]
pub(super) struct Announcing {
    schedule: Schedule,
    /// VIPs that were answered when last looked at, and whose announcements began.
    announced: BTreeSet<Vip>,
    /// The defences of the last desired state: each is carried out once.
    defended: BTreeMap<Vip, BootTime>,
    /// As the last desired state had it.
    regained: BTreeMap<Vip, u64>,
    probes: Probes,
}

impl Announcing {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            schedule: Schedule::new(settings),
            announced: BTreeSet::new(),
            defended: BTreeMap::new(),
            regained: BTreeMap::new(),
            probes: Probes::default(),
        }
    }

    /// The maps were written: `before` was answered just before, `after` is now.
    ///
    /// Announcements begin for whatever is answered now and was not all the time
    /// since they began last. A VIP whose time ran out in between is among them:
    /// another node may have taken it over meanwhile.
    pub(super) fn follow(&mut self, before: &BTreeSet<Vip>, after: &BTreeSet<Vip>, now: BootTime) {
        for vip in &self.announced - after {
            self.schedule.stop(vip);
        }
        for vip in after - &(&self.announced & before) {
            self.schedule.stop(vip);
            self.schedule.start(vip, now);
        }
        self.announced.clone_from(after);
    }

    /// The link is back, or has another MAC: everything is announced anew.
    pub(super) fn restart(&mut self, now: BootTime) {
        self.schedule.restart_all(now);
    }

    /// What else the desired state wants: VIPs to be announced though they were answered all
    /// the time, to be defended, and to be probed for. To be called after [`Self::follow`].
    pub(super) fn follow_claims(&mut self, state: &WireState, now: BootTime) {
        for (vip, time) in &state.regained {
            if self.regained.get(vip) != Some(time) && self.announced.contains(vip) {
                self.schedule.stop(*vip);
                self.schedule.start(*vip, now);
            }
        }
        self.regained.clone_from(&state.regained);
        for (vip, at) in &state.defences {
            if self.defended.get(vip) != Some(at) && self.announced.contains(vip) {
                self.schedule.defend(*vip, now);
            }
        }
        self.defended.clone_from(&state.defences);
        let probed = state.vips.iter().filter_map(|(vip, entry)| match entry {
            WireEntry::Probe { at } => Some((*vip, *at)),
            WireEntry::Answer { .. } | WireEntry::Silent => None,
        });
        self.probes.follow(probed);
    }

    /// The VIPs to send a probe for now. Probes are not held back, as what follows does
    /// not wait for them; announcements are, instead.
    pub(super) fn probes_due(&mut self, now: BootTime) -> Vec<Vip> {
        let due = self.probes.poll(now);
        self.schedule.spend(now, u32::try_from(due.len()).unwrap_or(u32::MAX));
        due
    }

    /// What is to be sent now. A VIP that is no longer answered is not announced.
    pub(super) fn due(&mut self, answering: &BTreeSet<Vip>, now: BootTime) -> Vec<Announcement> {
        let mut due = self.schedule.poll(now);
        due.retain(|announcement| {
            let answered = answering.contains(&announcement.vip);
            if !answered {
                self.schedule.stop(announcement.vip);
                self.announced.remove(&announcement.vip);
            }
            answered
        });
        due
    }

    pub(super) fn next_deadline(&self) -> Option<BootTime> {
        self.schedule.next_deadline().into_iter().chain(self.probes.next_deadline()).min()
    }
}

#[cfg(test)]
mod tests;

//! Which VIPs one interface announces: pure. It follows from what the maps answer.

use std::collections::BTreeSet;

use crate::{
    announce::{Announcement, Pacing, Schedule},
    types::{BootTime, Vip},
};

/// The announcements of one interface.
#[derive(Debug)]
pub(super) struct Announcing {
    schedule: Schedule,
    /// VIPs that were answered when last looked at, and whose announcements began.
    announced: BTreeSet<Vip>,
}

impl Announcing {
    pub(super) fn new(pacing: Pacing) -> Self {
        Self { schedule: Schedule::new(pacing), announced: BTreeSet::new() }
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
        self.schedule.next_deadline()
    }
}

#[cfg(test)]
mod tests;

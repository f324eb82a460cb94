//! VIPs that this node may answer no more, though no word has come of anybody else: nothing
//! renews what entitles it to.

use std::{collections::BTreeSet, mem};

use crate::{
    types::{BootTime, Vip},
    wire_state::{WireEntry, WireState},
};

/// VIPs whose time has run out, as far as people have been told.
#[derive(Debug, Default)]
pub(super) struct Validity {
    over: BTreeSet<Vip>,
}

/// What people are to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These are no longer answered.
    Over(BTreeSet<Vip>),
    /// These are answered again.
    Again(BTreeSet<Vip>),
}

impl Validity {
    /// What is new in what is on the wire now: of each VIP once.
    pub(super) fn follow(&mut self, now: BootTime, state: &WireState) -> Option<Change> {
        let is_over = |entry: &WireEntry| match entry {
            WireEntry::Answer { until } => *until <= now,
            _ => false,
        };
        let entries = state.vips.iter().filter(|(_, entry)| is_over(entry));
        let over: BTreeSet<Vip> = entries.map(|(vip, _)| *vip).collect();
        if over.is_empty() {
            let mut again = mem::take(&mut self.over);
            again.retain(|vip| matches!(state.vips.get(vip), Some(WireEntry::Answer { .. })));
            return (!again.is_empty()).then_some(Change::Again(again));
        }
        let fresh: BTreeSet<Vip> = over.difference(&self.over).copied().collect();
        self.over.extend(&fresh);
        (!fresh.is_empty()).then_some(Change::Over(fresh))
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn vips(last: &[u8]) -> BTreeSet<Vip> {
        last.iter().map(|n| format!("192.0.2.{n}").parse().expect("a VIP")).collect()
    }

    #[test]
    fn each_vip_is_told_once_when_its_time_runs_out_and_when_it_is_answered_again() {
        let at = |seconds| BootTime::ZERO + Duration::from_secs(seconds);
        let answered = |last: &[u8], until| {
            vips(last).into_iter().map(move |vip| (vip, WireEntry::Answer { until: at(until) }))
        };
        let silent = |last: &[u8]| vips(last).into_iter().map(|vip| (vip, WireEntry::Silent));
        let state = |entries: Vec<(Vip, WireEntry)>| WireState {
            vips: entries.into_iter().collect(),
            ..WireState::default()
        };
        let mut validity = Validity::default();
        let held = || state(answered(&[1, 2], 3).chain(silent(&[9])).collect());
        assert_eq!(validity.follow(at(2), &held()), None, "all is well");
        assert_eq!(validity.follow(at(3), &held()), Some(Change::Over(vips(&[1, 2]))));
        assert_eq!(validity.follow(at(4), &held()), None, "that is known");
        let more = state(answered(&[1, 2], 3).chain(answered(&[3], 4)).collect());
        assert_eq!(validity.follow(at(5), &more), Some(Change::Over(vips(&[3]))));
        // Another node has taken one meanwhile.
        let renewed = state(answered(&[1, 3], 8).chain(silent(&[2, 9])).collect());
        assert_eq!(validity.follow(at(6), &renewed), Some(Change::Again(vips(&[1, 3]))));
        assert_eq!(validity.follow(at(7), &renewed), None);
        assert!(validity.follow(at(8), &renewed).is_some(), "the next time, again");
        let fenced = state(silent(&[1, 2, 3]).collect());
        assert_eq!(validity.follow(at(9), &fenced), None, "the session's end is told elsewhere");
    }
}

//! When which VIP is probed on one interface (RFC 5227 section 2.1.1): pure. The
//! instants come with the desired state; here is which of them are over.

use std::collections::BTreeMap;

use crate::{
    types::{BootTime, Vip},
    wire_state::ProbeTimes,
};

/// The probes of one interface that are still to be sent.
#[derive(Debug, Default)]
pub struct Probes {
    vips: BTreeMap<Vip, Probing>,
}

#[derive(Clone, Copy, Debug)]
struct Probing {
    times: ProbeTimes,
    sent: usize,
}

impl Probing {
    fn next(&self) -> Option<BootTime> {
        self.times.get(self.sent).copied()
    }
}

impl Probes {
    /// What is to be probed from now on, and nothing else. A VIP whose instants are the
    /// same as before goes on.
    pub fn follow(&mut self, wanted: impl Iterator<Item = (Vip, ProbeTimes)>) {
        let before = std::mem::take(&mut self.vips);
        for (vip, times) in wanted {
            let same = before.get(&vip).copied().filter(|probing| probing.times == times);
            self.vips.insert(vip, same.unwrap_or(Probing { times, sent: 0 }));
        }
    }

    /// The VIPs to send a probe for now, each at most once: of two instants that have
    /// both gone by unnoticed, one frame says as much as two.
    pub fn poll(&mut self, now: BootTime) -> Vec<Vip> {
        let mut due = Vec::new();
        for (vip, probing) in &mut self.vips {
            let sent = probing.times.iter().filter(|at| **at <= now).count();
            if sent > probing.sent {
                probing.sent = sent;
                due.push(*vip);
            }
        }
        due
    }

    /// When [`poll`](Self::poll) will next return something.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.vips.values().filter_map(Probing::next).min()
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn vip(last: u8) -> Vip {
        format!("192.0.2.{last}").parse().expect("a VIP")
    }

    fn at(ms: u64) -> BootTime {
        BootTime::from_nanos(ms * 1_000_000)
    }

    fn times(ms: [u64; 3]) -> ProbeTimes {
        ms.map(at)
    }

    /// Follows the deadlines until nothing is to come.
    fn drain(probes: &mut Probes) -> Vec<(BootTime, Vec<Vip>)> {
        let mut sent = Vec::new();
        while let Some(deadline) = probes.next_deadline() {
            sent.push((deadline, probes.poll(deadline)));
        }
        sent
    }

    #[test]
    fn each_instant_is_one_probe() {
        let mut probes = Probes::default();
        let wanted = [(vip(1), times([10, 30, 60])), (vip(2), times([20, 30, 50]))];
        probes.follow(wanted.into_iter());
        assert_eq!(probes.poll(at(9)), []);
        let one = |ms, last| (at(ms), vec![vip(last)]);
        let both = (at(30), vec![vip(1), vip(2)]);
        assert_eq!(drain(&mut probes), [one(10, 1), one(20, 2), both, one(50, 2), one(60, 1)]);
    }

    #[test]
    fn the_same_state_again_sends_nothing_again_and_other_instants_begin_anew() {
        let mut probes = Probes::default();
        let wanted = |ms| [(vip(1), times(ms))].into_iter();
        probes.follow(wanted([10, 30, 60]));
        assert_eq!(probes.poll(at(10)), [vip(1)]);
        probes.follow(wanted([10, 30, 60]));
        assert_eq!(probes.poll(at(10)), []);
        probes.follow(wanted([40, 50, 60]));
        assert_eq!(probes.next_deadline(), Some(at(40)));
        probes.follow([].into_iter());
        assert_eq!(probes.next_deadline(), None);
    }

    #[test]
    fn what_was_missed_is_one_probe() {
        let mut probes = Probes::default();
        probes.follow([(vip(1), times([10, 30, 60]))].into_iter());
        assert_eq!(probes.poll(at(50)), [vip(1)]);
        assert_eq!(probes.poll(at(50)), []);
        assert_eq!(probes.next_deadline(), Some(at(60)));
    }
}

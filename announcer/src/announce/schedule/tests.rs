#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn vip(n: u16) -> Vip {
    let [a, b] = n.to_be_bytes();
    format!("10.1.{a}.{b}").parse().expect("a unicast address")
}

fn at(ms: u64) -> BootTime {
    BootTime::from_nanos(ms * 1_000_000)
}

fn pacing(rate: u32, burst: u32) -> Pacing {
    Pacing::new(NonZeroU32::new(rate).expect("a rate"), burst)
}

/// Follows the deadlines until nothing is to come.
fn drain(schedule: &mut Schedule) -> Vec<(BootTime, Announcement)> {
    let mut sent = Vec::new();
    while let Some(deadline) = schedule.next_deadline() {
        let due = schedule.poll(deadline);
        assert!(!due.is_empty(), "a deadline at which nothing is due");
        sent.extend(due.into_iter().map(|a| (deadline, a)));
    }
    sent
}

fn rounds(sent: &[Announcement]) -> Vec<(Vip, u8)> {
    sent.iter().map(|a| (a.vip, a.round)).collect()
}

#[test]
fn a_takeover_is_five_rounds_1100_ms_apart_the_first_at_once() {
    let mut schedule = Schedule::new(Pacing::default());
    assert_eq!(schedule.next_deadline(), None);
    schedule.start(vip(1), at(50));
    let sent = drain(&mut schedule);
    let expected: Vec<_> = (1..=5)
        .map(|round| (at(50 + 1100 * (u64::from(round) - 1)), Announcement { vip: vip(1), round }))
        .collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_late_poll_moves_the_later_rounds() {
    let mut schedule = Schedule::new(Pacing::default());
    schedule.start(vip(1), at(0));
    assert_eq!(rounds(&schedule.poll(at(700))), [(vip(1), 1)]);
    assert_eq!(schedule.poll(at(1100)), []);
    assert_eq!(schedule.next_deadline(), Some(at(1800)));
}

#[test]
fn a_lost_vip_is_not_announced_any_more() {
    let mut schedule = Schedule::new(Pacing::default());
    schedule.start(vip(1), at(0));
    schedule.start(vip(2), at(0));
    schedule.stop(vip(1));
    assert_eq!(rounds(&schedule.poll(at(0))), [(vip(2), 1)]);
    schedule.stop(vip(2));
    assert_eq!(schedule.next_deadline(), None);
    schedule.restart_all(at(1));
    assert_eq!(schedule.poll(at(1)), []);
}

#[test]
fn a_link_that_comes_back_announces_every_vip_anew() {
    let mut schedule = Schedule::new(Pacing::default());
    schedule.start(vip(1), at(0));
    drain(&mut schedule);
    schedule.start(vip(2), at(10_000));
    schedule.poll(at(10_000));
    schedule.adopt(vip(3));
    assert_eq!(schedule.next_deadline(), Some(at(11_100)), "nothing is due for an adopted VIP");

    schedule.restart_all(at(10_500));
    let sent = drain(&mut schedule);
    for n in 1..=3 {
        let times: Vec<_> = sent.iter().filter(|(_, a)| a.vip == vip(n)).map(|s| s.0).collect();
        assert_eq!(times, [10_500, 11_600, 12_700, 13_800, 14_900].map(at), "{}", vip(n));
    }
}

#[test]
fn adopting_a_vip_leaves_its_rounds_alone() {
    let mut schedule = Schedule::new(Pacing::default());
    schedule.start(vip(1), at(0));
    schedule.adopt(vip(1));
    assert_eq!(rounds(&schedule.poll(at(0))), [(vip(1), 1)]);
}

#[test]
fn taken_over_again_while_waiting_it_keeps_its_place() {
    let mut schedule = Schedule::new(pacing(10, 2));
    for n in [2, 1] {
        schedule.start(vip(n), at(u64::from(3 - n)));
    }
    schedule.start(vip(2), at(3));
    assert_eq!(rounds(&schedule.poll(at(3))), [(vip(2), 1)]);
}

#[test]
fn a_hundred_takeovers_go_out_at_once_by_default() {
    let mut schedule = Schedule::new(Pacing::default());
    for n in 0..101 {
        schedule.start(vip(n), at(0));
    }
    assert_eq!(schedule.poll(at(0)).len(), 100);
    assert_eq!(schedule.poll(at(3)), []);
    assert_eq!(schedule.next_deadline(), Some(at(4)), "two frames at 500 a second");
    assert_eq!(schedule.poll(at(4)).len(), 1);
}

#[test]
fn a_thousand_takeovers_are_announced_once_within_four_seconds() {
    let mut schedule = Schedule::new(Pacing::default());
    for n in 0..1000 {
        schedule.start(vip(n), at(0));
    }
    let sent = drain(&mut schedule);
    assert_eq!(sent.len(), 5000);
    let last_first = sent.iter().filter(|(_, a)| a.round == 1).map(|s| s.0).max();
    assert!(last_first < Some(at(4000)), "{last_first:?}");
}

#[test]
fn a_new_takeover_overtakes_waiting_repeats() {
    let mut schedule = Schedule::new(pacing(10, 4));
    schedule.start(vip(1), at(0));
    schedule.start(vip(2), at(0));
    assert_eq!(schedule.poll(at(0)).len(), 2);
    schedule.start(vip(3), at(1100));
    assert_eq!(rounds(&schedule.poll(at(1100))), [(vip(3), 1), (vip(1), 2)]);
}

#[test]
fn a_burst_too_small_for_a_round_is_raised_to_one() {
    let mut schedule = Schedule::new(pacing(1, 0));
    schedule.start(vip(1), at(0));
    assert_eq!(schedule.poll(at(0)).len(), 1);
}

#[derive(Clone, Debug)]
enum Op {
    Start(u16),
    Adopt(u16),
    Stop(u16),
    RestartAll,
    /// Time passes without a poll: the owner was late.
    Wait(u64),
    /// Wait until the next deadline, then poll.
    Deadline,
    Poll,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..12_u16).prop_map(Op::Start),
        1 => (0..12_u16).prop_map(Op::Adopt),
        1 => (0..12_u16).prop_map(Op::Stop),
        1 => Just(Op::RestartAll),
        3 => (0..3_000_000_000_u64).prop_map(Op::Wait),
        8 => Just(Op::Deadline),
        4 => Just(Op::Poll),
    ]
}

/// What the schedule owes one VIP, by a model that knows nothing of queues.
#[derive(Clone, Copy, Debug)]
struct Owed {
    next_round: u8,
    not_before: BootTime,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_history_keeps_the_bounds(
        ops in prop::collection::vec(op(), 1..120),
        rate in 1..2000_u32,
        burst in 2..40_u32,
    ) {
        let mut schedule = Schedule::new(pacing(rate, burst));
        let mut now = at(1);
        let mut owed: BTreeMap<Vip, Option<Owed>> = BTreeMap::new();
        let mut sent_at: Vec<BootTime> = Vec::new();

        // At the end, let everything that is owed go out.
        let ops = ops.into_iter().chain(std::iter::repeat_n(Op::Deadline, 5 * 12 + 1));
        for op in ops {
            let begin_anew = |now| Some(Owed { next_round: 1, not_before: now });
            match op {
                Op::Start(n) => {
                    schedule.start(vip(n), now);
                    owed.insert(vip(n), begin_anew(now));
                }
                Op::Adopt(n) => {
                    schedule.adopt(vip(n));
                    owed.entry(vip(n)).or_insert(None);
                }
                Op::Stop(n) => {
                    schedule.stop(vip(n));
                    owed.remove(&vip(n));
                }
                Op::RestartAll => {
                    schedule.restart_all(now);
                    owed.values_mut().for_each(|o| *o = begin_anew(now));
                }
                Op::Wait(ns) => now = now + Duration::from_nanos(ns),
                Op::Deadline | Op::Poll => {
                    let deadline = schedule.next_deadline();
                    prop_assert_eq!(deadline.is_none(), owed.values().all(Option::is_none));
                    if let (Op::Deadline, Some(deadline)) = (&op, deadline)
                        && deadline > now
                    {
                        prop_assert_eq!(schedule.poll(now), [], "before the deadline");
                        let just_before = deadline - Duration::from_nanos(1);
                        prop_assert_eq!(schedule.poll(just_before), [], "before the deadline");
                        now = deadline;
                    }
                    let due = schedule.poll(now);
                    prop_assert_eq!(!due.is_empty(), deadline.is_some_and(|d| d <= now));
                    prop_assert!(due.is_sorted_by_key(|a| a.round > 1), "firsts overtake: {due:?}");
                    for Announcement { vip, round } in due.iter().copied() {
                        let Some(Some(o)) = owed.get(&vip).copied() else {
                            return Err(TestCaseError::fail(format!("{vip} is owed nothing")));
                        };
                        prop_assert_eq!(round, o.next_round);
                        prop_assert!(now >= o.not_before, "{} too early", vip);
                        let next = Owed { next_round: round + 1, not_before: now + ROUND_INTERVAL };
                        owed.insert(vip, (round < ROUNDS).then_some(next));
                        sent_at.extend([now; 2]);
                    }
                    if due.iter().any(|a| a.round > 1) {
                        let waiting = owed.values().flatten().any(|o| o.next_round == 1);
                        prop_assert!(!waiting, "a repeat went out before a first round");
                    }
                }
            }
        }

        prop_assert!(owed.values().all(Option::is_none), "not every round was sent: {owed:?}");
        prop_assert_eq!(schedule.next_deadline(), None);
        for (i, &from) in sent_at.iter().enumerate() {
            for (frames, &to) in (1_u128..).zip(&sent_at[i..]) {
                let earned = to.since(from).as_nanos() * u128::from(rate);
                prop_assert!(
                    frames * 1_000_000_000 <= u128::from(burst) * 1_000_000_000 + earned,
                    "{frames} frames from {from:?} to {to:?}"
                );
            }
        }
    }
}

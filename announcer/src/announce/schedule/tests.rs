#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;

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
    sent.iter().map(|a| (a.vip, round(a))).collect()
}

fn round(announcement: &Announcement) -> u8 {
    match announcement.kind {
        Kind::Takeover(round) => round,
        Kind::Defence | Kind::Refresh => 0,
    }
}

/// Without refreshes: it comes to an end.
fn once(pacing: Pacing) -> Schedule {
    Schedule::new(Settings { pacing, refresh: None })
}

fn takeover(n: u16, round: u8) -> Announcement {
    Announcement { vip: vip(n), kind: Kind::Takeover(round) }
}

#[test]
fn a_takeover_is_five_rounds_1100_ms_apart_the_first_at_once() {
    let mut schedule = once(Pacing::default());
    assert_eq!(schedule.next_deadline(), None);
    schedule.start(vip(1), at(50));
    let sent = drain(&mut schedule);
    let expected: Vec<_> =
        (1..=5).map(|round| (at(50 + 1100 * (u64::from(round) - 1)), takeover(1, round))).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_late_poll_moves_the_later_rounds() {
    let mut schedule = once(Pacing::default());
    schedule.start(vip(1), at(0));
    assert_eq!(rounds(&schedule.poll(at(700))), [(vip(1), 1)]);
    assert_eq!(schedule.poll(at(1100)), []);
    assert_eq!(schedule.next_deadline(), Some(at(1800)));
}

#[test]
fn a_lost_vip_is_not_announced_any_more() {
    let mut schedule = once(Pacing::default());
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
    let mut schedule = once(Pacing::default());
    schedule.start(vip(1), at(0));
    drain(&mut schedule);
    schedule.start(vip(2), at(10_000));
    schedule.poll(at(10_000));
    schedule.adopt(vip(3), at(10_000));
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
    let mut schedule = once(Pacing::default());
    schedule.start(vip(1), at(0));
    schedule.adopt(vip(1), at(0));
    assert_eq!(rounds(&schedule.poll(at(0))), [(vip(1), 1)]);
}

#[test]
fn the_newest_takeover_goes_first_and_one_that_waits_keeps_its_place() {
    let mut schedule = once(pacing(10, 2));
    for n in [2, 1] {
        schedule.start(vip(n), at(u64::from(3 - n)));
    }
    schedule.start(vip(2), at(3));
    assert_eq!(rounds(&schedule.poll(at(3))), [(vip(1), 1)]);
}

#[test]
fn a_hundred_takeovers_go_out_at_once_by_default() {
    let mut schedule = once(Pacing::default());
    for n in 0..101 {
        schedule.start(vip(n), at(0));
    }
    assert_eq!(schedule.poll(at(0)).len(), 100);
    assert_eq!(schedule.poll(at(9)), []);
    assert_eq!(schedule.next_deadline(), Some(at(10)), "two frames at 200 a second");
    assert_eq!(schedule.poll(at(10)).len(), 1);
}

#[test]
fn a_thousand_takeovers_are_announced_once_within_thirteen_seconds() {
    let mut schedule = once(Pacing::default());
    for n in 0..1000 {
        schedule.start(vip(n), at(0));
    }
    let sent = drain(&mut schedule);
    assert_eq!(sent.len(), 5000);
    let last_first = sent.iter().filter(|(_, a)| round(a) == 1).map(|s| s.0).max();
    // Every fourth turn goes to a repeat that has waited longer than any first round.
    assert!(last_first < Some(at(13_000)), "{last_first:?}");
}

#[test]
fn a_new_takeover_overtakes_waiting_repeats() {
    let mut schedule = once(pacing(10, 4));
    schedule.start(vip(1), at(0));
    schedule.start(vip(2), at(0));
    assert_eq!(schedule.poll(at(0)).len(), 2);
    schedule.start(vip(3), at(1100));
    assert_eq!(rounds(&schedule.poll(at(1100))), [(vip(3), 1), (vip(1), 2)]);
}

#[test]
fn a_burst_too_small_for_a_round_is_raised_to_one() {
    let mut schedule = once(pacing(1, 0));
    schedule.start(vip(1), at(0));
    assert_eq!(schedule.poll(at(0)).len(), 1);
}

#[test]
fn a_defence_is_one_round_and_leaves_the_others_alone() {
    let mut schedule = once(Pacing::default());
    schedule.defend(vip(1), at(0));
    assert_eq!(schedule.next_deadline(), None, "it is not announced here");
    schedule.start(vip(1), at(0));
    schedule.defend(vip(1), at(0));
    assert_eq!(schedule.poll(at(0)), [takeover(1, 1)], "the first round will do");
    schedule.defend(vip(1), at(500));
    schedule.defend(vip(1), at(501));
    let defence = Announcement { vip: vip(1), kind: Kind::Defence };
    assert_eq!(schedule.poll(at(501)), [defence]);
    assert_eq!(schedule.poll(at(1100)), [takeover(1, 2)]);
    schedule.defend(vip(1), at(1200));
    schedule.stop(vip(1));
    assert_eq!(schedule.next_deadline(), None);
}

#[test]
fn after_its_rounds_a_vip_is_refreshed_by_one_frame_at_a_time() {
    let mut schedule = Schedule::new(Settings::default());
    schedule.start(vip(1), at(0));
    let mut sent = Vec::new();
    for _ in 0..15 {
        let deadline = schedule.next_deadline().expect("it never ends");
        sent.extend(schedule.poll(deadline).into_iter().map(|a| (deadline, a)));
    }
    let refreshes: Vec<_> = sent[4..].iter().map(|(at, _)| *at).collect();
    assert!(sent[5..].iter().all(|(_, a)| a.kind == Kind::Refresh && a.kind.frames() == 1));
    let gaps: Vec<_> = refreshes.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    let bounds = Duration::from_secs(45)..=Duration::from_secs(76);
    assert!(gaps.iter().all(|gap| bounds.contains(gap)), "{gaps:?}");
    assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]), "jitter: {gaps:?}");
}

#[test]
fn vips_taken_together_are_not_refreshed_together() {
    let mut schedule = Schedule::new(Settings::default());
    for n in 0..60 {
        schedule.start(vip(n), at(0));
    }
    let (mut per_second, mut wakes) = (BTreeMap::new(), 0);
    while let Some(deadline) = schedule.next_deadline().filter(|deadline| *deadline < at(200_000)) {
        wakes += 1;
        let refreshes = schedule.poll(deadline).into_iter().filter(|a| a.kind == Kind::Refresh);
        *per_second.entry(deadline.as_nanos() / 1_000_000_000).or_insert(0) += refreshes.count();
    }
    let most = per_second.values().max().copied().unwrap_or(0);
    assert!(most <= 10, "{most} of 60 within one second");
    assert!(wakes <= 205, "more than one wake a second: {wakes}");
}

/// 5,000 VIPs at 200 frames a second: whatever happens among them meanwhile, each is
/// on the wire often enough for a switch that forgets after 300 s.
#[test]
fn five_thousand_vips_are_all_refreshed_before_switches_forget() {
    let ageing = Duration::from_secs(300);
    let mut schedule = Schedule::new(Settings::default());
    let mut heard: BTreeMap<Vip, BootTime> = BTreeMap::new();
    for n in 0..5000 {
        schedule.start(vip(n), at(0));
        heard.insert(vip(n), at(0));
    }
    // A hundred others come and go meanwhile.
    let mut churn = (0..100_u16).map(|n| (at(20_000 + 10_000 * u64::from(n)), vip(6000 + n % 7)));
    let mut next_churn = churn.next();
    let mut longest = Duration::ZERO;
    while let Some(deadline) = schedule.next_deadline().filter(|deadline| *deadline < at(900_000)) {
        let mut now = deadline;
        if let Some((when, vip)) = next_churn
            && when <= deadline
        {
            now = when;
            schedule.start(vip, when);
            next_churn = churn.next();
        }
        for announcement in schedule.poll(now) {
            if let Some(before) = heard.get_mut(&announcement.vip) {
                longest = longest.max(now.since(*before));
                *before = now;
            }
        }
    }
    longest = heard.values().map(|last| at(900_000).since(*last)).fold(longest, Duration::max);
    assert!(longest < ageing, "{longest:?} without a frame");
}

/// More takeovers than the rate has room for, for ever: repeats and refreshes of the
/// others still get their turn.
#[test]
fn takeovers_without_end_starve_nothing() {
    let settings = Settings { pacing: pacing(20, 2), refresh: Some(Duration::from_secs(10)) };
    let mut schedule = Schedule::new(settings);
    schedule.start(vip(0), at(0));
    let mut kinds = Vec::new();
    for step in 1..1200_u64 {
        let now = at(step * 50);
        schedule.start(vip(u16::try_from(step).expect("few")), now);
        let sent = schedule.poll(now);
        kinds.extend(sent.iter().filter(|a| a.vip == vip(0)).map(|a| a.kind));
    }
    assert!(kinds.contains(&Kind::Takeover(2)), "{kinds:?}");
}

#[derive(Clone, Debug)]
enum Op {
    Start(u16),
    Adopt(u16),
    Stop(u16),
    Defend(u16),
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
        2 => (0..12_u16).prop_map(Op::Defend),
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
        let mut schedule = once(pacing(rate, burst));
        let mut now = at(1);
        let mut owed: BTreeMap<Vip, Option<Owed>> = BTreeMap::new();
        let mut defended: BTreeSet<Vip> = BTreeSet::new();
        let mut sent_at: Vec<BootTime> = Vec::new();

        // At the end, let everything that is owed go out.
        let ops = ops.into_iter().chain(std::iter::repeat_n(Op::Deadline, 6 * 12 + 1));
        for op in ops {
            let begin_anew = |now| Some(Owed { next_round: 1, not_before: now });
            match op {
                Op::Start(n) => {
                    schedule.start(vip(n), now);
                    // Unless its first round waits, defence and all begin anew.
                    if !owed.get(&vip(n)).copied().flatten().is_some_and(|o| o.next_round == 1) {
                        owed.insert(vip(n), begin_anew(now));
                        defended.remove(&vip(n));
                    }
                }
                Op::Defend(n) => {
                    schedule.defend(vip(n), now);
                    match owed.get(&vip(n)).copied() {
                        None | Some(Some(Owed { next_round: 1, .. })) => {}
                        Some(_) => drop(defended.insert(vip(n))),
                    }
                }
                Op::Adopt(n) => {
                    schedule.adopt(vip(n), now);
                    owed.entry(vip(n)).or_insert(None);
                }
                Op::Stop(n) => {
                    schedule.stop(vip(n));
                    owed.remove(&vip(n));
                    defended.remove(&vip(n));
                }
                Op::RestartAll => {
                    schedule.restart_all(now);
                    owed.values_mut().for_each(|o| *o = begin_anew(now));
                    defended.clear();
                }
                Op::Wait(ns) => now = now + Duration::from_nanos(ns),
                Op::Deadline | Op::Poll => {
                    let deadline = schedule.next_deadline();
                    let nothing = owed.values().all(Option::is_none) && defended.is_empty();
                    prop_assert_eq!(deadline.is_none(), nothing);
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
                    for Announcement { vip, kind } in due.iter().copied() {
                        sent_at.extend([now; 2]);
                        let Kind::Takeover(round) = kind else {
                            prop_assert_eq!(kind, Kind::Defence, "there are no refreshes");
                            prop_assert!(defended.remove(&vip), "{} is not to be defended", vip);
                            continue;
                        };
                        let Some(Some(o)) = owed.get(&vip).copied() else {
                            return Err(TestCaseError::fail(format!("{vip} is owed nothing")));
                        };
                        prop_assert_eq!(round, o.next_round);
                        prop_assert!(now >= o.not_before, "{} too early", vip);
                        let next = Owed { next_round: round + 1, not_before: now + ROUND_INTERVAL };
                        owed.insert(vip, (round < ROUNDS).then_some(next));
                    }
                    // Of four in a row one at most is no first round while one waits.
                    let waiting = owed.values().flatten().any(|o| o.next_round == 1);
                    let others = due.iter().filter(|a| round(a) != 1).count();
                    prop_assert!(!waiting || others <= due.len().div_ceil(4), "{due:?}");
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

//! One node's session through everything that can happen to it.

use super::*;
use crate::ownership::lease::Version;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Milliseconds after an arbitrary boot.
fn at(n: u64) -> BootTime {
    BootTime::from_nanos(1_000_000_000_000) + ms(n)
}

fn lease(version: u64, transitions: u32, open: bool) -> NodeLease {
    NodeLease { version: Version(version), session: Session::new("uid", transitions), open }
}

fn heartbeat(on_loss: OnApiLoss) -> Heartbeat {
    let timing = Timing::new(ms(3000), ms(1000)).expect("the default timing");
    let mut h = Heartbeat::new("node-1".parse().expect("a node name"), timing, on_loss, None);
    h.want(at(0), true);
    h
}

/// In session uid/1, its last renewal (version 2) sent at 0 and answered at 10.
fn in_session(on_loss: OnApiLoss) -> Heartbeat {
    let mut h = heartbeat(on_loss);
    assert!(matches!(h.poll(at(0)), Some(Request::ReadNode(_))));
    h.answered(at(0), Reply::NotFound);
    assert!(matches!(h.poll(at(0)), Some(Request::WriteNode { expect: None, open: false, .. })));
    assert!(!h.answered(at(0), Reply::Ok(lease(1, 0, false))), "no session yet");
    assert!(matches!(h.poll(at(0)), Some(Request::WriteNode { open: true, .. })));
    assert!(h.answered(at(10), Reply::Ok(lease(2, 1, true))));
    h
}

fn sends_renewal(h: &mut Heartbeat, now: BootTime) -> bool {
    matches!(h.poll(now), Some(Request::WriteNode { open: true, .. }))
}

#[test]
fn validity_counts_from_the_sending_less_the_margin() {
    let h = in_session(OnApiLoss::Withdraw);
    assert_eq!(h.session(), Some(&Session::new("uid", 1)));
    assert_eq!(h.answer_until(at(10)), Some(at(2400)));
    assert!(h.valid(at(2399)) && !h.valid(at(2400)));
    assert_eq!(h.next_deadline(at(10)), at(1000), "the next renewal is due an interval after it");
}

#[test]
fn an_answer_that_comes_too_late_extends_nothing_and_is_followed_at_once() {
    let mut h = in_session(OnApiLoss::Withdraw);
    assert!(sends_renewal(&mut h, at(1000)));
    h.answered(at(3500), Reply::Ok(lease(3, 1, true)));
    assert!(!h.valid(at(3500)));
    assert!(sends_renewal(&mut h, at(3500)));
}

#[test]
fn a_lost_answer_is_found_out_and_the_session_goes_on() {
    let mut h = in_session(OnApiLoss::Withdraw);
    assert!(sends_renewal(&mut h, at(1000)));
    // Applied as version 3, but nobody told us; the next try conflicts.
    h.answered(at(2200), Reply::Failed);
    let again = h.next_deadline(at(2200));
    assert!(sends_renewal(&mut h, again));
    h.answered(at(2260), Reply::Conflict);
    assert!(matches!(h.poll(at(2260)), Some(Request::ReadNode(_))));
    assert!(!h.answered(at(2270), Reply::Ok(lease(3, 1, true))), "no change of session");
    assert!(sends_renewal(&mut h, at(2270)));
    h.answered(at(2280), Reply::Ok(lease(4, 1, true)));
    assert_eq!(h.answer_until(at(2280)), Some(at(4670)));
}

#[test]
fn a_fence_ends_the_session_and_the_next_is_another() {
    for on_loss in [OnApiLoss::Hold, OnApiLoss::Withdraw] {
        let mut h = in_session(on_loss);
        assert!(h.observe(at(500), Seen::Present(lease(3, 2, false))), "the session changed");
        assert_eq!(h.answer_until(at(500)), None);
        let request = h.poll(at(500));
        assert!(matches!(request, Some(Request::WriteNode { transitions: 3, open: true, .. })));
        assert!(h.answered(at(510), Reply::Ok(lease(4, 3, true))));
        assert_eq!(h.session(), Some(&Session::new("uid", 3)));
    }
}

#[test]
fn old_news_of_the_own_lease_changes_nothing() {
    let mut h = in_session(OnApiLoss::Withdraw);
    assert!(!h.observe(at(20), Seen::Present(lease(1, 0, false))));
    assert!(!h.observe(at(20), Seen::Absent(Some(Version(1)))));
    assert!(h.valid(at(20)));
}

#[test]
fn a_deleted_lease_ends_the_session() {
    let mut h = in_session(OnApiLoss::Hold);
    assert!(h.observe(at(20), Seen::Absent(Some(Version(3)))));
    assert_eq!(h.answer_until(at(20)), None);
    assert!(matches!(h.poll(at(20)), Some(Request::WriteNode { expect: None, .. })));
}

/// Fails every renewal until `end`, polling as often as the machine asks for.
fn outage(h: &mut Heartbeat, mut now: BootTime, end: BootTime) {
    while now < end {
        if h.poll(now).is_some() {
            h.answered(now, Reply::Failed);
        }
        now = h.next_deadline(now).max(now + ms(1));
    }
}

#[test]
fn an_outage_is_held_through_or_not_as_told() {
    let mut hold = in_session(OnApiLoss::Hold);
    outage(&mut hold, at(1000), at(60_000));
    assert!(hold.answer_until(at(60_000)) > Some(at(60_000)), "holds on");
    assert!(!hold.valid(at(60_000)), "without claiming to be valid");
    let mut withdraw = in_session(OnApiLoss::Withdraw);
    outage(&mut withdraw, at(1000), at(60_000));
    assert_eq!(withdraw.answer_until(at(60_000)), Some(at(2400)), "stopped at the deadline");
}

#[test]
fn after_a_gap_nothing_is_held_on_trust_until_the_session_is_confirmed() {
    let mut h = in_session(OnApiLoss::Hold);
    outage(&mut h, at(1000), at(10_000));
    // Stopped for a minute in the middle of it.
    let woken = at(70_000);
    h.poll(woken);
    assert!(h.answer_until(woken) <= Some(woken), "trusts nothing after a gap");
    h.answered(woken + ms(1), Reply::Failed);
    outage(&mut h, woken + ms(100), woken + ms(20_000));
    assert!(h.answer_until(woken + ms(20_000)) <= Some(woken), "nor later in the outage");
    let now = woken + ms(30_000);
    let mut request = h.poll(now);
    if matches!(request, Some(Request::ReadNode(_))) {
        h.answered(now, Reply::Ok(lease(2, 1, true)));
        request = h.poll(now);
    }
    assert!(matches!(request, Some(Request::WriteNode { .. })));
    h.answered(now + ms(10), Reply::Ok(lease(3, 1, true)));
    assert_eq!(h.answer_until(now + ms(10)), Some(now + ms(2400)), "confirmed");
}

#[test]
fn a_predecessors_session_is_taken_up_only_if_it_is_still_open() {
    let timing = Timing::new(ms(3000), ms(1000)).expect("the default timing");
    for (found, taken_up) in
        [(lease(7, 4, true), true), (lease(8, 5, false), false), (lease(8, 5, true), false)]
    {
        let adopted = Some((Session::new("uid", 4), at(900)));
        let me = "node-1".parse().expect("a node name");
        let mut h = Heartbeat::new(me, timing, OnApiLoss::Hold, adopted);
        assert_eq!(h.inherited(), Some(&Session::new("uid", 4)));
        assert!(matches!(h.poll(at(0)), Some(Request::ReadNode(_))));
        assert!(h.answered(at(5), Reply::Ok(found)));
        assert_eq!(h.answer_until(at(5)), taken_up.then_some(at(900)), "and no longer than before");
        assert!(!h.valid(at(5)), "entitled to nothing before its own first renewal");
        let renewed = |request| matches!(request, Some(Request::WriteNode { transitions: 4, .. }));
        assert_eq!(renewed(h.poll(at(5))), taken_up, "before it is known whether it is to go on");
        h.want(at(6), true);
        let opened = |request| matches!(request, Some(Request::WriteNode { transitions: 6, .. }));
        assert_eq!(opened(h.poll(at(6))), !taken_up);
    }
}

#[test]
fn a_closed_session_entitles_to_nothing_from_the_sending_on_and_another_can_follow() {
    let mut h = in_session(OnApiLoss::Hold);
    h.want(at(100), false);
    assert!(matches!(h.poll(at(100)), Some(Request::WriteNode { open: false, .. })));
    assert!(!h.valid(at(100)) && !h.closed());
    h.want(at(101), true);
    assert!(!h.valid(at(101)), "the write that closes it is on its way");
    assert!(h.answered(at(110), Reply::Ok(lease(3, 2, false))));
    assert!(matches!(h.poll(at(110)), Some(Request::WriteNode { transitions: 3, open: true, .. })));
    assert!(h.answered(at(120), Reply::Ok(lease(4, 3, true))));
    assert!(h.valid(at(120)));
}

#[test]
fn who_is_not_wanted_sends_nothing_at_all() {
    let mut h = in_session(OnApiLoss::Hold);
    h.want(at(100), false);
    h.poll(at(100));
    h.answered(at(110), Reply::Ok(lease(3, 2, false)));
    let next = h.next_deadline(at(110));
    assert!(next > at(1_000_000), "no wake-ups either");
    assert_eq!(h.poll(next), None);
}

#[test]
fn trust_ends_with_the_link_until_a_later_renewal_succeeds() {
    let mut h = in_session(OnApiLoss::Hold);
    outage(&mut h, at(1000), at(10_000));
    assert!(h.answer_until(at(10_000)) > Some(at(10_000)), "on trust");
    h.distrust(at(10_000));
    assert!(h.answer_until(at(10_000)) < Some(at(10_000)));
    let again = h.next_deadline(at(10_000));
    assert!(sends_renewal(&mut h, again));
    h.answered(again + ms(5), Reply::Ok(lease(3, 1, true)));
    assert_eq!(h.answer_until(again + ms(5)), Some(again + ms(2400)));
}

#[test]
fn an_orderly_end_closes_the_session() {
    let mut h = in_session(OnApiLoss::Hold);
    h.want(at(100), false);
    let request = h.poll(at(100));
    assert!(matches!(request, Some(Request::WriteNode { transitions: 2, open: false, .. })));
    h.answered(at(110), Reply::Ok(lease(3, 2, false)));
    assert!(h.closed());
    assert_eq!(h.poll(at(5000)), None, "and that is the end");
}

#[test]
fn a_renewal_of_our_own_that_went_unanswered_does_not_end_trust() {
    let mut h = in_session(OnApiLoss::Hold);
    assert!(sends_renewal(&mut h, at(1000)));
    // Applied, but its answer was lost; the next try meets our own write.
    h.answered(at(1700), Reply::Failed);
    let again = h.next_deadline(at(1700));
    assert!(sends_renewal(&mut h, again));
    h.answered(at(1800), Reply::Conflict);
    // And then the API server is gone, before it can be asked which it was.
    outage(&mut h, at(1800), at(20_000));
    assert!(h.answer_until(at(20_000)) > Some(at(20_000)));
}

#[test]
fn conflicts_that_go_on_are_paced_and_end_no_trust() {
    let mut h = in_session(OnApiLoss::Hold);
    let (mut now, mut requests) = (at(1000), 0);
    while now < at(10_000) {
        while let Some(request) = h.poll(now) {
            requests += 1;
            assert!(requests < 40, "by {:?}", now.since(at(0)));
            let reply = match request {
                Request::ReadNode(_) => Reply::Ok(lease(2, 1, true)),
                _ => Reply::Conflict,
            };
            h.answered(now, reply);
        }
        assert!(h.answer_until(now) > Some(now), "nobody has fenced us");
        now = h.next_deadline(now).max(now + ms(1));
    }
}

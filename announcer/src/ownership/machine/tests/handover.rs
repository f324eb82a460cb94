//! Who is given what, and when.

use super::*;

/// The VIPs of 192.0.2.0/24 that belong to this node, and those that do not.
fn sorted_out(eligible: &BTreeSet<NodeName>) -> (Vec<Vip>, Vec<Vip>) {
    (1..=60).map(vip).partition(|vip| {
        placement::vip_first(*vip, &BTreeSet::new(), eligible.iter()) == Some(&node(ME))
    })
}

/// This node holds all of 60 VIPs; node-2 opens a session now.
fn crowded(settings: Settings) -> (Bench, BTreeSet<Vip>) {
    let both = nodes(&[ME, "node-2"]);
    let (mine, theirs) = sorted_out(&both);
    assert!(mine.len() > 10 && theirs.len() > 10, "an even spread");
    let vips: Vec<Vip> = (1..=60).map(vip).collect();
    let mut bench = Bench::new(settings, on(&vips, &both), &[]);
    // Another might have held them without our knowing.
    let taken = bench.pass(seconds(4));
    assert_eq!(taken.len(), vips.len(), "alone, it takes all");
    taken.into_iter().for_each(|(vip, claim)| bench.grant(vip, claim));
    bench.session("node-2", 1, true);
    (bench, theirs.into_iter().collect())
}

fn to_node_2() -> Claim {
    Claim::Released { offered_by: Some(node(ME)), offered_to: Some(node("node-2")) }
}

#[test]
fn a_node_that_returned_and_stays_gets_what_belongs_to_it_bit_by_bit() {
    let (mut bench, theirs) = crowded(settings());
    assert_eq!(bench.pass(Duration::from_millis(8900)), [], "it may be gone again soon");
    let mut given = BTreeSet::new();
    for _ in 0..theirs.len() {
        for (vip, claim) in bench.pass(Duration::from_millis(100)) {
            assert_eq!(claim, to_node_2());
            given.insert(vip);
            bench.grant(vip, claim);
            assert!(bench.answers(vip), "until node-2 has it");
            bench.held_by(vip, "node-2");
        }
        assert!(given.len() <= 12 || bench.now > START + seconds(14), "ten a second");
    }
    assert_eq!(given, theirs);
    assert_eq!(bench.pass(seconds(20)), [], "and nothing else moves");
}

#[test]
fn vips_stay_where_they_are_if_they_are_told_to() {
    let (mut bench, _) = crowded(Settings { rebalance: None, ..settings() });
    assert_eq!(bench.pass(seconds(60)), []);
}

#[test]
fn an_offer_that_nobody_takes_is_repeated_ever_more_rarely() {
    let both = nodes(&[ME, "node-2"]);
    let (_, theirs) = sorted_out(&both);
    let vip = theirs[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip, ME);
    let mut offered_at = Vec::new();
    for _ in 0..2000 {
        for (vip, claim) in bench.pass(Duration::from_millis(100)) {
            if claim == to_node_2() {
                offered_at.push(bench.now.since(START));
            }
            bench.grant(vip, claim);
            assert!(bench.answers(vip), "without a gap");
        }
    }
    assert!((3..=6).contains(&offered_at.len()), "{offered_at:?}");
    let gaps: Vec<_> = offered_at.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.windows(2).all(|w| w[1] > w[0]), "{gaps:?}");
}

#[test]
fn what_is_offered_to_a_node_that_dies_comes_back_at_once() {
    let both = nodes(&[ME, "node-2"]);
    let vip = sorted_out(&both).1[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip, ME);
    let offers = bench.pass(Duration::from_millis(8500));
    assert_eq!(offers, [(vip, to_node_2())]);
    bench.grant(vip, to_node_2());
    bench.session("node-2", 2, false);
    let taken = bench.pass(Duration::ZERO);
    assert!(
        matches!(&taken[..], [(v, Claim::Held { node: n, .. })] if *v == vip && *n == node(ME))
    );
}

/// This node has taken a VIP of the other node's, which gave it to whoever comes first.
fn given_up_by_node_2() -> (Bench, Vip) {
    let both = nodes(&[ME, "node-2"]);
    let vip = sorted_out(&both).1[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.held_by(vip, "node-2");
    assert_eq!(bench.pass(seconds(20)), [], "it is in its place");
    bench.claimed(vip, Claim::Released { offered_by: Some(node("node-2")), offered_to: None });
    for (vip, claim) in bench.pass(Duration::ZERO) {
        bench.grant(vip, claim);
    }
    assert!(bench.machine.holds(vip));
    (bench, vip)
}

#[test]
fn what_a_node_gives_up_is_not_offered_to_it_while_it_may_be_leaving() {
    let (mut bench, vip) = given_up_by_node_2();
    assert_eq!(bench.pass(seconds(8)), [], "it may be about to end its session");
    bench.session("node-2", 2, false);
    bench.session("node-2", 3, true);
    assert_eq!(bench.pass(Duration::from_millis(8900)), [], "it has just returned");
    assert_eq!(bench.pass(seconds(1)), [(vip, to_node_2())], "it stays");
}

#[test]
fn a_node_that_goes_on_after_it_gave_a_vip_up_gets_it_back_in_time() {
    let (mut bench, vip) = given_up_by_node_2();
    let sent = bench.pass(seconds(9));
    assert_eq!(sent, [(vip, to_node_2())], "it had lost its endpoint, or a cable, for a while");
}

#[test]
fn what_waits_to_be_offered_stays_when_its_heir_begins_to_leave() {
    let (mut bench, theirs) = crowded(settings());
    bench.pass(Duration::from_millis(8900));
    let offers = bench.pass(seconds(1));
    assert!(!offers.is_empty() && offers.len() < theirs.len(), "more are waiting: {offers:?}");
    let (other, _) = offers[0].clone();
    bench.grant(other, to_node_2());
    bench.held_by(other, "node-2");
    bench.claimed(other, Claim::Released { offered_by: Some(node("node-2")), offered_to: None });
    let sent = bench.pass(seconds(8));
    let to_who_leaves = sent.iter().filter(|(_, claim)| *claim == to_node_2());
    assert_eq!(to_who_leaves.count(), 0, "{sent:?}");
}

proptest::proptest! {
    /// Whatever others give up, and whenever: who did so within three lease durations is
    /// offered nothing.
    #[test]
    fn nothing_is_offered_to_who_has_just_given_something_up(
        events in proptest::collection::vec((0..4_usize, 0..60_u8, 0..6000_u64), 1..40),
    ) {
        let three = nodes(&[ME, "node-2", "node-3"]);
        let vips: Vec<Vip> = (1..=60).map(vip).collect();
        let mut bench = Bench::new(settings(), on(&vips, &three), &["node-2", "node-3"]);
        let mut gave_up = BTreeMap::new();
        for (what, which, ms) in events {
            let (vip, other) = (vips[usize::from(which)], ["node-2", "node-3"][what % 2]);
            if what < 2 {
                bench.held_by(vip, other);
            } else {
                let offered_by = Some(node(other));
                bench.claimed(vip, Claim::Released { offered_by, offered_to: None });
                gave_up.insert(node(other), bench.now);
            }
            // In steps that are shorter than what is looked for.
            for _ in 0..=ms / 100 {
                for (vip, claim) in bench.pass(Duration::from_millis(100)) {
                    if let Claim::Released { offered_to: Some(heir), .. } = &claim {
                        let since = gave_up.get(heir).map(|at| bench.now.since(*at));
                        proptest::prop_assert!(since.is_none_or(|since| since >= seconds(9)));
                    }
                    bench.grant(vip, claim);
                }
            }
        }
    }
}

#[test]
fn what_is_offered_to_one_is_taken_by_that_one_or_later() {
    let three = nodes(&[ME, "node-2", "node-3"]);
    for (to, wait) in [(ME, Duration::ZERO), ("node-3", seconds(5))] {
        let mut bench = Bench::new(settings(), on(&[vip(10)], &three), &["node-2", "node-3"]);
        bench.pass(seconds(1));
        let claim =
            Claim::Released { offered_by: Some(node("node-2")), offered_to: Some(node(to)) };
        bench.claimed(vip(10), claim);
        if wait > Duration::ZERO {
            assert_eq!(bench.pass(wait), [], "theirs to settle");
        }
        assert_eq!(bench.pass(seconds(1)).len(), 1, "offered to {to}");
    }
    // Whoever offered it is gone: nobody answers.
    let mut bench = Bench::new(settings(), on(&[vip(10)], &three), &["node-3"]);
    bench.pass(seconds(1));
    let claim =
        Claim::Released { offered_by: Some(node("node-2")), offered_to: Some(node("node-3")) };
    bench.claimed(vip(10), claim);
    assert_eq!(bench.pass(seconds(1)).len(), 1);
}

#[test]
fn preferred_nodes_get_what_others_hold() {
    let both = nodes(&[ME, "node-2"]);
    let vip = sorted_out(&both).0[0];
    let mut intent = on(&[vip], &both);
    intent.vips.get_mut(&vip).expect("it is there").preferred = nodes(&["node-2"]);
    let mut bench = Bench::new(settings(), intent, &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip, ME);
    assert_eq!(bench.pass(seconds(9)), [(vip, to_node_2())]);
}

#[test]
fn an_offer_stands_from_when_it_is_written_not_from_when_it_is_decided() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    bench.input(Input::Drain);
    let offers = bench.pass(Duration::ZERO);
    // It waits for its turn among thousands.
    bench.pass(seconds(8));
    assert!(bench.answers(vip(10)));
    for (vip, claim) in offers {
        bench.grant(vip, claim);
    }
    bench.pass(seconds(4));
    assert!(bench.answers(vip(10)));
    bench.pass(seconds(2));
    assert!(!bench.answers(vip(10)), "nobody took it");
}

#[test]
fn a_successor_that_is_quicker_than_our_answer_ends_ours() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    bench.input(Input::Drain);
    bench.pass(Duration::ZERO);
    assert!(bench.answers(vip(10)));
    bench.input(Input::Rival { vip: vip(10), takes_over: false });
    assert!(bench.answers(vip(10)), "anybody can say that");
    bench.input(Input::Rival { vip: vip(10), takes_over: true });
    assert!(!bench.answers(vip(10)));
}

#[test]
fn an_offer_in_doubt_is_settled_before_the_next_one() {
    let both = nodes(&[ME, "node-2"]);
    let vip = sorted_out(&both).1[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip, ME);
    let version = Version(bench.version);
    assert_eq!(bench.pass(Duration::from_millis(8500)), [(vip, to_node_2())]);
    let request = Request::WriteVip { vip, expect: None, claim: to_node_2() };
    bench.answer(request, Answer::Vip(Reply::Failed));
    bench.now = bench.now + Duration::from_millis(500);
    assert!(bench.machine.poll(bench.now).contains(&Request::ReadVip(vip)));
    // It was not applied, yet.
    let claim = Claim::Held { node: node(ME), session: Session::new(ME, 1) };
    let held = VipLease { version, uid: vip.to_string(), claim };
    bench.answer(Request::ReadVip(vip), Answer::Vip(Reply::Ok(held)));
    let sent = bench.pass(Duration::from_millis(500));
    assert!(matches!(&sent[..], [(_, Claim::Held { .. })]), "one write at a time: {sent:?}");
    assert!(bench.answers(vip));
    bench.input(Input::Rival { vip, takes_over: true });
    assert!(!bench.answers(vip), "somebody has seen the release, and taken it");
}

#[test]
fn who_stopped_for_a_successor_does_not_begin_again() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    bench.input(Input::Drain);
    bench.pass(Duration::ZERO);
    bench.held_by(vip(10), "node-2");
    assert!(bench.answers(vip(10)), "until it announces");
    bench.claimed(vip(10), Claim::Unclear);
    assert!(!bench.answers(vip(10)));
    bench.held_by(vip(10), "node-2");
    assert!(!bench.answers(vip(10)), "node-2 has it for long, and had a hand in its lease");
}

#[test]
fn each_handover_has_its_overlap_though_the_last_announcement_was_not_heard() {
    let both = nodes(&[ME, "node-2"]);
    let vip = sorted_out(&both).1[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.pass(seconds(1));
    for _ in 0..2 {
        bench.held_by(vip, ME);
        assert_eq!(bench.pass(Duration::from_millis(8500)), [(vip, to_node_2())]);
        bench.grant(vip, to_node_2());
        bench.held_by(vip, "node-2");
        assert!(bench.answers(vip), "node-2 may not have announced it yet");
        bench.pass(seconds(1));
        assert!(!bench.answers(vip));
        bench.claimed(vip, Claim::RELEASED);
    }
}

#[test]
fn what_was_released_and_then_edited_may_have_had_a_holder_between() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    for (vip, claim) in bench.pass(seconds(4)) {
        bench.grant(vip, claim);
    }
    bench.held_by(vip(10), "node-2");
    bench.claimed(vip(10), Claim::RELEASED);
    bench.claimed(vip(10), Claim::Unclear);
    assert_eq!(bench.pass(Duration::from_millis(2900)), []);
    let taken = bench.pass(seconds(1));
    assert!(matches!(&taken[..], [(_, Claim::Held { .. })]), "{taken:?}");
}

#[test]
fn what_may_have_been_released_and_was_then_deleted_may_have_a_holder() {
    let both = nodes(&[ME, "node-2"]);
    let vip = sorted_out(&both).1[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip, ME);
    assert_eq!(bench.pass(Duration::from_millis(8500)), [(vip, to_node_2())]);
    let request = Request::WriteVip { vip, expect: None, claim: to_node_2() };
    bench.answer(request, Answer::Vip(Reply::Failed));
    // The read that follows finds nothing.
    assert_eq!(bench.pass(Duration::from_millis(2900)), []);
    assert!(!bench.answers(vip));
    let taken = bench.pass(seconds(2));
    assert!(matches!(&taken[..], [(_, Claim::Held { .. })]), "{taken:?}");
}

#[test]
fn the_data_plane_knows_when_an_overlap_ends_though_the_daemon_may_die_in_it() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    bench.input(Input::Drain);
    bench.pass(Duration::ZERO);
    bench.held_by(vip(10), "node-2");
    let wire = bench.machine.wire(bench.now).expect("an intent");
    let until = bench.now + Duration::from_millis(200);
    assert_eq!(wire.vips[&vip(10)], WireEntry::Answer { until });
}

#[test]
fn what_comes_back_within_the_overlap_is_to_be_announced_anew() {
    let both = nodes(&[ME, "node-2"]);
    let (_, theirs) = sorted_out(&both);
    let vip = theirs[0];
    let mut bench = Bench::new(settings(), on(&[vip], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip, ME);
    let regained = |bench: &Bench| {
        let wire = bench.machine.wire(bench.now).expect("an intent");
        wire.regained.get(&vip).copied()
    };
    // Until this node has offered the VIP, and whatever it writes before has been granted.
    let offer = |bench: &mut Bench| {
        (0..600).any(|_| {
            let sent = bench.pass(Duration::from_millis(100));
            let offers = sent.iter().any(|(_, claim)| *claim == to_node_2());
            assert_eq!(regained(bench), None, "nobody else has had it");
            sent.into_iter().for_each(|(vip, claim)| bench.grant(vip, claim));
            offers
        })
    };
    assert!(offer(&mut bench));
    // Nobody takes it, so it is taken back first.
    assert!(offer(&mut bench), "once more");
    bench.held_by(vip, "node-2");
    bench.pass(Duration::from_millis(50));
    assert!(bench.answers(vip), "in its overlap");
    bench.held_by(vip, ME);
    assert!(bench.answers(vip), "without a gap");
    let first = regained(&bench).expect("to be announced");
    // Once for each time.
    bench.pass(seconds(2));
    assert_eq!(regained(&bench), Some(first));
    bench.held_by(vip, "node-2");
    bench.held_by(vip, ME);
    assert!(regained(&bench).is_some_and(|second| second != first));
}

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
    bench.input(Input::Rival { vip: vip(10), announcer: false });
    assert!(bench.answers(vip(10)), "anybody can say that");
    bench.input(Input::Rival { vip: vip(10), announcer: true });
    assert!(!bench.answers(vip(10)));
}

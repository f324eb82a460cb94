//! What is said of VIPs, next to what is done about them.

use super::*;

const MS: Duration = Duration::from_millis(1);

impl Bench {
    fn state(&self, vip: Vip) -> State {
        self.machine.describe(self.now, vip).expect("it is wanted").0
    }

    fn holder(&self, vip: Vip) -> Option<NodeName> {
        self.machine.describe(self.now, vip).expect("it is wanted").1
    }
}

/// Node-1 and node-2 are live and eligible; this node is in session.
fn bench() -> Bench {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench
}

#[test]
fn nobody_wants_it() {
    assert_eq!(bench().machine.describe(START, vip(99)), None);
}

#[test]
fn before_the_first_sync_nothing_can_be_said() {
    let mut machine = Machine::new(settings(), None);
    machine.input(START, Input::Intent(Arc::new(on(&[vip(10)], &nodes(&[ME])))));
    let (state, holder) = machine.describe(START, vip(10)).expect("it is wanted");
    assert_eq!((state, holder), (State::Waiting(Wait::FirstSync), None));
    assert!(!machine.is_synced());
    assert!(bench().machine.is_synced());
}

#[test]
fn held_here_and_held_elsewhere() {
    let mut bench = bench();
    bench.held_by(vip(10), ME);
    assert_eq!((bench.state(vip(10)), bench.holder(vip(10))), (State::Held, Some(node(ME))));
    assert!(bench.answers(vip(10)));
    let theirs = State::Silent { holder: node("node-2") };
    bench.held_by(vip(10), "node-2");
    assert_eq!((bench.state(vip(10)), bench.holder(vip(10))), (theirs, Some(node("node-2"))));
}

#[test]
fn an_offer_is_told_from_its_writing_until_the_successor_is_heard() {
    let mut bench = bench();
    bench.held_by(vip(10), ME);
    bench.input(Input::Intent(Arc::new(on(&[vip(10)], &nodes(&["node-2"])))));
    let offers = bench.pass(Duration::ZERO);
    assert_eq!(bench.state(vip(10)), State::Offered { to: None, until: None });
    let written = bench.now;
    offers.into_iter().for_each(|(vip, claim)| bench.grant(vip, claim));
    let until = Some(written + settings().handover_timeout);
    assert_eq!(bench.state(vip(10)), State::Offered { to: None, until });
    assert_eq!(bench.holder(vip(10)), Some(node(ME)), "it still answers");
    bench.held_by(vip(10), "node-2");
    let State::Offered { to, until: Some(until) } = bench.state(vip(10)) else {
        unreachable!("{:?}", bench.state(vip(10)))
    };
    assert_eq!(to, Some(node("node-2")));
    assert!(bench.answers(vip(10)));
    bench.pass(until.since(bench.now));
    assert_eq!(bench.state(vip(10)), State::Silent { holder: node("node-2") });
    assert!(!bench.answers(vip(10)));
}

#[test]
fn what_a_vip_waits_for_is_named() {
    let mut bench = bench();
    bench.held_by(vip(10), "node-2");
    let eligible = |names: &[&str]| Input::Intent(Arc::new(on(&[vip(10)], &nodes(names))));
    // Its holder has left in order; nobody may hold it.
    bench.input(eligible(&[]));
    bench.claimed(vip(10), Claim::RELEASED);
    bench.pass(MS);
    assert_eq!(bench.state(vip(10)), State::Waiting(Wait::AnyEligibleNode));
    assert_eq!(bench.holder(vip(10)), None);
    bench.input(eligible(&["node-2"]));
    assert_eq!(bench.state(vip(10)), State::Waiting(Wait::OtherNodes));
    // Its turn comes, and then an answer is waited for.
    bench.input(eligible(&[ME, "node-2"]));
    match bench.state(vip(10)) {
        State::Waiting(Wait::Turn { at }) => {
            assert!(at <= bench.now + settings().timing.stagger(), "the second of two");
            bench.pass(at.since(bench.now));
        }
        other => unreachable!("{other:?}"),
    }
    assert_eq!(bench.state(vip(10)), State::Waiting(Wait::Answer));
}

#[test]
fn a_holder_whose_lease_vanished_is_waited_for_by_name() {
    let mut bench = bench();
    bench.held_by(vip(10), "node-2");
    bench.others.clear();
    let gone = bench.next_version();
    bench.input(Input::NodeLease(node("node-2"), Seen::Absent(Some(gone))));
    bench.pass(MS);
    let State::Waiting(Wait::SessionOver { of, at }) = bench.state(vip(10)) else {
        unreachable!("{:?}", bench.state(vip(10)))
    };
    assert_eq!(of, Some(node("node-2")));
    assert_eq!(bench.pass(at.since(bench.now) - MS), [], "not before");
    assert_ne!(bench.pass(seconds(1)), [], "then it is taken");
}

#[test]
fn why_a_vip_is_taken_is_known_as_the_request_goes_out() {
    let both = nodes(&[ME, "node-2"]);
    let vips = [10, 11, 12, 13].map(vip);
    let [absent, fenced, released, offered] = vips;
    let mut bench = Bench::new(settings(), on(&vips, &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(fenced, "node-2");
    bench.claimed(released, Claim::RELEASED);
    let offered_by = Some(node("node-2"));
    bench.claimed(offered, Claim::Released { offered_by, offered_to: Some(node(ME)) });
    bench.session("node-2", 2, false);
    let mut reasons = BTreeMap::new();
    for _ in 0..10 {
        for (vip, claim) in bench.pass(seconds(1)) {
            let (why, free_since, from) = bench.machine.takeover(vip).expect("it is known");
            assert!(START <= free_since && free_since <= bench.now);
            reasons.insert(vip, (why, from));
            bench.grant(vip, claim);
        }
    }
    let other = Some(node("node-2"));
    let expected = [
        (absent, (Takeover::Unheld, None)),
        (fenced, (Takeover::Fenced, other.clone())),
        (released, (Takeover::Released, None)),
        (offered, (Takeover::Offered, other)),
    ];
    assert_eq!(reasons, expected.into());
}

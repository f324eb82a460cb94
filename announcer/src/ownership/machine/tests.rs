//! What the machine makes of its parts; the rules as a whole are simulated.

use super::{
    super::{
        lease::{Expect, Version},
        peers::MONITORS,
    },
    *,
};
use crate::{intent::desired::InterfaceScope, types::Session};

mod describe;
mod handover;

const ME: &str = "node-1";

fn node(name: &str) -> NodeName {
    name.parse().expect("a node name")
}

fn vip(last: u8) -> Vip {
    format!("192.0.2.{last}").parse().expect("a VIP")
}

fn nodes(names: &[&str]) -> Arc<BTreeSet<NodeName>> {
    Arc::new(names.iter().map(|name| node(name)).collect())
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn settings() -> Settings {
    Settings {
        me: node(ME),
        timing: Timing::new(seconds(3), seconds(1)).expect("the default timing"),
        on_api_loss: OnApiLoss::Hold,
        handover_timeout: seconds(5),
        rebalance: Some(Duration::from_millis(100)),
        probing: true,
    }
}

const START: BootTime = BootTime::from_nanos(1_000_000_000_000);

/// A machine with an API server that knows only what it is told.
struct Bench {
    machine: Machine,
    now: BootTime,
    version: u64,
    /// The other nodes in session, which renew every second.
    others: BTreeMap<String, u32>,
    renewed: BootTime,
}

impl Bench {
    /// In session node-1/1, with the intent, and with other nodes live since long ago.
    fn new(settings: Settings, intent: Intent, others: &[&str]) -> Self {
        let mut bench = Self {
            machine: Machine::new(settings, None),
            now: START,
            version: 0,
            others: BTreeMap::new(),
            renewed: START,
        };
        bench.input(Input::Intent(Arc::new(intent)));
        for other in others {
            bench.session(other, 1, true);
        }
        bench.input(Input::NodesListed);
        bench.input(Input::VipsListed);
        bench
    }

    fn input(&mut self, input: Input) {
        self.machine.input(self.now, input);
    }

    fn next_version(&mut self) -> Version {
        self.version += 1;
        Version(self.version)
    }

    /// A node's lease as a watch shows it.
    fn session(&mut self, name: &str, transitions: u32, open: bool) {
        self.others.retain(|other, _| other != name);
        if open {
            self.others.insert(name.to_owned(), transitions);
        }
        let (version, session) = (self.next_version(), Session::new(name, transitions));
        let lease = NodeLease { version, session, open };
        self.input(Input::NodeLease(node(name), Seen::Present(lease)));
    }

    /// A VIP lease as a watch shows it.
    fn claimed(&mut self, vip: Vip, claim: Claim) {
        let lease = VipLease { version: self.next_version(), uid: vip.to_string(), claim };
        self.input(Input::VipLease(vip, Seen::Present(lease)));
    }

    fn held_by(&mut self, vip: Vip, name: &str) {
        let claim = Claim::Held { node: node(name), session: Session::new(name, 1) };
        self.claimed(vip, claim);
    }

    /// Time passes. Whatever is sent about node leases meanwhile is granted at once;
    /// what is sent about VIPs is returned, and not answered.
    fn pass(&mut self, time: Duration) -> Vec<(Vip, Claim)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        loop {
            for request in self.machine.poll(self.now) {
                match request {
                    Request::WriteVip { vip, claim, .. } => sent.push((vip, claim)),
                    Request::WriteNode { ref node, transitions, open, .. } => {
                        let session = Session::new(node.as_str(), transitions);
                        let lease = NodeLease { version: self.next_version(), session, open };
                        self.answer(request, Answer::Node(Reply::Ok(lease)));
                    }
                    Request::ReadNode(_) => self.answer(request, Answer::Node(Reply::NotFound)),
                    Request::ReadVip(_) => self.answer(request, Answer::Vip(Reply::NotFound)),
                }
            }
            let renewal = self.renewed + seconds(1);
            let next = self.machine.next_deadline(self.now).min(renewal);
            if next > end {
                self.now = end;
                return sent;
            }
            self.now = next;
            if next == renewal {
                self.renewed = next;
                for (name, transitions) in self.others.clone() {
                    self.session(&name, transitions, true);
                }
            }
        }
    }

    fn answer(&mut self, request: Request, answer: Answer) {
        self.input(Input::Answered(request, answer));
    }

    /// The write of this claim, as `pass` returned it, succeeds.
    fn grant(&mut self, vip: Vip, claim: Claim) {
        let version = self.next_version();
        let lease = VipLease { version, uid: vip.to_string(), claim: claim.clone() };
        let expect = Some(Expect { uid: vip.to_string(), version });
        let request = Request::WriteVip { vip, expect, claim };
        self.answer(request, Answer::Vip(Reply::Ok(lease)));
    }

    fn answers(&self, vip: Vip) -> bool {
        let wire = self.machine.wire(self.now).expect("an intent");
        matches!(wire.vips[&vip], WireEntry::Answer { until } if self.now < until)
    }
}

fn on(vips: &[Vip], eligible: &Arc<BTreeSet<NodeName>>) -> Intent {
    let wanted = |vip: &Vip| (*vip, VipIntent::on(eligible.clone()));
    Intent { vips: vips.iter().map(wanted).collect(), candidacy: Candidacy::Candidate }
}

#[test]
fn who_is_killed_before_comparing_leaves_to_the_next_what_was_left_to_him() {
    let session = Session::new("uid", 4);
    let answering = BTreeMap::from([(vip(10), START + seconds(1))]);
    let adopted = Adopted { session: Some(session.clone()), answering };
    let mut machine = Machine::new(settings(), Some(adopted));
    machine.input(START, Input::Intent(Arc::new(on(&[vip(10)], &nodes(&[ME])))));
    machine.poll(START);
    let wire = machine.wire(START).expect("there is an intent");
    assert_eq!(wire.session, Some(session));
    assert_eq!(wire.vips[&vip(10)], WireEntry::Answer { until: START + seconds(1) });
}

#[test]
fn a_node_that_no_rule_selects_opens_no_session_and_watches_nobody() {
    let intent = Intent { candidacy: Candidacy::Unselected, ..on(&[], &nodes(&[])) };
    let mut bench = Bench::new(settings(), intent, &["node-2", "node-3"]);
    bench.pass(seconds(60));
    assert_eq!(bench.machine.heartbeat().session(), None);
    assert!(bench.machine.monitored().is_empty());
    bench.input(Input::Intent(Arc::new(on(&[], &nodes(&[ME])))));
    bench.pass(seconds(1));
    assert!(bench.machine.heartbeat().session().is_some(), "when it is selected it takes part");
    let watched = usize::try_from(MONITORS).expect("a few").min(2);
    assert_eq!(bench.machine.monitored().len(), watched);
}

#[test]
fn who_is_no_candidate_any_more_hands_over_before_its_session_ends() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    bench.input(Input::Intent(Arc::new(Intent {
        candidacy: Candidacy::Unselected,
        ..on(&[vip(10)], &nodes(&["node-2"]))
    })));
    let offers = bench.pass(Duration::ZERO);
    let by_me = Claim::Released { offered_by: Some(node(ME)), offered_to: None };
    assert_eq!(offers, [(vip(10), by_me.clone())]);
    assert!(bench.answers(vip(10)), "until the offer is written");
    bench.grant(vip(10), by_me);
    bench.pass(seconds(1));
    assert!(bench.answers(vip(10)), "until somebody takes it");
    assert!(bench.machine.heartbeat().session().is_some());
    bench.held_by(vip(10), "node-2");
    bench.pass(seconds(1));
    assert!(!bench.answers(vip(10)));
    assert_eq!(bench.machine.heartbeat().session(), None);
    assert!(!bench.machine.finished(), "the daemon runs on");
}

#[test]
fn without_a_link_nothing_is_answered_though_it_is_held() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    assert!(bench.answers(vip(10)));
    let unlinked =
        |candidacy| Arc::new(Intent { candidacy, ..on(&[vip(10)], &nodes(&["node-2"])) });
    bench.input(Input::Intent(unlinked(Candidacy::Unlinked)));
    assert!(!bench.answers(vip(10)));
    assert_eq!(bench.pass(Duration::ZERO).len(), 1, "and it is offered");
}

#[test]
fn who_had_no_link_does_not_answer_beside_a_successor_that_it_could_not_hear() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    let without = Candidacy::Unlinked;
    let intent = Intent { candidacy: without, ..on(&[vip(10)], &nodes(&["node-2"])) };
    bench.input(Input::Intent(Arc::new(intent)));
    for (vip, claim) in bench.pass(Duration::ZERO) {
        bench.grant(vip, claim);
    }
    bench.held_by(vip(10), "node-2");
    bench.input(Input::Intent(Arc::new(on(&[vip(10)], &both))));
    assert!(!bench.answers(vip(10)));
}

#[test]
fn who_had_no_link_does_not_answer_while_its_offer_is_still_under_way() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    let without = Candidacy::Unlinked;
    let intent = Intent { candidacy: without, ..on(&[vip(10)], &nodes(&["node-2"])) };
    bench.input(Input::Intent(Arc::new(intent)));
    assert_eq!(bench.pass(Duration::ZERO).len(), 1, "offered, and no answer yet");
    bench.input(Input::Intent(Arc::new(on(&[vip(10)], &both))));
    assert!(!bench.answers(vip(10)), "it may have been taken");
}

#[test]
fn the_interfaces_of_a_vip_go_with_it() {
    let mut intent = on(&[vip(10), vip(11)], &nodes(&[ME]));
    let only_eth1 = crate::intent::desired::InterfacePatterns::one("^eth1$").expect("valid");
    let scope = InterfaceScope::Matching(Arc::new(only_eth1));
    intent.vips.get_mut(&vip(11)).expect("it is there").interfaces = scope;
    let mut bench = Bench::new(settings(), intent, &[]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), ME);
    bench.held_by(vip(11), ME);
    let wire = bench.machine.wire(bench.now).expect("an intent");
    let answered = |interface: &str| {
        let here = wire.on(interface);
        let held = here.vips.iter().filter(|(_, entry)| **entry != WireEntry::Silent);
        held.map(|(vip, _)| *vip).collect::<Vec<_>>()
    };
    assert_eq!(answered("eth0"), [vip(10)]);
    assert_eq!(answered("eth1"), [vip(10), vip(11)]);
}

/// What another node is known to have held, or offers, needs no probing; what nobody did
/// does, and so does what was released in order.
#[test]
fn only_what_nobody_held_before_is_a_first_claim() {
    let both = nodes(&[ME, "node-2"]);
    let vips = [10, 11, 12, 13, 14].map(vip);
    let [absent, fenced, released, offered, restored] = vips;
    let mut bench = Bench::new(settings(), on(&vips, &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(fenced, "node-2");
    bench.claimed(released, Claim::RELEASED);
    let offered_by = Some(node("node-2"));
    bench.claimed(offered, Claim::Released { offered_by, offered_to: Some(node(ME)) });
    bench.held_by(restored, ME);
    bench.session("node-2", 2, false);
    let mut taken = BTreeSet::new();
    for _ in 0..10 {
        for (vip, claim) in bench.pass(seconds(1)) {
            if matches!(claim, Claim::Held { .. }) {
                taken.insert(vip);
                bench.grant(vip, claim);
            }
        }
    }
    assert_eq!(taken, BTreeSet::from([absent, fenced, released, offered]));
    assert_eq!(bench.machine.take_first_claims(), BTreeSet::from([absent, released]));
    assert_eq!(bench.machine.take_first_claims(), BTreeSet::new());
}

#[test]
fn setbacks_make_patient_up_to_a_bound_and_apart() {
    let settings = settings();
    let half = settings.timing.renew_interval() / 2;
    for setbacks in 0..20 {
        let longest = half * 2_u32.pow(setbacks.min(3));
        let pause = settings.pause(vip(10), setbacks);
        assert!(longest / 2 <= pause && pause <= longest, "{setbacks}: {pause:?}");
    }
    let other = Settings { me: node("node-2"), ..settings.clone() };
    assert_ne!(settings.pause(vip(10), 1), other.pause(vip(10), 1));
    assert_ne!(settings.pause(vip(10), 1), settings.pause(vip(11), 1));
}

#[test]
fn a_vip_that_came_free_while_no_answer_came_is_taken_when_one_does() {
    let both = nodes(&[ME, "node-2"]);
    let mut bench = Bench::new(settings(), on(&[vip(10)], &both), &["node-2"]);
    bench.pass(seconds(1));
    bench.held_by(vip(10), "node-2");
    let renewal = loop {
        bench.now = bench.machine.next_deadline(bench.now);
        if let Some(request) = bench.machine.poll(bench.now).pop() {
            break request;
        }
    };
    bench.answer(renewal, Answer::Node(Reply::Failed));
    bench.others.clear();
    let version = bench.next_version();
    bench.input(Input::NodeLease(node("node-2"), Seen::Absent(Some(version))));
    bench.now = bench.now + Duration::from_millis(100);
    assert!(bench.machine.heartbeat().valid(bench.now), "a single renewal was lost");
    let taken = bench.pass(seconds(6));
    assert!(matches!(&taken[..], [(_, Claim::Held { .. })]), "{taken:?}");
}

/// A machine that finds maps answering for VIP 1, and leases for 1 and 2.
fn adopting(probing: bool) -> Machine {
    adopting_until(START + seconds(2), probing)
}

fn adopting_until(until: BootTime, probing: bool) -> Machine {
    let session = Session::new(ME, 1);
    let adopted =
        Adopted { session: Some(session.clone()), answering: BTreeMap::from([(vip(1), until)]) };
    let mut machine = Machine::new(Settings { probing, ..settings() }, Some(adopted));
    let me = nodes(&[ME]);
    machine.input(START, Input::Intent(Arc::new(on(&[vip(1), vip(2)], &me))));
    for (version, last) in [(1, 1), (2, 2)] {
        let claim = Claim::Held { node: node(ME), session: session.clone() };
        let lease = VipLease { version: Version(version), uid: "uid".to_owned(), claim };
        machine.input(START, Input::VipLease(vip(last), Seen::Present(lease)));
    }
    machine
}

#[test]
fn what_a_killed_predecessor_held_and_did_not_answer_is_probed_for() {
    assert_eq!(adopting(true).take_first_claims(), BTreeSet::from([vip(2)]));
    assert_eq!(adopting(false).take_first_claims(), BTreeSet::new(), "nothing is");
}

#[test]
fn what_was_answered_until_its_time_was_over_is_not_probed_for() {
    let mut machine = adopting_until(START - seconds(1), true);
    assert_eq!(machine.take_first_claims(), BTreeSet::from([vip(2)]));
}

#[test]
fn what_is_seen_again_after_the_first_list_is_not_probed_for() {
    let mut machine = adopting(true);
    machine.take_first_claims();
    machine.input(START, Input::VipsListed);
    let claim = Claim::Held { node: node(ME), session: Session::new(ME, 1) };
    let lease = VipLease { version: Version(3), uid: "uid".to_owned(), claim };
    machine.input(START, Input::VipLease(vip(2), Seen::Present(lease)));
    assert_eq!(machine.take_first_claims(), BTreeSet::new());
}

use proptest::prelude::*;

use super::*;

const START: BootTime = BootTime::from_nanos(1_000_000_000_000);
const P: Duration = Settings::DEFAULT_PROBE_INTERVAL;

fn vip(last: u8) -> Vip {
    format!("192.0.2.{last}").parse().expect("a VIP")
}

fn stranger(last: u8) -> Stranger {
    Stranger {
        mac: MacAddr::new([0x52, 0x54, 0, 0, 0, last]),
        interface: "ens18".into(),
        probes: false,
    }
}

fn prober() -> Stranger {
    Stranger { probes: true, ..stranger(9) }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What the wire makes of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Answered,
    Probed,
    Silent,
}

/// One VIP that ownership gives to this node, as time goes by.
struct Scene {
    claims: Claims,
    now: BootTime,
}

impl Scene {
    /// The VIP is another node's for a moment: what is said of it stands.
    fn is_elsewhere(&mut self) {
        let mut elsewhere =
            WireState { vips: [(vip(1), WireEntry::Silent)].into(), ..WireState::default() };
        self.claims.follow(self.now, &mut elsewhere);
        assert_eq!(elsewhere.vips[&vip(1)], WireEntry::Silent);
        assert!(elsewhere.defences.is_empty());
    }

    fn new(on_conflict: OnConflict) -> Self {
        Self::with(on_conflict, Some(P))
    }

    fn with(on_conflict: OnConflict, probe_interval: Option<Duration>) -> Self {
        let frames_per_second = NonZeroU32::MIN.saturating_add(199);
        let settings = Settings { on_conflict, probe_interval, frames_per_second };
        let node = "node-1".parse().expect("a node name");
        Self { claims: Claims::new(settings, node), now: START }
    }

    fn state(&mut self) -> WireState {
        let until = self.now + seconds(2);
        let entry = (vip(1), WireEntry::Answer { until });
        let mut state = WireState { vips: [entry].into(), ..WireState::default() };
        self.claims.follow(self.now, &mut state);
        state
    }

    fn seen(&mut self) -> Seen {
        match self.state().vips[&vip(1)] {
            WireEntry::Answer { .. } => Seen::Answered,
            WireEntry::Probe { .. } => Seen::Probed,
            WireEntry::Silent => Seen::Silent,
        }
    }

    fn probes(&mut self) -> ProbeTimes {
        match self.state().vips[&vip(1)] {
            WireEntry::Probe { at } => at,
            other => unreachable!("{other:?}"),
        }
    }

    fn heard(&mut self, stranger: Stranger) {
        self.claims.heard(self.now, vip(1), stranger);
    }

    /// What is told, with time: nothing but deadlines happens.
    fn pass(&mut self, time: Duration) -> Vec<What> {
        let end = self.now + time;
        let mut told = Vec::new();
        loop {
            self.state();
            told.extend(self.told());
            match self.claims.next_deadline() {
                Some(next) if next <= end => self.now = next.max(self.now),
                _ => break,
            }
        }
        self.now = end;
        self.state();
        told.extend(self.told());
        told
    }

    fn told(&mut self) -> Vec<What> {
        self.claims.take_notices().iter().map(|notice| notice.what).collect()
    }

    fn response(&mut self) -> Option<Response> {
        self.claims.take_notices().last().map(|notice| notice.response)
    }
}

#[test]
fn what_somebody_held_before_is_answered_at_once() {
    let mut scene = Scene::new(OnConflict::Defend);
    assert_eq!(scene.seen(), Seen::Answered);
    assert_eq!(scene.claims.next_deadline(), None);
}

#[test]
fn a_first_claim_is_silent_until_it_has_been_probed_for() {
    let mut scene = Scene::new(OnConflict::Defend);
    scene.claims.claim_first(scene.now, vip(1));
    let at = scene.probes();
    let ends = scene.claims.next_deadline().expect("it ends");
    // RFC 5227 section 2.1.1, with P for its second.
    assert!((Duration::ZERO..=P).contains(&at[0].since(START)));
    for pair in at.windows(2) {
        assert!((P..=P * 2).contains(&pair[1].since(pair[0])), "{at:?}");
    }
    assert_eq!(ends.since(at[2]), P * 2);
    scene.now = ends - Duration::from_nanos(1);
    assert_eq!(scene.seen(), Seen::Probed);
    scene.now = ends;
    assert_eq!(scene.seen(), Seen::Answered);
    assert_eq!(scene.pass(seconds(1000)), []);
    assert_eq!(scene.claims.next_deadline(), None);
}

#[test]
fn without_probing_a_first_claim_is_answered_at_once() {
    let mut scene = Scene::with(OnConflict::Defend, None);
    scene.claims.claim_first(scene.now, vip(1));
    assert_eq!(scene.seen(), Seen::Answered);
}

#[test]
fn nodes_and_vips_probe_at_times_of_their_own() {
    let mut other = Scene::new(OnConflict::Defend);
    other.claims.node = "node-2".parse().expect("a node name");
    let mut scene = Scene::new(OnConflict::Defend);
    for scene in [&mut scene, &mut other] {
        scene.claims.claim_first(scene.now, vip(1));
    }
    assert_ne!(scene.probes(), other.probes());
}

#[test]
fn an_address_that_somebody_answers_a_probe_for_is_left_to_them() {
    for (policy, claim) in [
        (OnConflict::Defend, stranger(1)),
        (OnConflict::Yield, stranger(1)),
        // Who probes at the same time is about to take it (RFC 5227 section 2.1.1).
        (OnConflict::Defend, prober()),
    ] {
        let mut scene = Scene::new(policy);
        scene.claims.claim_first(scene.now, vip(1));
        scene.heard(claim);
        assert_eq!(scene.seen(), Seen::Silent);
        assert!(matches!(scene.response(), Some(Response::NotClaimed { .. })));
        // It is probed again, and again left alone.
        let until = scene.claims.next_deadline().expect("it is tried again");
        assert!((seconds(7)..=seconds(10)).contains(&until.since(START)));
        scene.now = until;
        assert_eq!(scene.seen(), Seen::Probed);
        scene.heard(stranger(1));
        assert_eq!(scene.seen(), Seen::Silent);
        let again = scene.claims.next_deadline().expect("it is tried again");
        assert!((seconds(15)..=seconds(20)).contains(&again.since(until)));
        // Nobody minds any more.
        let told = scene.pass(seconds(25));
        assert!(told.contains(&What::Over(Over::Unanswered)), "{told:?}");
        assert_eq!(scene.seen(), Seen::Answered);
    }
}

#[test]
fn who_only_reports_claims_it_all_the_same() {
    let mut scene = Scene::new(OnConflict::Report);
    scene.claims.claim_first(scene.now, vip(1));
    scene.heard(stranger(1));
    assert_eq!(scene.seen(), Seen::Probed);
    assert_eq!(scene.response(), Some(Response::Reported));
    assert_eq!(scene.pass(P * 7), []);
    assert_eq!(scene.seen(), Seen::Answered);
    assert!(scene.state().defences.is_empty());
    assert_eq!(scene.pass(QUIET), [What::Over(Over::Quiet)]);
}

#[test]
fn a_defence_is_announced_at_most_every_ten_seconds() {
    let mut scene = Scene::new(OnConflict::Defend);
    let mut defences = Vec::new();
    for _ in 0..=300 {
        scene.heard(stranger(1));
        let state = scene.state();
        assert!(matches!(state.vips[&vip(1)], WireEntry::Answer { .. }));
        defences.push(state.defences[&vip(1)]);
        scene.now = scene.now + Duration::from_millis(100);
    }
    defences.dedup();
    assert_eq!(defences, [0, 10, 20, 30].map(|n| START + seconds(n)));
    // One line every ten seconds while it goes on, and its two edges.
    let goes_on = What::GoesOn;
    assert_eq!(scene.told(), [What::Began, goes_on, goes_on, goes_on]);
    assert_eq!(scene.pass(QUIET - Duration::from_millis(101)), []);
    assert_eq!(scene.pass(seconds(1)), [What::Over(Over::Quiet)]);
    assert!(scene.state().defences.is_empty());
    assert_eq!(scene.claims.next_deadline(), None);
    scene.heard(stranger(1));
    assert_eq!(scene.told(), [What::Began], "another one");
}

#[test]
fn who_yields_is_silent_and_comes_back_when_nobody_answers() {
    for probe in [Some(P), None] {
        let mut scene = Scene::with(OnConflict::Yield, probe);
        scene.heard(stranger(1));
        assert!(matches!(scene.response(), Some(Response::Yielded { .. })));
        assert_eq!(scene.seen(), Seen::Silent);
        scene.now = scene.claims.next_deadline().expect("it is tried again");
        assert_eq!(scene.seen(), Seen::Probed, "probing first, whatever the flag says");
        assert_eq!(scene.pass(P * 7), [What::Over(Over::Unanswered)]);
        assert_eq!(scene.seen(), Seen::Answered);
        // It was gone for a moment only: more patience than the first time.
        scene.heard(stranger(1));
        let until = scene.claims.next_deadline().expect("it is tried again");
        assert!((seconds(15)..=seconds(20)).contains(&until.since(scene.now)));
    }
}

#[test]
fn who_is_told_of_a_conflict_is_told_whether_it_is_answered() {
    for (policy, is_answered) in
        [(OnConflict::Defend, true), (OnConflict::Report, true), (OnConflict::Yield, false)]
    {
        let mut scene = Scene::new(policy);
        let contested = |scene: &Scene| {
            let contested = scene.claims.contested();
            contested.map(|(vip, it, answered)| (vip, it.mac, answered)).collect::<Vec<_>>()
        };
        scene.heard(stranger(1));
        assert_eq!(contested(&scene), [(vip(1), stranger(1).mac, is_answered)]);
        assert_eq!(scene.seen() == Seen::Answered, is_answered);
        scene.pass(QUIET + seconds(1));
        assert_eq!(contested(&scene), [], "it is over");
    }
}

#[test]
fn patience_grows_to_five_minutes() {
    let mut scene = Scene::new(OnConflict::Yield);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        scene.heard(stranger(1));
        let until = scene.claims.next_deadline().expect("it is tried again");
        pauses.push(until.since(scene.now).as_secs());
        scene.now = until;
        assert_eq!(scene.seen(), Seen::Probed);
    }
    for (pause, longest) in pauses.iter().zip([10, 20, 40, 80, 160, 300, 300, 300]) {
        assert!((longest * 3 / 4 - 1..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_vip_that_goes_elsewhere_takes_its_conflict_along() {
    for policy in [OnConflict::Defend, OnConflict::Report] {
        let mut scene = Scene::new(policy);
        scene.heard(stranger(1));
        scene.told();
        scene.is_elsewhere();
        assert_eq!(scene.told(), [What::Over(Over::GivenUp)]);
        assert_eq!(scene.seen(), Seen::Answered);
    }
}

/// As after a fence: who has left it to a stranger asks before it answers again.
#[test]
fn a_vip_that_was_left_to_a_stranger_stays_so_when_it_comes_back() {
    let mut scene = Scene::new(OnConflict::Yield);
    scene.heard(stranger(1));
    scene.told();
    scene.is_elsewhere();
    assert_eq!(scene.told(), []);
    assert_eq!(scene.seen(), Seen::Silent);
}

#[test]
fn who_probes_for_what_is_answered_has_its_answer() {
    let mut scene = Scene::new(OnConflict::Yield);
    scene.heard(prober());
    assert_eq!(scene.seen(), Seen::Answered);
    assert_eq!(scene.told(), []);
}

#[test]
fn many_first_claims_fit_into_the_rate() {
    let mut scene = Scene::new(OnConflict::Defend);
    let vips: Vec<Vip> = (0..=255).map(vip).collect();
    let mut probes: Vec<BootTime> = Vec::new();
    let until = START + seconds(1);
    let entries = vips.iter().map(|vip| (*vip, WireEntry::Answer { until })).collect();
    let mut state = WireState { vips: entries, ..WireState::default() };
    vips.iter().for_each(|vip| scene.claims.claim_first(START, *vip));
    scene.claims.follow(START, &mut state);
    for entry in state.vips.values() {
        let WireEntry::Probe { at } = entry else { unreachable!("{entry:?}") };
        probes.extend(at);
    }
    probes.sort_unstable();
    // 256 claims are 768 frames, at 200 a second.
    let whole = probes[probes.len() - 1].since(probes[0]);
    assert!((seconds(3)..seconds(6)).contains(&whole), "{whole:?}");
    for (n, from) in probes.iter().enumerate() {
        let within = probes[n..].iter().take_while(|at| at.since(*from) < seconds(1)).count();
        assert!(within <= 200 + 3 * 20 + 60, "{within} frames within a second");
    }
}

#[test]
fn what_is_told_names_the_station_and_what_is_done() {
    let mut scene = Scene::new(OnConflict::Defend);
    scene.heard(stranger(7));
    let notices = scene.claims.take_notices();
    let said = notices.first().expect("one").to_string();
    for part in ["52:54:00:00:00:07", "QEMU/KVM", "192.0.2.1", "ens18", "defended"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    First,
    Heard(u8, bool),
    Lost,
    Wait(u64),
    Deadline,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::First),
        4 => (0..3_u8, any::<bool>()).prop_map(|(mac, probes)| Op::Heard(mac, probes)),
        1 => Just(Op::Lost),
        4 => (0..30_000_u64).prop_map(Op::Wait),
        4 => Just(Op::Deadline),
    ]
}

proptest! {
    /// Whatever happens: defences are ten seconds apart, edges alternate, lines are rare,
    /// what somebody answered a probe for is not answered before it was probed again
    /// without an answer, and deadlines lie ahead.
    #[test]
    fn any_history_keeps_the_rules(
        ops in prop::collection::vec(op(), 1..80),
        policy in prop::sample::select(vec![
            OnConflict::Defend, OnConflict::Yield, OnConflict::Report,
        ]),
    ) {
        let mut scene = Scene::new(policy);
        let (mut in_conflict, mut told_at) = (false, None::<BootTime>);
        let mut defended: Option<BootTime> = None;
        let mut free_from: Option<BootTime> = None;
        for op in ops {
            match op {
                Op::First => scene.claims.claim_first(scene.now, vip(1)),
                Op::Heard(mac, probes) => {
                    let before = scene.seen();
                    scene.heard(Stranger { probes, ..stranger(mac) });
                    if before == Seen::Probed && policy != OnConflict::Report {
                        free_from = Some(scene.now + seconds(7));
                    }
                }
                Op::Lost => {
                    let mut nothing = WireState::default();
                    scene.claims.follow(scene.now, &mut nothing);
                    prop_assert!(nothing.vips.is_empty());
                    (free_from, defended) = (None, None);
                }
                Op::Wait(ms) => scene.now = scene.now + Duration::from_millis(ms),
                Op::Deadline => {
                    if let Some(next) = scene.claims.next_deadline() {
                        scene.now = scene.now.max(next);
                    }
                }
            }
            let state = scene.state();
            if let Some(&at) = state.defences.get(&vip(1)) {
                prop_assert_eq!(policy, OnConflict::Defend);
                let answered = matches!(state.vips[&vip(1)], WireEntry::Answer { .. });
                prop_assert!(answered, "defended and not answered");
                if let Some(before) = defended.filter(|before| *before != at) {
                    prop_assert!(at >= before + DEFEND_INTERVAL);
                }
                defended = Some(at);
            }
            if matches!(state.vips[&vip(1)], WireEntry::Answer { .. }) {
                prop_assert!(free_from.is_none_or(|from| scene.now >= from), "answered too soon");
            }
            for what in scene.told() {
                match what {
                    What::Began => {
                        prop_assert!(!in_conflict);
                        in_conflict = true;
                        told_at = Some(scene.now);
                    }
                    What::GoesOn => {
                        prop_assert!(in_conflict);
                        prop_assert!(told_at.is_some_and(|at| scene.now >= at + TELL_INTERVAL));
                        told_at = Some(scene.now);
                    }
                    What::Over(_) => {
                        prop_assert!(in_conflict);
                        in_conflict = false;
                    }
                }
            }
            let next = scene.claims.next_deadline();
            prop_assert!(next.is_none_or(|next| next >= scene.now), "{:?}", next);
        }
    }
}

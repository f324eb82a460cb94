#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use super::*;
use crate::announce::Kind;

const START: BootTime = BootTime::from_nanos(1_000_000_000_000);

fn vips(last: &[u8]) -> BTreeSet<Vip> {
    let vip = |&last| Vip::new(std::net::Ipv4Addr::new(192, 0, 2, last).into());
    last.iter().map(|last| vip(last).expect("a unicast address")).collect()
}

/// One interface from its start on, as time goes by.
struct Scene {
    announcing: Announcing,
    answering: BTreeSet<Vip>,
    now: BootTime,
}

impl Scene {
    fn new() -> Self {
        Self { announcing: Announcing::new(Settings::default()), answering: vips(&[]), now: START }
    }

    /// The maps were written: from now on these are answered.
    fn answer(&mut self, last: &[u8]) {
        let before = std::mem::replace(&mut self.answering, vips(last));
        self.announcing.follow(&before, &self.answering, self.now);
    }

    /// The time of all VIPs ran out, and no write told.
    fn expire(&mut self) {
        self.answering.clear();
    }

    /// What is sent now: VIP and round.
    fn sent(&mut self) -> Vec<(u8, u8)> {
        let due = self.announcing.due(&self.answering, self.now);
        let round = |one: &Announcement| match one.kind {
            Kind::Takeover(round) => round,
            Kind::Defence | Kind::Refresh => 0,
        };
        due.iter().map(|one| (one.vip.octets()[3], round(one))).collect()
    }

    fn wait(&mut self) {
        self.now = self.now + Duration::from_millis(1100);
    }
}

#[test]
fn a_takeover_is_announced_at_once_and_a_renewal_is_not() {
    let mut scene = Scene::new();
    scene.answer(&[1]);
    assert_eq!(scene.announcing.next_deadline(), Some(START));
    assert_eq!(scene.sent(), [(1, 1)]);
    scene.answer(&[1, 2]);
    assert_eq!(scene.sent(), [(2, 1)]);
    scene.wait();
    assert_eq!(scene.sent(), [(1, 2), (2, 2)]);
}

#[test]
fn a_vip_that_is_withdrawn_is_announced_no_more() {
    let mut scene = Scene::new();
    scene.answer(&[1, 2]);
    scene.sent();
    scene.answer(&[2]);
    scene.wait();
    assert_eq!(scene.sent(), [(2, 2)]);
    scene.answer(&[]);
    assert_eq!(scene.announcing.next_deadline(), None);
}

#[test]
fn a_vip_that_comes_back_is_announced_from_the_first_round_on() {
    let mut scene = Scene::new();
    scene.answer(&[1]);
    scene.sent();
    scene.answer(&[]);
    scene.answer(&[1]);
    assert_eq!(scene.sent(), [(1, 1)]);
}

#[test]
fn a_vip_whose_time_ran_out_is_not_announced() {
    let mut scene = Scene::new();
    scene.answer(&[1]);
    scene.sent();
    scene.expire();
    scene.wait();
    assert_eq!(scene.sent(), []);
    assert_eq!(scene.announcing.next_deadline(), None);
}

#[test]
fn a_defence_is_one_round_for_as_often_as_its_instant_changes() {
    let mut scene = Scene::new();
    scene.answer(&[1]);
    scene.sent();
    let vip = *scene.answering.first().expect("there is one");
    let defended = |at| WireState { defences: [(vip, at)].into(), ..WireState::default() };
    let later = START + Duration::from_secs(10);
    for (at, sent) in [(START, &[(1, 0)][..]), (START, &[]), (later, &[(1, 0)])] {
        scene.announcing.follow_claims(&defended(at), scene.now);
        assert_eq!(scene.sent(), sent);
    }
    scene.answer(&[]);
    scene.announcing.follow_claims(&defended(START), scene.now);
    assert_eq!(scene.sent(), [], "it is not answered any more");
}

#[test]
fn what_is_to_be_probed_is_probed_and_not_announced() {
    let mut scene = Scene::new();
    let vip = *vips(&[1]).first().expect("there is one");
    let at = [10, 20, 30].map(|ms| START + Duration::from_millis(ms));
    let probing =
        WireState { vips: [(vip, WireEntry::Probe { at })].into(), ..WireState::default() };
    scene.announcing.follow_claims(&probing, scene.now);
    for at in at {
        assert_eq!(scene.announcing.next_deadline(), Some(at));
        assert_eq!(scene.announcing.probes_due(at), [vip]);
        assert_eq!(scene.sent(), []);
    }
    assert_eq!(scene.announcing.next_deadline(), None);
}

#[test]
fn a_vip_that_was_out_of_time_is_announced_anew() {
    // Somebody else may have announced it meanwhile, whether or not a round was due.
    for wait in [false, true] {
        let mut scene = Scene::new();
        scene.answer(&[1]);
        scene.sent();
        scene.expire();
        if wait {
            scene.wait();
            assert_eq!(scene.sent(), []);
        }
        scene.answer(&[1]);
        assert_eq!(scene.sent(), [(1, 1)]);
    }
}

#[test]
fn an_adopted_vip_is_announced_when_the_first_state_confirms_it() {
    let mut scene = Scene::new();
    scene.answering = vips(&[1, 2]);
    assert_eq!(scene.announcing.next_deadline(), None);
    scene.answer(&[1]);
    assert_eq!(scene.sent(), [(1, 1)]);
}

#[test]
fn a_vip_that_another_node_had_meanwhile_is_announced_though_it_was_answered_all_the_time() {
    let mut scene = Scene::new();
    let told = |scene: &mut Scene, time| {
        let regained = vips(&[1]).into_iter().map(|vip| (vip, time)).collect();
        scene.answer(&[1, 2]);
        let state = WireState { regained, ..WireState::default() };
        scene.announcing.follow_claims(&state, scene.now);
        let mut sent = scene.sent();
        sent.sort_unstable();
        sent
    };
    scene.answer(&[1, 2]);
    assert_eq!(scene.sent().len(), 2);
    assert_eq!(told(&mut scene, 7), [(1, 1)], "from the first round on");
    assert_eq!(told(&mut scene, 7), [], "a renewal is no news");
    scene.wait();
    assert_eq!(told(&mut scene, 7), [(1, 2), (2, 2)]);
    assert_eq!(told(&mut scene, 9), [(1, 1)], "it was lost and regained once more");
}

#[test]
fn what_is_regained_and_not_answered_here_is_not_announced() {
    let mut scene = Scene::new();
    let regained = vips(&[1]).into_iter().map(|vip| (vip, 7)).collect();
    scene.answer(&[2]);
    let state = WireState { regained, ..WireState::default() };
    scene.announcing.follow_claims(&state, scene.now);
    assert_eq!(scene.sent(), [(2, 1)]);
}

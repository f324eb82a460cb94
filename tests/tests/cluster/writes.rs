//! Writes that were applied though their answers are lost, and writes that conflict.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use announcer_apiserver::{Audited, Fault, Injected, LEASES, Match, NODES, Refusal, Verb};
use announcer_tests::{
    cluster::{Cluster, NodeLease, SOON, Timing},
    lab::{CLIENT_NIC, Link},
    probe::Probe,
    topology::Cut,
};

use crate::{
    Mode, QUICK, VIP, cluster, held_by_node_1, leases, quick,
    wire::{gave_way, handed_over, interrupted, steady},
};

/// Takes, offers and releases of VIPs.
fn vip_writes() -> Match {
    Match::any().writes().resource(LEASES).name_prefix("announcer-vip-")
}

fn inject(cluster: &Cluster, times: u32, on: Match, fault: Fault) -> Injected {
    cluster.server().faults().inject_times(times, on, fault)
}

const CONFLICT: Fault = Fault::Refuse(Refusal::Conflict);

#[test]
fn a_renewal_whose_answer_is_lost_interrupts_nothing() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    for _ in 0..3 {
        let lost = inject(&cluster, 1, cluster.renewals(1), Fault::LoseAnswer);
        assert!(lost.wait_hits(1, SOON));
        // What follows the loss, and one more.
        cluster.wait_renewals(2).unwrap();
    }
    assert_eq!(leases(&cluster), before);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn a_holder_that_never_hears_of_its_renewals_withdraws() {
    unconfirmed(Mode::Withdraw, Fault::LoseAnswer);
}

#[test]
fn a_holder_that_never_hears_of_its_renewals_holds_until_its_successor_announces() {
    unconfirmed(Mode::Hold, Fault::LoseAnswer);
}

#[test]
fn a_holder_whose_renewals_all_conflict_withdraws() {
    unconfirmed(Mode::Withdraw, CONFLICT);
}

#[test]
fn a_holder_whose_renewals_all_conflict_holds_until_its_successor_announces() {
    unconfirmed(Mode::Hold, CONFLICT);
}

/// The holder alone gets none of its renewals confirmed.
fn unconfirmed(mode: Mode, fault: Fault) {
    let mut cluster = mode.cluster(2, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let session = cluster.node_lease(1).unwrap().session;
    let of_node_1 = Match::any().client("node-1");
    let asked = cluster.audit().count(&of_node_1);
    let began = Instant::now();
    let unconfirmed = cluster.server().faults().inject(cluster.renewals(1), fault);
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    let [from, to] = [1, 2].map(|n| cluster.lab().node(n).mac);
    probe.wait_answer_by(to, SOON).unwrap();
    let asked = cluster.audit().count(&of_node_1) - asked;
    println!("requests meanwhile: {asked} in {:.1} s", began.elapsed().as_secs_f64());
    // It tries again, and not as fast as it can.
    assert!(asked < 100, "{asked}");

    drop(unconfirmed);
    cluster.wait_for_node_lease(1, SOON, |l| l.is_open() && l.session != session).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.holder(VIP), Some(2));
    gave_way(&probe.stop().unwrap(), mode, from, to);
}

#[test]
fn some_conflicts_on_renewals_interrupt_nothing() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    let storms = [1, 2, 3].map(|n| inject(&cluster, 3, cluster.renewals(n), CONFLICT));
    for storm in storms {
        assert!(storm.wait_hits(3, SOON));
    }
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn a_take_whose_answer_is_lost_is_noticed_by_who_made_it() {
    let mut cluster = quick(3);
    cluster.start_all().unwrap();
    cluster.wait_lease_duration().unwrap();
    let probe = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let lost = inject(&cluster, 1, vip_writes(), Fault::LoseAnswer);
    cluster.create_service("web", VIP).unwrap();
    let first = probe.wait_first_answer(SOON).unwrap();
    assert_eq!(lost.hits(), 1);
    let taken = cluster.vip_lease(VIP).unwrap();
    let holder = cluster.holder(VIP).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), Some(taken), "taken once");
    let recording = probe.stop().unwrap();
    let holder = cluster.lab().node(holder).mac;
    assert_eq!(first.mac, holder);
    steady(&recording.between(first.sent, recording.to), holder);
}

#[test]
fn vip_writes_that_conflict_are_made_until_one_node_has_the_vip() {
    let mut cluster = quick(3);
    cluster.start_all().unwrap();
    cluster.wait_lease_duration().unwrap();
    let probe = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let storm = inject(&cluster, 12, vip_writes(), CONFLICT);
    cluster.create_service("web", VIP).unwrap();
    let first = probe.wait_first_answer(SOON).unwrap();
    assert_eq!(storm.hits(), 12);
    let holder = cluster.lab().node(cluster.holder(VIP).unwrap()).mac;
    cluster.wait_renewals(2).unwrap();
    let recording = probe.stop().unwrap();
    steady(&recording.between(first.sent, recording.to), holder);
}

#[test]
fn a_handover_whose_answers_are_lost_loses_no_probe() {
    handover(Fault::LoseAnswer, 1);
}

#[test]
fn a_handover_amid_conflicts_loses_no_probe() {
    handover(CONFLICT, 3);
}

/// The first writes of every node about the VIP go wrong while node 1 hands over.
fn handover(fault: Fault, times: u32) {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let of = |n: usize| vip_writes().client(&cluster.lab().node(n).name);
    let faults = [1, 2, 3].map(|n| inject(&cluster, times, of(n), fault.clone()));
    cluster.terminate(1, SOON).unwrap();
    let holder = cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    let successor = cluster.lab().node(holder).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    assert!(faults[0].hits() > 0 && faults[holder - 1].hits() > 0);
    cluster.wait_renewals(2).unwrap();
    handed_over(&probe.stop().unwrap(), successor);
}

#[test]
fn answers_that_are_late_but_in_time_interrupt_nothing() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    let late = Fault::DelayAfter(QUICK.renew / 2);
    let fault = cluster.server().faults().inject(Match::any().writes(), late);
    cluster.wait_lease_duration().unwrap();
    assert!(fault.hits() > 0);
    assert_eq!(leases(&cluster), before);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn a_server_that_is_overloaded_is_asked_when_it_says() {
    overloaded(Refusal::TooManyRequests { retry_after_seconds: 1 }, Duration::from_secs(1));
}

#[test]
fn a_server_that_fails_is_left_alone_for_a_while() {
    overloaded(Refusal::Server(503), Duration::from_millis(500));
}

/// Requests about VIPs are refused; renewals are not. No node asks twice within `pause`.
fn overloaded(refusal: Refusal, pause: Duration) {
    let mut cluster = quick(3);
    cluster.start_all().unwrap();
    cluster.wait_lease_duration().unwrap();
    let probe = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let about_vips = Match::any().resource(LEASES).name_prefix("announcer-vip-");
    let refused = cluster.server().faults().inject(about_vips.clone(), Fault::Refuse(refusal));
    cluster.create_service("web", VIP).unwrap();
    let mut last = BTreeMap::<String, Instant>::new();
    let audit = cluster.audit();
    assert!(audit.wait_for(&about_vips, 8, SOON), "it is asked again");
    for Audited { request, at, .. } in audit.recent(&about_vips) {
        if let Some(before) = last.insert(request.client.clone(), at) {
            assert!(at - before >= pause, "{} asks again after {:?}", request.client, at - before);
        }
    }
    assert_eq!(last.len(), 3, "each node is one that tries");
    refused.remove();
    let first = probe.wait_first_answer(SOON).unwrap();
    cluster.wait_renewals(2).unwrap();
    let holder = cluster.lab().node(cluster.holder(VIP).unwrap()).mac;
    let recording = probe.stop().unwrap();
    steady(&recording.between(first.sent, recording.to), holder);
}

#[test]
fn a_fence_whose_answer_is_lost_holds() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    let fences = |client: &str| {
        let of = Match::any().client(client).writes().name(NodeLease::name("node-1"));
        inject(&cluster, 1, of, Fault::LoseAnswer)
    };
    let lost = [fences("node-2"), fences("node-3")];
    lab.cut(lab.node(1), Link::All, Cut::Silent).unwrap();
    let holder = cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    let successor = lab.node(holder).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    assert!(lost.iter().any(|fault| fault.hits() > 0));
    cluster.wait_lease_duration_of(&[2, 3]).unwrap();
    assert_eq!(cluster.holder(VIP), Some(holder));
    interrupted(&probe.stop().unwrap(), QUICK.lease * 2, successor);
}

#[test]
fn a_restart_waits_for_no_answer_but_its_leases() {
    let timing = Timing { lease: Duration::from_secs(6), renew: Duration::from_secs(1) };
    let mut cluster = cluster(3, timing, []);
    let probe = held_by_node_1(&mut cluster);
    let before = cluster.vip_lease(VIP);
    cluster.kill(1).unwrap();
    // What the announcer asks besides: who its lease belongs to.
    let own_node = Match::any().client("node-1").verb(Verb::Get).resource(NODES);
    let hanging = cluster.server().faults().inject(own_node, Fault::Hang);
    cluster.start(1).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert!(hanging.hits() > 0, "it asked");
    assert_eq!(cluster.vip_lease(VIP), before, "no lease moved");
    assert_eq!(probe.stop().unwrap().unanswered(), 0);
}

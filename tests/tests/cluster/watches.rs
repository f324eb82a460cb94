//! Watches that are frozen, that end, and whose history is gone.

use announcer_apiserver::{Fault, Match, Refusal, Verb};
use announcer_tests::{
    cluster::SOON,
    lab::{CLIENT_NIC, Link},
    probe::Probe,
    topology::Cut,
};

use crate::{
    Mode, OTHER, QUICK, QUIET, THIRD, VIP, held_by_node_1, leases, quick,
    wire::{interrupted, steady},
};

fn watches_of(client: &str) -> Match {
    Match::any().client(client).verb(Verb::Watch)
}

#[test]
fn who_sees_no_renewals_fences_nobody() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_renewals(1).unwrap();
    let before = leases(&cluster);
    let freeze = |n| cluster.server().faults().inject(watches_of(n), Fault::FreezeWatches);
    let frozen = ["node-2", "node-3"].map(freeze);
    // Both think that the others are silent.
    for _ in 0..3 {
        cluster.wait_lease_duration().unwrap();
    }
    assert!(frozen.iter().all(|fault| fault.hits() > 0));
    assert_eq!(leases(&cluster), before);
    drop(frozen);
    cluster.wait_renewals(2).unwrap();
    assert_eq!(leases(&cluster), before);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn who_sees_no_renewals_takes_over_all_the_same() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let _frozen = cluster.server().faults().inject(watches_of("node-2"), Fault::FreezeWatches);
    cluster.wait_renewals(2).unwrap();
    let lab = cluster.lab();
    lab.cut(lab.node(1), Link::All, Cut::Silent).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    let successor = lab.node(2).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    // What it knew was old: one lease duration to find that out, one to wait.
    interrupted(&probe.stop().unwrap(), QUICK.lease * 4, successor);
}

#[test]
fn a_holder_whose_watches_are_frozen_goes_on_and_hears_later() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let holder = cluster.lab().node(1).mac;
    let frozen = cluster.server().faults().inject(watches_of("node-1"), Fault::FreezeWatches);
    // Whose VIP it is, the lease that is gone says no more; who answers, its session does.
    cluster.delete_vip_lease(VIP).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), None, "nobody else took it");
    cluster.delete_service("web").unwrap();
    cluster.wait_lease_duration().unwrap();
    // The last answers may be on their way.
    let calm = probe.snapshot();
    steady(&calm.between(calm.from, calm.to - QUIET), holder);
    drop(frozen);
    probe.wait_until_dark(QUIET, SOON).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    assert_eq!(recording.gaps().len(), 1, "{:?}", recording.gaps());
}

#[test]
fn after_410_everything_is_listed_anew_and_nothing_moves() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let before = leases(&cluster);
    let (watches, audit) = (cluster.server().watches(), cluster.audit());
    let any = Match::any();
    let open = watches.count(&any);
    for _ in 0..3 {
        audit.clear();
        assert_eq!(watches.expire(&any), open);
        for again in [Verb::List, Verb::Watch].map(|verb| Match::any().verb(verb)) {
            assert!(audit.wait_for(&again, u64::try_from(open).unwrap(), SOON));
        }
        assert!(watches.wait_for(&any, open, SOON), "{} of {open}", watches.count(&any));
    }
    assert_eq!(leases(&cluster), before);
    // They are the watches of what there is.
    let other = Probe::new(OTHER).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    cluster.create_service("other", OTHER).unwrap();
    other.wait_first_answer(SOON).unwrap();
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    assert_eq!(other.stop().unwrap().contested(), 0);
}

#[test]
fn a_server_that_comes_back_without_history_is_listed_anew() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let ask = |vip| Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let (deleted, created) = (ask(OTHER), ask(THIRD));
    cluster.create_service("deleted", OTHER).unwrap();
    deleted.wait_first_answer(SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    let before = leases(&cluster);

    // As kube-apiserver, until it has read its RBAC rules.
    let starting = Fault::Refuse(Refusal::Forbidden);
    let starting = cluster.server().faults().inject_times(20, Match::any(), starting);
    cluster.server().restart(|_| {
        cluster.delete_service("deleted").unwrap();
        cluster.create_service("created", THIRD).unwrap();
        // Long enough for every daemon to notice that the server is away.
        probe.wait_requests(1000).unwrap();
    });
    created.wait_first_answer(SOON).unwrap();
    assert_eq!(starting.hits(), 20);
    deleted.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(OTHER, SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "nothing moved, nothing was rewritten");
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    for probe in [deleted, created] {
        let recording = probe.stop().unwrap();
        assert_eq!((recording.contested(), recording.duplicated()), (0, 0), "{}", recording.vip);
    }
}

//! A server that comes back without the history that watches ask for.

use announcer_apiserver::{Match, SERVICES, Verb};
use announcer_tests::{
    cluster::{Cluster, SOON},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
};

use crate::{OTHER, QUIET, THIRD, VIP, held_by_node_1, leases, quick, wire::steady};

/// What changes while nobody can see it.
pub(crate) fn meanwhile(cluster: &Cluster) {
    cluster.delete_service("deleted").unwrap();
    cluster.create_service("created", THIRD).unwrap();
}

/// What an announcer says when rights are missing.
const NO_RIGHTS: &str = "may not be read";

/// Everything is listed anew, what has changed [`meanwhile`] is done, and nothing else
/// moves. `restart` takes the server away, clears the audit, changes that, and brings the
/// server back.
pub(crate) fn history_lost(restart: impl FnOnce(&mut Cluster, &ProbeHandle)) {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let ask = |vip| Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let (deleted, created) = (ask(OTHER), ask(THIRD));
    cluster.create_service("deleted", OTHER).unwrap();
    deleted.wait_first_answer(SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    let before = leases(&cluster);

    restart(&mut cluster, &probe);

    created.wait_first_answer(SOON).unwrap();
    deleted.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(OTHER, SOON).unwrap();
    for n in 1..=3 {
        resumed_before_it_was_listed(&cluster, n);
    }
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "nothing moved, nothing was rewritten");
    assert_eq!(cluster.holder(VIP), Some(1));
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    for n in 1..=3 {
        let log = cluster.daemon(n).unwrap().log();
        let warned = log.iter().find(|line| line.text.contains(NO_RIGHTS));
        assert_eq!(warned, None, "a server that starts denies everything");
    }
    for probe in [deleted, created] {
        let recording = probe.stop().unwrap();
        assert_eq!((recording.contested(), recording.duplicated()), (0, 0), "{}", recording.vip);
    }
}

/// That the server denies everything until it has read its rules is no reason to list
/// anew; that it knows no history is.
fn resumed_before_it_was_listed(cluster: &Cluster, n: usize) {
    let of = Match::any().client(&cluster.lab().node(n).name).resource(SERVICES);
    let (audit, mut lists) = (cluster.audit(), 1);
    let understood = loop {
        assert!(audit.wait_for(&of.clone().verb(Verb::List), lists, SOON), "node {n} lists");
        let mut entries = audit.recent(&of);
        entries.retain(|entry| matches!(entry.code, Some(200 | 410)));
        if entries.iter().any(|entry| entry.request.verb == Verb::List) {
            break entries;
        }
        // It was denied, or failed in another way.
        lists += 1;
    };
    assert_eq!(understood[0].request.verb, Verb::Watch, "node {n}: {understood:#?}");
}

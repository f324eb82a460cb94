//! A server that comes back without the history that watches ask for.

use announcer_apiserver::{Match, SERVICES, Verb};
use announcer_tests::{cluster::SOON, lab::CLIENT_NIC, probe::Probe};

use crate::{OTHER, QUIET, THIRD, VIP, held_by_node_1, leases, quick, wire::steady};

/// It cannot say what happened since, and answers such watches with 410 Gone.
#[test]
fn after_a_restart_with_compacted_history_everything_is_listed_anew_and_nothing_moves() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let ask = |vip| Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let (deleted, created) = (ask(OTHER), ask(THIRD));
    cluster.create_service("deleted", OTHER).unwrap();
    deleted.wait_first_answer(SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    let before = leases(&cluster);

    cluster.control_plane_mut().kill_apiserver().unwrap();
    cluster.control_plane().compact().unwrap();
    cluster.audit().clear();
    cluster.control_plane_mut().start_apiserver().unwrap();
    cluster.delete_service("deleted").unwrap();
    cluster.create_service("created", THIRD).unwrap();

    created.wait_first_answer(SOON).unwrap();
    deleted.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(OTHER, SOON).unwrap();
    for n in 1..=3 {
        let of = Match::any().client(&cluster.lab().node(n).name).resource(SERVICES);
        let (resumed, listed) = (of.clone().verb(Verb::Watch), of.verb(Verb::List));
        assert!(cluster.audit().wait_for(&resumed, 2, SOON), "node {n} resumes, then begins anew");
        assert!(cluster.audit().count(&listed) > 0, "node {n} lists");
    }
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "nothing moved, nothing was rewritten");
    assert_eq!(cluster.holder(VIP), Some(1));
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    for probe in [deleted, created] {
        let recording = probe.stop().unwrap();
        assert_eq!((recording.contested(), recording.duplicated()), (0, 0), "{}", recording.vip);
    }
}

//! A server that comes back without the history that watches ask for.

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

/// Everything is listed anew, what has changed [`meanwhile`] is done, and nothing else
/// moves. `restart` takes the server away, changes that, and brings the server back;
/// `listed` looks at how it was learned.
pub(crate) fn history_lost(
    restart: impl FnOnce(&mut Cluster, &ProbeHandle),
    listed: impl FnOnce(&Cluster),
) {
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
    listed(&cluster);
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "nothing moved, nothing was rewritten");
    assert_eq!(cluster.holder(VIP), Some(1));
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    for probe in [deleted, created] {
        let recording = probe.stop().unwrap();
        assert_eq!((recording.contested(), recording.duplicated()), (0, 0), "{}", recording.vip);
    }
}

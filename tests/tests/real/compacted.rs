//! Watches that ask for what etcd has forgotten are answered with 410 Gone.

use announcer_tests::{cluster::Cluster, probe::ProbeHandle};

use crate::history::{history_lost, meanwhile};

#[test]
fn after_a_restart_with_compacted_history_everything_is_listed_anew_and_nothing_moves() {
    history_lost(|cluster: &mut Cluster, _: &ProbeHandle| {
        cluster.control_plane_mut().kill_apiserver().unwrap();
        cluster.control_plane().compact().unwrap();
        cluster.audit().clear();
        cluster.control_plane_mut().start_apiserver().unwrap();
        meanwhile(cluster);
    });
}

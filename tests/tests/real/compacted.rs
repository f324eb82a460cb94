//! Watches that ask for what etcd has forgotten are answered with 410 Gone.

use announcer_apiserver::{Match, SERVICES, Verb};
use announcer_tests::{
    cluster::{Cluster, SOON},
    probe::ProbeHandle,
};

use crate::history::{history_lost, meanwhile};

#[test]
fn after_a_restart_with_compacted_history_everything_is_listed_anew_and_nothing_moves() {
    let restart = |cluster: &mut Cluster, _: &ProbeHandle| {
        cluster.control_plane_mut().kill_apiserver().unwrap();
        cluster.control_plane().compact().unwrap();
        cluster.audit().clear();
        cluster.control_plane_mut().start_apiserver().unwrap();
        meanwhile(cluster);
    };
    history_lost(restart, |cluster| {
        for n in 1..=3 {
            let of = Match::any().client(&cluster.lab().node(n).name).resource(SERVICES);
            let (resumed, listed) = (of.clone().verb(Verb::Watch), of.verb(Verb::List));
            let (audit, again) = (cluster.audit(), "resumes, then begins anew");
            assert!(audit.wait_for(&resumed, 2, SOON), "node {n} {again}");
            assert!(audit.count(&listed) > 0, "node {n} lists");
        }
    });
}

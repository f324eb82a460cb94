//! A VIP that the node's kernel has too, as kube-proxy in IPVS mode leaves it on an
//! interface: the program alone decides whether it is answered.

use announcer_tests::{
    daemon::Signal,
    lab::{CLIENT_NIC, UPLINK},
    probe::Probe,
};

use super::HOOK;
use crate::scene::{DARK, NODE_MAC, SOON, Scene, VIP};

/// A kernel that answers makes a neighbour entry for each asker; this many do no harm.
const FEW: u32 = 64;

fn scene() -> Scene {
    let scene = Scene::on_switch(HOOK);
    scene.node.ip(&format!("address add {VIP}/32 dev lo")).unwrap();
    scene
}

/// Whom the node's kernel has answered among the askers of a probe.
fn kernel_answered(scene: &Scene) -> bool {
    scene.node.ip(&format!("neigh show dev {UPLINK}")).unwrap().contains("198.18.")
}

#[test]
fn a_request_is_answered_once_and_not_by_the_kernel_as_well() {
    let scene = scene();
    let _daemon = scene.answering();
    let probe = Probe::new(VIP).askers(FEW).start(&scene.client, CLIENT_NIC).unwrap();
    probe.wait_requests(1000).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [NODE_MAC]);
    assert!(!kernel_answered(&scene));
}

#[test]
fn the_kernel_answers_again_when_the_daemon_has_left() {
    let scene = scene();
    let mut daemon = scene.answering();
    let probe = Probe::new(VIP).askers(FEW).start(&scene.client, CLIENT_NIC).unwrap();
    probe.wait_requests(100).unwrap();
    assert!(!kernel_answered(&scene));
    daemon.signal(Signal::Term).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
    // No request in between is lost: the program is there, or the kernel has its way.
    probe.wait_requests(100).unwrap();
    assert!(kernel_answered(&scene));
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

/// The time in the map is over: the kernel must not step in for a node that may have
/// been replaced.
#[test]
fn an_expired_vip_is_answered_by_nobody() {
    let scene = scene();
    let mut daemon = scene.answering();
    let probe = Probe::new(VIP).askers(FEW).start(&scene.client, CLIENT_NIC).unwrap();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.kill().unwrap();
    probe.wait_until_dark(DARK, SOON).unwrap();
    probe.wait_requests(1000).unwrap();
    assert!(!kernel_answered(&scene));
}

#[test]
fn a_silent_vip_is_answered_by_nobody() {
    let scene = scene();
    let mut daemon = scene.answering();
    daemon.kill().unwrap();
    scene.silence();

    let probe = Probe::new(VIP).askers(FEW).start(&scene.client, CLIENT_NIC).unwrap();
    probe.wait_requests(1000).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!(recording.unanswered(), recording.requests.len());
    assert!(!kernel_answered(&scene));
}

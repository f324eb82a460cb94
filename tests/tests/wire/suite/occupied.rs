//! Somebody is there already: exit code 5, and it stays as it was.

use announcer_tests::{
    daemon::{Daemon, DaemonBuilder},
    lab::UPLINK,
    xdp::{Mode, PassAll},
};
use serde_json::Value;

use crate::scene::{NODE_MAC, SOON, Scene, static_vip};

const OCCUPIED: Option<i32> = Some(5);
/// The name of the program that is there already.
const NAME: &str = "somebody_elses";

/// Asserts that it has refused to run, and said all of `why`.
fn assert_refused(mut daemon: Daemon, why: &[&str]) {
    let code = daemon.wait_exit(SOON).unwrap().code();
    let said = daemon.print();
    assert_eq!(code, OCCUPIED, "{said}");
    for part in why {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_told_who_the_first_is() {
    let scene = Scene::on_switch();
    let first = scene.answering();
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    let program = scene.xdp();
    let pid = first.pid().to_string();
    assert_refused(static_vip().start(&scene.node).unwrap(), &[&pid]);
    // Nor may anybody pull the rug from under it.
    let detach = DaemonBuilder::new("detach").unwrap().start(&scene.node).unwrap();
    assert_refused(detach, &[&pid]);
    assert_eq!(scene.xdp(), program);
    probe.wait_requests(100).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

#[test]
fn daemons_of_two_network_namespaces_do_not_meet() {
    let scenes = [Scene::on_switch(), Scene::on_switch()];
    let _daemons = scenes.each_ref().map(Scene::answering);
    for scene in &scenes {
        scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    }
}

#[test]
fn a_foreign_xdp_program_is_named_and_stays() {
    for mode in [Mode::Generic, Mode::Native] {
        let scene = Scene::on_switch();
        let foreign = PassAll::attach(&scene.node, UPLINK, NAME, mode).unwrap();
        let program = scene.xdp().unwrap();
        let id = program.pointer("/prog/id").and_then(Value::as_u64).unwrap().to_string();
        assert_refused(static_vip().start(&scene.node).unwrap(), &[UPLINK, NAME, &id]);
        assert_eq!(scene.xdp(), Some(program));
        assert!(!scene.pins().exists());
        // When it has gone there is room for ours.
        drop(foreign);
        let _daemon = scene.answering();
    }
}

#[test]
fn a_foreign_program_on_one_of_two_interfaces_leaves_the_other_clean() {
    let scene = Scene::on_switch();
    let second = "link add ens19 type veth peer name peer19\nlink set ens19 up\n";
    scene.node.ip(second).unwrap();
    let _foreign = PassAll::attach(&scene.node, "ens19", NAME, Mode::Generic).unwrap();
    let daemon = static_vip().args(["--interface", "ens19"]).start(&scene.node).unwrap();
    assert_refused(daemon, &["ens19", NAME]);
    scene.assert_clean();
}

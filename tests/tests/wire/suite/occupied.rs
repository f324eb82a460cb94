//! Somebody is there already: exit code 5, and it stays as it was.

use announcer_tests::{
    arp::ArpFrame,
    bpf::{self, Attached, Hook, Runs, Statistics},
    daemon::{DaemonBuilder, Signal},
    lab::UPLINK,
};

use super::HOOK;
use crate::scene::{Kernel, NODE_MAC, SOON, Scene, assert_refused, request, static_vip};

#[test]
fn a_second_daemon_is_refused_and_told_who_the_first_is() {
    let scene = Scene::on_switch(HOOK);
    let first = scene.answering();
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    let program = scene.program();
    let pid = first.pid().to_string();
    assert_refused(static_vip(HOOK).start(&scene.node).unwrap(), &[&pid]);
    // Nor may anybody pull the rug from under it.
    let detach = DaemonBuilder::new("detach").unwrap().start(&scene.node).unwrap();
    assert_refused(detach, &[&pid]);
    assert_eq!(scene.program(), program);
    probe.wait_requests(100).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

#[test]
fn daemons_of_two_network_namespaces_do_not_meet() {
    let scenes = [HOOK; 2].map(Scene::on_switch);
    let _daemons = scenes.each_ref().map(Scene::answering);
    for scene in &scenes {
        scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    }
}

#[test]
fn programs_at_tcx_see_whole_frames() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let behind = Kernel::at_tcx(&scene.node);
    let asker = scene.asker();
    let for_others = ArpFrame { target_ip: [192, 0, 2, 77].into(), ..request() }.to_padded_bytes();
    let mut unknown = for_others.clone();
    unknown[12..14].copy_from_slice(&[0x88, 0xb5]);
    for frame in [for_others, unknown] {
        asker.send(&frame);
        behind.wait_for(&frame).unwrap();
    }
}

/// Ours comes first, whoever was there before.
#[test]
fn a_tcx_program_of_somebody_else_stays_and_sees_what_is_not_ours() {
    let scene = Scene::on_switch(HOOK);
    let _statistics = Statistics::enable().unwrap();
    let before = Attached::pass_all(&scene.node, UPLINK, "before", Hook::Tcx).unwrap();
    let mut daemon = scene.answering();
    let after = Attached::pass_all(&scene.node, UPLINK, "after", Hook::Tcx).unwrap();
    let theirs = [&before, &after];
    let seen = || theirs.map(|theirs| Runs::of(theirs.program()).unwrap().count);
    let ids = || bpf::programs_at(&scene.node, UPLINK, Hook::Tcx).unwrap();
    let ours = usize::from(HOOK == Hook::Tcx);
    assert_eq!(ids().len(), theirs.len() + ours);

    let asker = scene.asker();
    let for_us = request().to_padded_bytes();
    let for_others = ArpFrame { target_ip: [192, 0, 2, 77].into(), ..request() }.to_padded_bytes();
    let start = seen();
    // And a sentinel.
    assert_eq!(asker.all_answers_to([&for_us[..]; 20]).len(), 20);
    let quiet = seen();
    asker.all_answers_to([&for_others[..]; 20]);
    let busy = seen();
    for i in 0..theirs.len() {
        // The switch and the client's kernel may have something to say, too.
        assert!(quiet[i] - start[i] < 20, "they saw what we answered: {start:?} {quiet:?}");
        assert!(busy[i] - quiet[i] >= 20, "they did not see what we passed: {quiet:?} {busy:?}");
    }

    let others = ids().split_off(ours);
    daemon.signal(Signal::Term).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
    assert_eq!(ids(), others);
}

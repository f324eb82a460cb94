//! The daemon starts, is killed, stopped, told to leave, and comes back.

use announcer_tests::{
    capture::Capture,
    daemon::{DaemonBuilder, Signal},
    lab::{CLIENT_NIC, UPLINK},
};
use serde_json::Value;

use super::HOOK;
use crate::scene::{DARK, NODE_MAC, SOON, Scene, VIP, request, wait_for_announcement};

/// On a busy machine a new process can take longer than the default validity of 2.4 s.
const PATIENT: [&str; 4] = ["--lease-duration", "30s", "--renew-interval", "1s"];
/// Validity 1.2 s.
const IMPATIENT: [&str; 4] = ["--lease-duration", "1500ms", "--renew-interval", "300ms"];

#[test]
fn a_daemon_that_is_killed_and_comes_back_in_time_loses_no_request() {
    let scene = Scene::on_switch(HOOK);
    let mut daemon = scene.answering_with(&PATIENT);
    let probe = scene.probe();
    probe.wait_requests(300).unwrap();
    for _ in 0..3 {
        daemon.kill().unwrap();
        probe.wait_requests(300).unwrap();
        daemon = scene.answering_with(&PATIENT);
        daemon.wait_for_log("adopted=true", SOON).unwrap();
        probe.wait_requests(300).unwrap();
    }
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [NODE_MAC]);
}

#[test]
fn a_daemon_that_is_killed_and_comes_back_late_answers_anew() {
    let scene = Scene::on_switch(HOOK);
    let mut daemon = scene.answering_with(&IMPATIENT);
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.kill().unwrap();
    probe.wait_until_dark(DARK, SOON).unwrap();
    let _daemon = scene.answering_with(&IMPATIENT);
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
}

#[test]
fn sigterm_and_sigint_end_it_and_leave_nothing() {
    for signal in [Signal::Term, Signal::Int] {
        let scene = Scene::on_switch(HOOK);
        let mut daemon = scene.answering();
        assert!(scene.program().is_some() && scene.pins().exists());
        let probe = scene.probe();
        probe.wait_answer_by(NODE_MAC, SOON).unwrap();
        daemon.signal(signal).unwrap();
        assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0), "{signal:?}");
        scene.assert_clean();
        let snapshot = probe.snapshot();
        probe.wait_requests(200).unwrap();
        let after = probe.stop().unwrap();
        let late = after.between(snapshot.to, after.to);
        assert_eq!(late.unanswered(), late.requests.len(), "answered after its end");
    }
}

#[test]
fn a_stopped_daemon_stops_answering_and_a_continued_one_goes_on() {
    let scene = Scene::on_switch(HOOK);
    let daemon = scene.answering_with(&IMPATIENT);
    let probe = scene.probe();
    for _ in 0..2 {
        probe.wait_answer_by(NODE_MAC, SOON).unwrap();
        daemon.signal(Signal::Stop).unwrap();
        probe.wait_until_dark(DARK, SOON).unwrap();
        probe.wait_requests(500).unwrap();
        let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
        daemon.signal(Signal::Cont).unwrap();
        probe.wait_answer_by(NODE_MAC, SOON).unwrap();
        // Somebody else may have had it meanwhile.
        wait_for_announcement(&capture, &daemon);
    }
    let recording = probe.stop().unwrap();
    assert_eq!(recording.duplicated(), 0);
}

#[test]
fn a_daemon_that_runs_on_pushes_the_deadline_on() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let probe = scene.probe();
    // Longer than the validity.
    probe.wait_requests(4000).unwrap();
    assert_eq!(probe.stop().unwrap().unanswered(), 0);
}

#[test]
fn what_is_answered_where_is_logged_once() {
    let scene = Scene::on_switch(HOOK);
    let daemon = scene.answering();
    daemon.wait_for_log("answering for 192.0.2.10 on ens18", SOON).unwrap();
    // Longer than the validity.
    scene.probe().wait_requests(4000).unwrap();
    let said = daemon.log().into_iter().filter(|line| line.text.contains("answering for"));
    assert_eq!(said.count(), 1, "{}", daemon.print());
}

#[test]
fn detach_removes_what_a_killed_daemon_left() {
    let scene = Scene::on_switch(HOOK);
    scene.answering_with(&PATIENT).kill().unwrap();
    assert!(scene.program().is_some() && scene.pins().exists());
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    // The second time there is nothing to do.
    for said in ["detached from ens18", "nothing is attached or pinned"] {
        let mut detach = DaemonBuilder::new("detach").unwrap().start(&scene.node).unwrap();
        assert_eq!(detach.wait_exit(SOON).unwrap().code(), Some(0), "{}", detach.print());
        detach.wait_for_log(said, SOON).unwrap();
        scene.assert_clean();
    }
    probe.wait_until_dark(DARK, SOON).unwrap();
    drop(probe);
    let _daemon = scene.answering();
}

#[test]
fn status_tells_what_is_answered_with_and_without_a_daemon() {
    let scene = Scene::on_switch(HOOK);
    let status = || {
        let mut status =
            DaemonBuilder::new("status").unwrap().args(["-o", "json"]).start(&scene.node).unwrap();
        assert_eq!(status.wait_exit(SOON).unwrap().code(), Some(0), "{}", status.print());
        let text: String = status.log().into_iter().map(|line| line.text).collect();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(status().pointer("/interfaces"), Some(&Value::Array(Vec::new())));

    let mut daemon = scene.answering_with(&PATIENT);
    let asker = scene.asker();
    for _ in 0..7 {
        asker.answer_to(&request().to_bytes());
    }
    // Each time a sentinel is answered, too.
    let answered = 14;
    let assert_told = || {
        let status = status();
        for (field, expected) in [
            ("interface", UPLINK.into()),
            ("hook", HOOK.flag().into()),
            ("hook_reason", "asked for with --hook".into()),
            ("mac", NODE_MAC.to_string().into()),
            ("vips/0/vip", VIP.to_string().into()),
            ("vips/0/state", "answering".into()),
            ("vips/0/answered", Value::from(answered)),
        ] {
            let told = status.pointer(&format!("/interfaces/0/{field}"));
            assert_eq!(told, Some(&expected), "{field} of {status}");
        }
        status
    };
    let asked = assert_told();
    assert_eq!(asked.pointer("/vips/0/state"), Some(&"held".into()), "{asked}");
    assert_eq!(asked.pointer("/daemon/cluster"), Some(&Value::Null), "{asked}");
    daemon.kill().unwrap();
    assert_eq!(assert_told().pointer("/daemon/state"), Some(&"absent".into()));
}

//! Announcers that hang.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use announcer_tests::{
    cluster::{SOON, Timing},
    daemon::{self, Daemon, Signal},
    lab::UPLINK,
};
use serde_json::Value;

use crate::{VIP, cluster, held_by_node_1, millis, quick};

#[test]
fn a_stopped_announcer_falls_silent_by_itself_and_does_not_come_back() {
    let timing = Timing::DEFAULT;
    let mut cluster = cluster(3, timing, []);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    let hung = lab.node(1);
    let session = cluster.node_lease(1).unwrap().session;

    let daemon = cluster.daemon(1).unwrap();
    daemon.signal(Signal::Stop).unwrap();
    let stopped = Instant::now();
    let last = probe.wait_until_dark(Duration::from_millis(100), SOON).unwrap().unwrap();
    let went_on = last.sent.saturating_duration_since(stopped);
    println!("answered after SIGSTOP: {:.0} ms", millis(went_on));
    assert_eq!(last.mac, hung.mac);
    assert!(went_on <= timing.validity(), "{went_on:?}");

    let successor = lab.node(cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap());
    let first = probe.wait_answer_by(successor.mac, SOON).unwrap();
    println!("dark: {:.0} ms", millis(first.sent.saturating_duration_since(last.sent)));
    daemon.signal(Signal::Cont).unwrap();
    // It notices, and begins anew.
    cluster
        .wait_for_node_lease(1, SOON, |lease| lease.is_open() && lease.session != session)
        .unwrap();
    cluster.wait_renewals(3).unwrap();
    assert_ne!(cluster.holder(VIP), Some(1));
    let recording = probe.stop().unwrap();
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    let after = recording.between(first.sent, recording.to);
    let answerers: Vec<_> = after.answerers().into_keys().collect();
    assert_eq!((answerers, after.unanswered()), (vec![successor.mac], 0));
}

#[test]
fn a_stopped_announcer_is_told_from_none_with_what_to_do() {
    let mut cluster = quick(1);
    let _probe = held_by_node_1(&mut cluster);
    let ns = &cluster.lab().node(1).ns;
    let announcer = cluster.daemon(1).unwrap();
    let pid = announcer.pid();
    let run = |args: &[&str]| {
        let mut command = Command::new(daemon::binary().unwrap());
        command.args(args);
        let mut run = Daemon::start(command, args[0], ns).unwrap();
        let code = run.wait_exit(SOON).unwrap().code();
        let lines = run.log().into_iter().map(|line| line.text);
        (code, lines.collect::<Vec<_>>())
    };
    let json = |lines: Vec<String>| -> Value {
        let document = lines.into_iter().filter(|line| !line.starts_with("announcer: "));
        serde_json::from_str(&document.collect::<String>()).unwrap()
    };
    let doctor = ["doctor", "--interface", UPLINK, "--no-cluster", "-o", "json"];
    let pulse = |report: &Value| {
        let findings = report["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["check"] == "daemon").unwrap()
    };
    let (code, said) = run(&["status", "-o", "json"]);
    assert_eq!((code, &json(said)["daemon"]["state"]), (Some(0), &Value::from("running")));
    assert_eq!(pulse(&json(run(&doctor).1))["level"], "ok");

    announcer.signal(Signal::Stop).unwrap();
    let wake = format!("kill -CONT {pid}");
    let (code, said) = run(&["status"]);
    assert_eq!(code, Some(9), "{said:#?}");
    for part in [&*format!("process {pid}"), "stopped or stuck", &*wake, "192.0.2.10"] {
        assert!(said.iter().any(|line| line.contains(part)), "{part}: {said:#?}");
    }
    let (code, said) = run(&["status", "-o", "json"]);
    let status = json(said);
    assert_eq!((code, &status["daemon"]["state"]), (Some(9), &Value::from("hung")));
    assert_eq!(status["daemon"]["pid"], pid);
    assert_eq!(status["interfaces"][0]["vips"][0]["vip"], VIP.to_string());
    let (code, said) = run(&doctor);
    let found = pulse(&json(said));
    assert_eq!((code, &found["level"]), (Some(7), &Value::from("failure")));
    assert!(found["remedy"].as_str().unwrap().contains(&wake), "{found:#}");

    announcer.signal(Signal::Cont).unwrap();
    cluster.wait_for_status(1, |status| status["daemon"]["state"] == "running").unwrap();
}

//! Environment twins of the flags, and what the daemon needs to be allowed.

use std::{collections::HashSet, fs, process::Command};

use announcer_tests::{
    capture::Capture,
    confine,
    daemon::{Daemon, DaemonBuilder, Signal, binary},
    lab::{CLIENT_NIC, UPLINK},
    netns::NetNs,
};
use serde_json::Value;

use super::HOOK;
use crate::scene::{NODE_MAC, SOON, Scene, VIP, static_vip, wait_for_announcement};

#[test]
fn every_setting_has_an_environment_twin() {
    let scene = Scene::on_switch(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let mut daemon = DaemonBuilder::new("run")
        .unwrap()
        .env("ANNOUNCER_INTERFACE", UPLINK)
        .env("ANNOUNCER_STATIC_VIP", VIP.to_string())
        .env("ANNOUNCER_HOOK", HOOK.flag())
        .env("ANNOUNCER_LOG_FORMAT", "json")
        .start(&scene.node)
        .unwrap();
    wait_for_announcement(&capture, &daemon);
    scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.signal(Signal::Term).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
    // Every line is JSON, from the first to the last.
    let messages: HashSet<_> = daemon
        .log()
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(&line.text).unwrap();
            line.pointer("/message").and_then(Value::as_str).unwrap().to_owned()
        })
        .collect();
    assert!(messages.contains("attached"), "{messages:?}");

    let mut refused = static_vip(HOOK).env("ANNOUNCER_RENEW_INTERVAL", "10ms");
    refused = refused.env("ANNOUNCER_LEASE_DURATION", "3s");
    assert_eq!(refused.start(&scene.node).unwrap().wait_exit(SOON).unwrap().code(), Some(2));
}

/// The daemon with nothing but these capabilities (of capabilities(7)).
fn with_capabilities(ns: &NetNs, capabilities: &[&str]) -> Daemon {
    let all = |sign: &str| {
        let some = capabilities.iter().map(|name| format!(",{sign}{name}"));
        format!("-all{}", some.collect::<String>())
    };
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={}", all("+"))).arg("--inh-caps=-all");
    command.arg(binary().unwrap()).args(["run", "--interface", UPLINK]);
    command.args(["--static-vip", &VIP.to_string(), "--hook", HOOK.flag()]);
    Daemon::start(command, "announcer", ns).unwrap()
}

/// As all tests start them.
#[test]
fn a_daemon_of_a_test_has_the_rights_that_are_shipped() {
    let scene = Scene::on_switch(HOOK);
    let daemon = static_vip(HOOK).start(&scene.node).unwrap();
    scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    };
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let bits = u64::from_str_radix(&field(set), 16).unwrap();
        assert_eq!(bits, confine::MASK, "{set} is {bits:x}");
    }
    assert_eq!((&*field("CapInh"), &*field("CapAmb")), (NONE, NONE));
    assert_eq!(field("NoNewPrivs"), "1");
}

const NONE: &str = "0000000000000000";

const NEEDED: [&str; 4] = ["bpf", "net_admin", "net_raw", "perfmon"];

#[test]
fn four_capabilities_are_enough() {
    let scene = Scene::on_switch(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let mut daemon = with_capabilities(&scene.node, &NEEDED);
    wait_for_announcement(&capture, &daemon);
    scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.kill().unwrap();
    let mut daemon = with_capabilities(&scene.node, &NEEDED);
    daemon.wait_for_log("adopted=true", SOON).unwrap();
    scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.signal(Signal::Term).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
    scene.assert_clean();
}

#[test]
fn each_missing_capability_is_an_error_with_its_remedy() {
    let scene = Scene::on_switch(HOOK);
    let but = |without: &str| NEEDED.into_iter().filter(|&name| name != without).collect();
    // CAP_PERFMON is for programs that the verifier sees more in than ours.
    let sets: [Vec<_>; 4] = [vec![], but("bpf"), but("net_admin"), but("net_raw")];
    for set in sets {
        let mut daemon = with_capabilities(&scene.node, &set);
        let code = daemon.wait_exit(SOON).unwrap().code();
        let said = daemon.print();
        assert_eq!(code, Some(3), "{set:?}: {said}");
        let is_named = NEEDED.iter().filter(|name| !set.contains(name)).all(|name| {
            said.contains(&format!("CAP_{}", name.to_uppercase())) || *name == "perfmon"
        });
        assert!(is_named, "{set:?}: {said}");
    }
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    for missing in NEEDED.into_iter().filter(|&name| name != "perfmon") {
        let scene = Scene::on_switch(HOOK);
        let others: Vec<_> = NEEDED.into_iter().filter(|&name| name != missing).collect();
        let mut daemon = with_capabilities(&scene.node, &others);
        assert_ne!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
        scene.assert_clean();
    }
}

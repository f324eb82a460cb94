//! Flags, their environment twins, and what the daemon needs to be allowed.

use std::{collections::HashSet, process::Command};

use announcer_tests::{
    capture::Capture,
    daemon::{Daemon, DaemonBuilder, Signal, binary},
    lab::{CLIENT_NIC, UPLINK},
    netns::NetNs,
};
use serde_json::Value;

use crate::scene::{NODE_MAC, SOON, Scene, VIP, static_vip, wait_for_announcement};

#[test]
fn what_cannot_work_is_refused_with_its_name() {
    let ns = NetNs::new("node").unwrap();
    for (flags, parts) in [
        (&["--static-vip", "2001:db8::1"][..], &["2001:db8::1"][..]),
        (&["--static-vip", "224.0.0.5"], &["224.0.0.5"]),
        (&["--static-vip", "127.0.0.1"], &["127.0.0.1"]),
        (&["--static-vip", "0.0.0.0"], &["0.0.0.0"]),
        (&["--static-vip", "255.255.255.255"], &["255.255.255.255"]),
        (&["--static-vip", "192.0.2.300"], &["192.0.2.300"]),
        (&["--interface", "/ens(/"], &["/ens(/"]),
        (&["--interface", "name-that-is-too-long"], &["name-that-is-too-long"]),
        (&["--hook", "tc"], &["tc", "xdp-generic"]),
        (&["--lease-duration", "1s", "--renew-interval", "1s"], &["1s", "400ms"]),
        (&["--renew-interval", "10ms"], &["10ms", "50ms"]),
        (&["--lease-duration", "3"], &["--lease-duration"]),
        (&["--lease-duration", "2h"], &["7200s", "1h"]),
        (&["--max-vips", "0"], &["--max-vips"]),
        (&["--log", "no=such=level"], &["no=such=level"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
    ] {
        let run = DaemonBuilder::run(UPLINK).unwrap();
        let run =
            if flags[0] == "--static-vip" { run } else { run.args(["--static-vip", "192.0.2.10"]) };
        let mut daemon = run.args(flags).start(&ns).unwrap();
        let code = daemon.wait_exit(SOON).unwrap().code();
        let said = daemon.print();
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{flags:?}: {part:?} is not in\n{said}");
        }
    }
}

#[test]
fn every_setting_has_an_environment_twin() {
    let scene = Scene::on_switch();
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let mut daemon = DaemonBuilder::new("run")
        .unwrap()
        .env("ANNOUNCER_INTERFACE", UPLINK)
        .env("ANNOUNCER_STATIC_VIP", VIP.to_string())
        .env("ANNOUNCER_HOOK", "xdp-generic")
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

    let mut refused = static_vip().env("ANNOUNCER_RENEW_INTERVAL", "10ms");
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
    command.args(["--static-vip", &VIP.to_string()]);
    Daemon::start(command, "announcer", ns).unwrap()
}

const NEEDED: [&str; 4] = ["bpf", "net_admin", "net_raw", "perfmon"];

#[test]
fn four_capabilities_are_enough() {
    let scene = Scene::on_switch();
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
    let scene = Scene::on_switch();
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
        let scene = Scene::on_switch();
        let others: Vec<_> = NEEDED.into_iter().filter(|&name| name != missing).collect();
        let mut daemon = with_capabilities(&scene.node, &others);
        assert_ne!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
        scene.assert_clean();
    }
}

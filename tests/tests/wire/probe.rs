//! `announcer probe`: asked on the wire, of announcers, of kernels, of two at once.

use std::{ffi::OsStr, net::Ipv4Addr, time::Duration};

use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    bpf::Hook,
    capture::{Capture, Injector},
    daemon::{Daemon, DaemonBuilder, Signal},
    lab::{CLIENT_IP, CLIENT_NIC, UPLINK},
    neighbour,
    netns::NetNs,
};
use serde_json::Value;

use crate::scene::{NODE_IP, NODE_MAC, SOON, Scene, VIP};

const STRANGER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

fn probe<S: AsRef<OsStr>>(ns: &NetNs, args: &[S]) -> Daemon {
    DaemonBuilder::new("probe").unwrap().named("probe").args(args).start(ns).unwrap()
}

/// Runs it to its end: exit code and what it wrote.
fn run<S: AsRef<OsStr>>(ns: &NetNs, args: &[S]) -> (Option<i32>, String) {
    let mut probe = probe(ns, args);
    let code = probe.wait_exit(SOON).unwrap().code();
    let lines = probe.log().into_iter().map(|line| line.text + "\n");
    (code, lines.collect())
}

/// The first address of `-o json`.
fn asked(ns: &NetNs, args: &[String]) -> (Option<i32>, Value) {
    let (code, said) = run(ns, &[args, &["-o".to_owned(), "json".to_owned()]].concat());
    // The last words come by the other output, at any time.
    let lines = said.lines().filter(|line| !line.starts_with("announcer: "));
    let document: Value = serde_json::from_str(&lines.collect::<String>()).unwrap();
    (code, document.pointer("/0").cloned().unwrap())
}

fn macs(address: &Value) -> Vec<String> {
    let by = address.pointer("/answered_by").and_then(Value::as_array).unwrap();
    by.iter().map(|it| it.pointer("/mac").and_then(Value::as_str).unwrap().to_owned()).collect()
}

/// Asks for these, quickly.
fn quickly(addresses: &[Ipv4Addr]) -> Vec<String> {
    let fast = ["--interval", "20ms", "--timeout", "500ms"].map(str::to_owned);
    addresses.iter().map(ToString::to_string).chain(fast).collect()
}

#[test]
fn an_announcer_answers_and_nobody_learns_from_the_question() {
    let scene = Scene::on_switch(Hook::Tcx);
    let _daemon = scene.answering();
    let capture = Capture::start(&scene.node, UPLINK).unwrap();
    let args = quickly(&[VIP]);
    let (code, address) = asked(&scene.client, &args);
    assert_eq!(code, Some(0), "{address:#}");
    assert_eq!(macs(&address), [NODE_MAC.to_string()]);
    assert_eq!(address.pointer("/asked"), Some(&Value::from(3)));
    assert_eq!(address.pointer("/unanswered"), Some(&Value::from(0)));
    // RFC 5227 section 2.1.1.
    let is_question = |arp: ArpFrame| arp.op == Op::Request && arp.target_ip == VIP;
    let question = capture.wait_for(SOON, |frame| frame.arp().is_some_and(is_question)).unwrap();
    assert!(question.arp().unwrap().sender_ip.is_unspecified());
    assert_eq!(neighbour::mac_of(&scene.client, VIP).unwrap(), None);
    assert_eq!(neighbour::mac_of(&scene.node, CLIENT_IP).unwrap(), None);
}

#[test]
fn a_kernel_answers_for_its_address_and_the_table_says_so() {
    let scene = Scene::on_switch(Hook::Tcx);
    let args = quickly(&[NODE_IP]);
    let (code, said) = run(&scene.client, &args);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&NODE_MAC.to_string()) && said.contains("locally administered"),
        "{said}"
    );
}

#[test]
fn nobody_is_exit_code_6_and_every_address_is_told() {
    let scene = Scene::on_switch(Hook::Tcx);
    let (code, said) = run(&scene.client, &quickly(&[NODE_IP, VIP]));
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains(&NODE_MAC.to_string()), "{said}");
    assert!(said.contains(&format!("nobody answers for {VIP}")), "{said}");
    assert!(said.contains(&format!("announcer explain {VIP}")), "{said}");
}

#[test]
fn two_answerers_are_exit_code_8_and_both_are_named() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let _daemon = scene.answering_with(&["--on-conflict", "report"]);
    let _stranger = scene.host("stranger", STRANGER, Some(VIP));
    let args = quickly(&[VIP]);
    let (code, address) = asked(&scene.client, &args);
    assert_eq!(code, Some(8), "{address:#}");
    assert_eq!(macs(&address), [NODE_MAC.to_string(), STRANGER.to_string()]);
    let (code, said) = run(&scene.client, &args);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("TWO ANSWER") && said.contains("QEMU/KVM"), "{said}");
}

#[test]
fn the_holder_is_told_that_it_answers_itself() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let _daemon = scene.answering_with(&["--on-conflict", "report"]);
    scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
    let args = quickly(&[VIP]);
    let (code, address) = asked(&scene.node, &args);
    assert_eq!(code, Some(0), "{address:#}");
    assert_eq!(address.pointer("/answered_here/by"), Some(&Value::from("announcer")));
    assert_eq!(address.pointer("/longest_gap_seconds"), Some(&Value::Null));
    let (code, said) = run(&scene.node, &args);
    assert_eq!(code, Some(0), "{said}");
    for part in ["nobody else answered", "this node answers for 192.0.2.10 itself", "another host"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Seen from elsewhere it is one of two.
    let _stranger = scene.host("stranger", STRANGER, Some(VIP));
    let (code, said) = run(&scene.node, &args);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains(&STRANGER.to_string()) && said.contains("this node itself"), "{said}");
}

#[test]
fn a_host_whose_kernel_answers_is_told_so() {
    let scene = Scene::on_switch(Hook::Tcx);
    scene.node.ip(&format!("addr add {VIP}/32 dev lo")).unwrap();
    let args = quickly(&[VIP]);
    assert_eq!(run(&scene.client, &args).0, Some(0), "it does answer");
    let (code, said) = run(&scene.node, &args);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("its kernel has it on lo"), "{said}");
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_is_sent() {
    let scene = Scene::on_switch(Hook::Tcx);
    let own = CLIENT_IP.to_string();
    for (args, code, part) in [
        (&["198.51.100.1"][..], 2, "give --interface"),
        (&[&*own], 2, "of this host itself"),
        (&["192.0.2.10", "--interface", "no-such-if"], 2, "no interface no-such-if"),
        (&["2001:db8::1"], 2, "IPv6"),
        (&["192.0.2.10", "--interval", "1us"], 2, "10ms"),
    ] {
        let (found, said) = run(&scene.client, args);
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

/// The next line with this event of `--watch -o json`.
fn wait_for_event(probe: &Daemon, event: &str) -> Value {
    let is_it = |text: &str| -> Option<Value> {
        let value: Value = serde_json::from_str(text).ok()?;
        (value.pointer("/event") == Some(&Value::from(event))).then_some(value)
    };
    let line = probe.wait_for_line(SOON, |line| is_it(&line.text).is_some()).unwrap();
    is_it(&line.text).unwrap()
}

#[test]
fn a_failover_is_followed_with_its_times() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let mut daemon = scene.answering_with(&["--on-conflict", "report"]);
    let vip = VIP.to_string();
    let args = [&vip, "--watch", "--interval", "20ms", "--timeout", "200ms", "-o", "json"];
    let mut probe = probe(&scene.client, &args);
    let first = wait_for_event(&probe, "answered");
    assert_eq!(first.pointer("/mac"), Some(&Value::from(NODE_MAC.to_string())));

    daemon.signal(Signal::Term).unwrap();
    daemon.wait_exit(SOON).unwrap();
    let silent = wait_for_event(&probe, "silent");
    assert_eq!(silent.pointer("/other"), Some(&Value::from(NODE_MAC.to_string())));
    let successor = scene.host("successor", STRANGER, Some(VIP));
    let moved = wait_for_event(&probe, "moved");
    assert_eq!(moved.pointer("/mac"), Some(&Value::from(STRANGER.to_string())));
    assert_eq!(moved.pointer("/other"), Some(&Value::from(NODE_MAC.to_string())));
    let gap = moved.pointer("/duration_seconds").and_then(Value::as_f64).unwrap();
    assert!(gap >= 0.2, "it was silent for that long before: {moved}");

    let announcement = ArpFrame::announcement(STRANGER, VIP, Op::Request).to_padded_bytes();
    Injector::open(&successor, CLIENT_NIC).unwrap().send(&announcement).unwrap();
    let by_successor = format!("\"event\":\"announced\",\"mac\":\"{STRANGER}\"");
    probe.wait_for_log(&by_successor, SOON).unwrap();

    // Two at once, until one is gone.
    let second = scene.answering();
    wait_for_event(&probe, "both");
    drop(second);
    probe.signal(Signal::Int).unwrap();
    assert_eq!(probe.wait_exit(SOON).unwrap().code(), Some(8));
    let end = wait_for_event(&probe, "end");
    let address = end.pointer("/addresses/0").unwrap();
    assert!(address.pointer("/longest_gap_seconds").and_then(Value::as_f64).unwrap() >= gap);
    assert_eq!(macs(address), [NODE_MAC.to_string(), STRANGER.to_string()]);
}

#[test]
fn watching_reads_well() {
    let scene = Scene::on_switch(Hook::Tcx);
    let vip = VIP.to_string();
    let mut probe = probe(&scene.client, &[&vip, "--watch", "--interval", "20ms"]);
    probe.wait_for_log("asking for 192.0.2.10 on eth0; Ctrl-C ends it", SOON).unwrap();
    let _daemon = scene.answering();
    probe.wait_for_log("02:00:00:00:00:01 (02:00:00, locally administered) answers", SOON).unwrap();
    probe.wait_for_log("announces itself (gratuitous ARP)", SOON).unwrap();
    probe.signal(Signal::Int).unwrap();
    assert_eq!(probe.wait_exit(SOON + Duration::from_secs(1)).unwrap().code(), Some(0));
    let said = probe.print();
    assert!(said.contains("answered ") && said.contains("on average"), "{said}");
}

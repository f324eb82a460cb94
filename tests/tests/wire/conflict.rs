//! Strangers who use the VIP, and the announcer that finds out before it claims it, or
//! after (RFC 5227). The Linux kernel is the stranger, unless a frame must come at will.

use std::{
    net::Ipv4Addr,
    process::Command,
    time::{Duration, Instant},
};

use announcer_tests::{
    arp::{ArpFrame, MIN_FRAME, Mac, Op},
    bpf::Hook,
    capture::{Capture, Frame, Injector},
    daemon::Daemon,
    lab::CLIENT_NIC,
    neighbour::{resolve, wait_for_mac},
    netns::NetNs,
    probe::Probe,
};

use crate::scene::{
    DARK, NODE_MAC, SOON, Scene, VIP, is_announcement, static_vip, wait_for_announcement,
};

/// A virtual machine's, by its prefix.
const STRANGER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const P: Duration = Duration::from_millis(200);
const PROBING: [&str; 2] = ["--probe-interval", "200ms"];
/// Frames of a takeover: five rounds of both forms.
const TAKEOVER: usize = 10;
/// A kernel that answers makes a neighbour entry for each asker; this many do no harm.
const FEW: u32 = 64;

/// An ARP Probe for [`VIP`] by the node.
fn is_probe(frame: &Frame) -> bool {
    let by_node =
        |arp: ArpFrame| arp.source == NODE_MAC && arp.target_ip == VIP && arp.sender_ip != VIP;
    !frame.outgoing && frame.arp().is_some_and(by_node)
}

fn is_ours(frame: &Frame) -> bool {
    is_announcement(frame) && frame.arp().is_some_and(|arp| arp.sender_mac == NODE_MAC)
}

/// Asks for [`VIP`], and bears that a kernel may answer.
fn ask(scene: &Scene) -> announcer_tests::probe::ProbeHandle {
    Probe::new(VIP).askers(FEW).rate(200).start(&scene.client, CLIENT_NIC).unwrap()
}

/// A host with [`VIP`] on its interface.
fn squatter(scene: &mut Scene) -> NetNs {
    scene.host("stranger", STRANGER, Some(VIP))
}

fn leave(stranger: &NetNs) {
    stranger.ip(&format!("address del {VIP}/24 dev {CLIENT_NIC}")).unwrap();
}

/// Runs arping of iputils in `ns`; whether it ended with 0.
fn arping(ns: &NetNs, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("arping");
    command.args(["-I", CLIENT_NIC]).args(args).arg(VIP.to_string());
    let mut arping = Daemon::start(command, "arping", ns).unwrap();
    let status = arping.wait_exit(SOON).unwrap();
    (status.success(), arping.print())
}

/// How often the log says so.
fn logged(daemon: &Daemon, part: &str) -> usize {
    daemon.log().iter().filter(|line| line.text.contains(part)).count()
}

#[test]
fn a_first_claim_is_three_probes_of_the_right_form_and_silence() {
    let scene = Scene::on_switch(Hook::Tcx);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let asked = scene.probe();
    let daemon = static_vip(Hook::Tcx).args(PROBING).start(&scene.node).unwrap();
    let probes = capture.wait_for_many(3, SOON, is_probe).unwrap();
    wait_for_announcement(&capture, &daemon);
    let announced = capture.wait_for(SOON, is_announcement).unwrap();
    asked.wait_answer_by(NODE_MAC, SOON).unwrap();
    let recording = asked.stop().unwrap();
    for frame in &probes {
        // RFC 5227 section 2.1.1: nobody's neighbour table must learn from it.
        let probe = ArpFrame::request(NODE_MAC, Ipv4Addr::UNSPECIFIED, VIP);
        assert_eq!(frame.arp().unwrap(), probe);
        assert_eq!(frame.bytes.len(), MIN_FRAME, "padded as Ethernet demands");
    }
    assert_eq!(capture.wait_for_many(3, SOON, is_probe).unwrap().len(), 3, "and no fourth");
    let last = probes[2].at;
    // Two intervals, less what sending the probe was late.
    assert!(announced.at.saturating_duration_since(last) > P, "silence after the last probe");
    let first_answer = recording.requests.iter().find(|request| request.answered_by(NODE_MAC));
    assert!(first_answer.is_some_and(|request| request.sent > last), "answered while it probed");
}

#[test]
fn a_daemon_that_comes_back_in_time_does_not_probe() {
    let patient = ["--lease-duration", "30s", "--renew-interval", "1s"];
    let scene = Scene::on_switch(Hook::Tcx);
    let mut daemon = scene.answering_with(&patient);
    daemon.kill().unwrap();
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let asked = scene.probe();
    let daemon = static_vip(Hook::Tcx).args(patient).args(PROBING).start(&scene.node).unwrap();
    wait_for_announcement(&capture, &daemon);
    let recording = asked.stop().unwrap();
    assert_eq!(recording.unanswered(), 0);
    assert!(capture.wait_for(Duration::ZERO, is_probe).is_err(), "it probed");
}

#[test]
fn a_stranger_that_answers_a_probe_keeps_its_address_until_it_leaves() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let stranger = squatter(&mut scene);
    let daemon = static_vip(Hook::Tcx).args(PROBING).start(&scene.node).unwrap();
    let line = daemon.wait_for_log("address conflict", SOON).unwrap().text;
    for part in [&STRANGER.to_string(), "QEMU/KVM", "192.0.2.10", "ens18", "not answered"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let asked = ask(&scene);
    asked.wait_requests(300).unwrap();
    assert_eq!(asked.snapshot().answerers().into_keys().collect::<Vec<_>>(), [STRANGER]);
    assert_eq!(resolve(&scene.client, VIP, SOON).unwrap(), STRANGER);
    leave(&stranger);
    asked.wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.wait_for_log("address conflict over", SOON).unwrap();
    wait_for_mac(&scene.client, VIP, NODE_MAC, SOON).unwrap();
}

/// RFC 5227 section 2.1.1: so does one that is about to take it.
#[test]
fn who_probes_at_the_same_time_is_left_alone() {
    let scene = Scene::on_switch(Hook::Tcx);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let stranger = Injector::open(&scene.client, CLIENT_NIC).unwrap();
    let daemon =
        static_vip(Hook::Tcx).args(["--probe-interval", "500ms"]).start(&scene.node).unwrap();
    capture.wait_for(SOON, is_probe).unwrap();
    let probe = ArpFrame::request(STRANGER, Ipv4Addr::UNSPECIFIED, VIP);
    stranger.send(&probe.to_padded_bytes()).unwrap();
    let line = daemon.wait_for_log("address conflict", SOON).unwrap().text;
    assert!(line.contains(&STRANGER.to_string()), "{line}");
    // Undisturbed it would answer within seven intervals of its first probe; disturbed it
    // probes again after 7.5 s at the soonest.
    let asked = scene.probe();
    asked.wait_requests(4000).unwrap();
    assert_eq!(asked.stop().unwrap().answerers().len(), 0);
}

#[test]
fn a_held_vip_is_defended_once_in_ten_seconds_and_answered_on() {
    let scene = Scene::on_switch(Hook::Tcx);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let daemon = static_vip(Hook::Tcx).start(&scene.node).unwrap();
    capture.wait_for_many(TAKEOVER, SOON, is_ours).unwrap();
    let asked = scene.probe();
    let stranger = Injector::open(&scene.client, CLIENT_NIC).unwrap();
    let claim = ArpFrame::announcement(STRANGER, VIP, Op::Reply).to_padded_bytes();
    let deadline = Instant::now() + 2 * SOON;
    // Each is answered by nothing, so they come at a pace of their own.
    let frames = loop {
        stranger.send(&claim).unwrap();
        let pace = Duration::from_millis(50);
        if let Ok(frames) = capture.wait_for_many(TAKEOVER + 4, pace, is_ours) {
            break frames;
        }
        assert!(Instant::now() < deadline, "no second defence\n{}", daemon.print());
    };
    let [first, _, second, _] = &frames[TAKEOVER..] else { panic!("{frames:?}") };
    let apart = second.at.saturating_duration_since(first.at);
    assert!(apart > Duration::from_secs(9), "{apart:?}");
    // Who has just been told otherwise sends to the holder again.
    let recording = asked.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    let lines = logged(&daemon, "address conflict");
    assert!((1..=3).contains(&lines), "{lines} lines\n{}", daemon.print());
}

/// Bridges and proxies put their own MAC on frames: whose ARP it is, the ARP says.
#[test]
fn a_claim_is_whose_arp_it_is_whoever_sent_the_frame() {
    let scene = Scene::on_switch(Hook::Tcx);
    let daemon = scene.answering();
    let proxy = Mac([0x02, 0, 0, 0, 0, 0x77]);
    let by = |sender| {
        let claim = ArpFrame::announcement(sender, VIP, Op::Reply);
        ArpFrame { source: proxy, ..claim }.to_padded_bytes()
    };
    let injector = Injector::open(&scene.client, CLIENT_NIC).unwrap();
    // Our own, come back another way, is nobody's claim.
    injector.send(&by(NODE_MAC)).unwrap();
    injector.send(&by(STRANGER)).unwrap();
    let line = daemon.wait_for_log("address conflict", SOON).unwrap().text;
    assert!(line.contains(&STRANGER.to_string()) && !line.contains(&proxy.to_string()), "{line}");
    assert_eq!(logged(&daemon, "address conflict"), 1);
}

#[test]
fn a_defence_wins_the_neighbours_back() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let host = scene.host("stranger", STRANGER, None);
    let stranger = Injector::open(&host, CLIENT_NIC).unwrap();
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let _daemon = static_vip(Hook::Tcx).start(&scene.node).unwrap();
    capture.wait_for_many(TAKEOVER, SOON, is_ours).unwrap();
    let claim = ArpFrame::announcement(STRANGER, VIP, Op::Request).to_padded_bytes();
    for (arp_accept, nud) in [("0", "stale"), ("1", "reachable")] {
        scene.client.sysctl(&format!("net/ipv4/conf/{CLIENT_NIC}/arp_accept"), arp_accept).unwrap();
        let entry = format!("neigh replace {VIP} lladdr {STRANGER} dev {CLIENT_NIC} nud {nud}");
        scene.client.ip(&entry).unwrap();
        let before = capture.frames().iter().filter(|frame| is_ours(frame)).count();
        let deadline = Instant::now() + SOON;
        loop {
            stranger.send(&claim).unwrap();
            let pace = Duration::from_millis(50);
            if capture.wait_for_many(before + 2, pace, is_ours).is_ok() {
                break;
            }
            assert!(Instant::now() < deadline, "no defence");
        }
        wait_for_mac(&scene.client, VIP, NODE_MAC, SOON).unwrap();
    }
}

#[test]
fn who_yields_is_silent_and_comes_back_when_the_stranger_has_gone() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let daemon = scene.answering_with(&["--on-conflict", "yield"]);
    let stranger = squatter(&mut scene);
    // As often as a host that comes announces itself.
    let (sent, said) = arping(&stranger, &["-U", "-c", "3"]);
    assert!(sent, "{said}");
    let line = daemon.wait_for_log("address conflict", SOON).unwrap().text;
    assert!(line.contains("no longer answered"), "{line}");
    let asked = ask(&scene);
    asked.wait_requests(300).unwrap();
    assert_eq!(asked.snapshot().answerers().into_keys().collect::<Vec<_>>(), [STRANGER]);
    leave(&stranger);
    asked.wait_until_dark(DARK, SOON).unwrap();
    asked.wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.wait_for_log("address conflict over", SOON).unwrap();
}

#[test]
fn who_reports_says_so_and_does_nothing() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let daemon =
        static_vip(Hook::Tcx).args(["--on-conflict", "report"]).start(&scene.node).unwrap();
    capture.wait_for_many(TAKEOVER, SOON, is_ours).unwrap();
    let asked = scene.probe();
    let stranger = scene.host("stranger", STRANGER, None);
    // It only speaks: its kernel does not answer for the address.
    stranger.sysctl("net/ipv4/conf/all/arp_ignore", "1").unwrap();
    stranger.ip(&format!("address add {VIP}/32 dev lo\nlink set lo up")).unwrap();
    // Both operations by which arping announces: requests, and replies.
    for form in ["-U", "-A"] {
        let (sent, said) = arping(&stranger, &[form, "-c", "2"]);
        assert!(sent, "{said}");
    }
    daemon.wait_for_log("address conflict", SOON).unwrap();
    let more = capture.wait_for_many(TAKEOVER + 1, Duration::from_secs(1), is_ours);
    assert!(more.is_err(), "a defence");
    let recording = asked.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

/// `arping -D` is how dhclient-script and ifup ask before they configure an address.
#[test]
fn a_host_that_asks_first_is_told_that_a_held_vip_is_taken() {
    let scene = Scene::on_switch(Hook::Tcx);
    let daemon = scene.answering();
    let (free, said) = arping(&scene.client, &["-D", "-c", "2"]);
    assert!(!free && said.to_lowercase().contains(&NODE_MAC.to_string()), "{said}");
    assert_eq!(logged(&daemon, "address conflict"), 0, "asking is no claim");
}

#[test]
fn two_interfaces_on_one_segment_are_no_strangers_to_each_other() {
    let mut scene = Scene::on_switch(Hook::Tcx);
    let second = Mac([0x02, 0, 0, 0, 0, 0x02]);
    scene.plug_in_too("ens19", second);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let flags = ["--interface", "ens19", "--on-conflict", "yield"];
    let daemon = static_vip(Hook::Tcx).args(flags).args(PROBING).start(&scene.node).unwrap();
    for mac in [NODE_MAC, second] {
        let by = |frame: &Frame| {
            is_announcement(frame) && frame.arp().is_some_and(|arp| arp.sender_mac == mac)
        };
        capture.wait_for_many(TAKEOVER, SOON, by).unwrap();
    }
    assert_eq!(logged(&daemon, "address conflict"), 0, "{}", daemon.print());
}

#[test]
fn a_vip_is_refreshed_by_one_frame_now_and_then() {
    let scene = Scene::on_switch(Hook::Tcx);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let _daemon =
        static_vip(Hook::Tcx).args(["--refresh-interval", "1s"]).start(&scene.node).unwrap();
    let frames = capture.wait_for_many(TAKEOVER + 4, SOON, is_ours).unwrap();
    let refreshes = &frames[TAKEOVER..];
    for frame in refreshes {
        let arp = frame.arp().unwrap();
        let announcement = ArpFrame::announcement(NODE_MAC, VIP, Op::Request);
        assert_eq!(arp, announcement, "the request form");
    }
    for pair in refreshes.windows(2) {
        let apart = pair[1].at.saturating_duration_since(pair[0].at);
        assert!(apart > Duration::from_millis(500), "{apart:?}");
    }
}

/// With arp_accept 1 gratuitous ARP makes an entry, too; with 0 it does not.
#[test]
fn a_client_learns_of_a_vip_that_it_never_asked_for_if_its_kernel_wants_to() {
    for accept in ["0", "1"] {
        let scene = Scene::on_switch(Hook::Tcx);
        scene.client.sysctl(&format!("net/ipv4/conf/{CLIENT_NIC}/arp_accept"), accept).unwrap();
        let _daemon = scene.answering();
        if accept == "1" {
            wait_for_mac(&scene.client, VIP, NODE_MAC, SOON).unwrap();
        } else {
            let known = announcer_tests::neighbour::mac_of(&scene.client, VIP).unwrap();
            assert_eq!(known, None);
        }
    }
}

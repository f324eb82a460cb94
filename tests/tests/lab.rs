//! The lab itself: what the other tests stand on.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, which prints the logs too"
)]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use announcer_tests::{
    arp::{ArpFrame, Mac, Op, Tag},
    backend::{http_get, pod_backend},
    capture::{Capture, Injector},
    daemon::{Daemon, Signal},
    forward::{forward, stop_forwarding},
    lab::{CLIENT_IP, CLIENT_MAC, CLIENT_NIC, CONTROL_IP, Lab, Link, UPLINK},
    netns::NetNs,
    probe::Probe,
    topology::{Cut, Nic, Segment},
    watched::Watched,
};

/// For what takes milliseconds.
const SOON: Duration = Duration::from_secs(10);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// A kernel that answers makes a neighbour entry for each asker; this many do no harm.
const FEW: u32 = 64;

#[test]
fn a_probe_sees_every_answer_and_every_cut() {
    let lab = Lab::new(2).unwrap();
    let node = lab.node(1);
    let probe = Probe::new(node.ip).askers(FEW).start(lab.client(), CLIENT_NIC).unwrap();
    probe.wait_answer_by(node.mac, SOON).unwrap();
    probe.wait_requests(1000).unwrap();
    let calm = probe.snapshot();
    for how in [Cut::Silent, Cut::Carrier] {
        let cut = lab.cut(node, Link::Lan, how).unwrap();
        let link = node.ns.ip(&format!("link show {UPLINK}")).unwrap();
        assert_eq!(link.contains("LOWER_UP"), how == Cut::Silent, "{how:?}: {link}");
        let last = probe.wait_until_dark(Duration::from_millis(50), SOON).unwrap();
        assert!(last.unwrap().sent >= cut - Duration::from_secs(1));
        lab.restore(node, Link::Lan).unwrap();
        probe.wait_answer_by(node.mac, SOON).unwrap();
    }
    let recording = probe.stop().unwrap();

    // The last few requests of the snapshot were still on their way.
    let settled = calm.between(calm.from, calm.to - Duration::from_millis(100));
    assert!(settled.requests.len() >= 900);
    assert_eq!((settled.unanswered(), settled.contested(), settled.duplicated()), (0, 0, 0));
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [node.mac]);
    let gaps = recording.gaps();
    assert_eq!(gaps.iter().filter(|gap| gap.requests >= 50).count(), 2, "{gaps:?}");
}

#[test]
fn a_probe_sees_two_answerers_and_announcements_of_both_forms() {
    let mut segment = Segment::new("LAN").unwrap();
    let client = NetNs::new("client").unwrap();
    let nic = Nic { name: "eth0", mac: CLIENT_MAC, address: None };
    segment.attach(&client, &nic).unwrap();
    let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
    let hosts: Vec<_> = macs
        .iter()
        .map(|&mac| {
            let host = NetNs::new(format!("host {mac}")).unwrap();
            let nic = Nic { name: "eth0", mac, address: Some((VIP, 24)) };
            segment.attach(&host, &nic).unwrap();
            host
        })
        .collect();
    let probe = Probe::new(VIP).rate(200).askers(FEW).start(&client, "eth0").unwrap();
    probe.wait_requests(50).unwrap();
    for op in [Op::Request, Op::Reply] {
        let frame = ArpFrame::announcement(macs[1], VIP, op).to_padded_bytes();
        Injector::open(&hosts[1], "eth0").unwrap().send(&frame).unwrap();
    }
    let seen = probe.wait_announcements(2, SOON, |a| a.mac == macs[1]).unwrap();
    assert_eq!(seen.iter().map(|a| a.op).collect::<Vec<_>>(), [Op::Request, Op::Reply]);
    let recording = probe.stop().unwrap();
    assert_eq!(recording.contested(), recording.requests.len());
    assert_eq!(recording.overlaps().len(), 1);
    assert_eq!(recording.overlaps()[0].macs, macs);
}

#[test]
fn a_request_for_the_vip_reaches_a_backend_on_another_node() {
    let lab = Lab::new(2).unwrap();
    let vip = SocketAddrV4::new(VIP, 80);
    let far = lab.node(2);
    let backend = pod_backend(&far.pod, far.pod_ip, "node-2").unwrap();
    for node in lab.nodes() {
        forward(&node.ns, vip, backend.address()).unwrap();
        // Once more: it replaces itself.
        forward(&node.ns, vip, backend.address()).unwrap();
    }
    // Nobody answers ARP for the VIP: no kernel has it.
    let probe = Probe::new(VIP).start(lab.client(), CLIENT_NIC).unwrap();
    probe.wait_requests(100).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!(recording.unanswered(), recording.requests.len());
    let refused = http_get(lab.client(), vip, Duration::from_millis(100));
    assert!(refused.is_err(), "{refused:?}");

    for holder in lab.nodes() {
        let neighbour = format!("neigh replace {VIP} lladdr {} dev {CLIENT_NIC}", holder.mac);
        lab.client().ip(&neighbour).unwrap();
        let answer = http_get(lab.client(), vip, SOON).unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "node-2"), "by {}", holder.name);
        stop_forwarding(&holder.ns, vip).unwrap();
    }
}

#[test]
fn the_control_host_is_cut_off_separately() {
    let lab = Lab::new(2).unwrap();
    let listener = lab.control().listen().unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(address.ip(), CONTROL_IP);
    let connect = |node: usize, within| {
        lab.node(node).ns.run(|| Ok(TcpStream::connect_timeout(&address, within)?))
    };
    let briefly = Duration::from_millis(200);
    lab.cut(lab.node(1), Link::Management, Cut::Silent).unwrap();
    assert!(connect(1, briefly).is_err());
    connect(2, SOON).unwrap();
    // The LAN of the same node is not concerned.
    let probe = Probe::new(lab.node(1).ip).askers(FEW).start(lab.client(), CLIENT_NIC).unwrap();
    probe.wait_answer_by(lab.node(1).mac, SOON).unwrap();
    lab.restore(lab.node(1), Link::Management).unwrap();
    connect(1, SOON).unwrap();

    lab.cut(lab.node(1), Link::All, Cut::Carrier).unwrap();
    probe.wait_until_dark(Duration::from_millis(50), SOON).unwrap();
    assert!(connect(1, briefly).is_err());
}

#[test]
fn frames_arrive_as_they_were_sent() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let capture = Capture::start(&node.ns, UPLINK).unwrap();
    let sender = Injector::open(lab.client(), CLIENT_NIC).unwrap();
    let plain = ArpFrame::request(CLIENT_MAC, CLIENT_IP, VIP);
    let frames = [
        plain.to_bytes(),
        plain.to_padded_bytes(),
        plain.clone().tagged(&[Tag::vid(0)]).to_padded_bytes(),
        plain.clone().tagged(&[Tag { tpid: 0x8100, tci: 0xa005 }]).to_bytes(),
        plain.tagged(&[Tag { tpid: 0x88a8, tci: 5 }, Tag::vid(7)]).to_bytes(),
        [&[0xff; 6], &CLIENT_MAC.0[..], &[0x88, 0xb5], &[7; 1000]].concat(),
    ];
    for frame in &frames {
        sender.send(frame).unwrap();
    }
    let ours = |bytes: &[u8]| bytes.get(6..12) == Some(&CLIENT_MAC.0);
    let seen = capture.wait_for_many(frames.len(), SOON, |f| ours(&f.bytes)).unwrap();
    assert_eq!(seen.iter().map(|f| f.bytes.clone()).collect::<Vec<_>>(), frames);
    assert!(seen.iter().all(|frame| !frame.outgoing));

    Injector::open(&node.ns, UPLINK).unwrap().send(&frames[0]).unwrap();
    let own = capture.wait_for(SOON, |f| f.outgoing && f.bytes == frames[0]).unwrap();
    assert_eq!(own.arp().map(|arp| arp.target_ip), Some(VIP));
    assert!(capture.wait_for(Duration::ZERO, |f| f.bytes.is_empty()).is_err());
    assert!(capture.stop().unwrap().len() > frames.len());
}

#[test]
fn a_namespace_vanishes_with_its_last_reference() {
    let mut segment = Segment::new("LAN").unwrap();
    let host = NetNs::new("host").unwrap();
    let nic = Nic { name: "eth0", mac: CLIENT_MAC, address: None };
    segment.attach(&host, &nic).unwrap();
    let mut command = Command::new("ip");
    command.args(["monitor", "link"]);
    let monitor = Daemon::start(command, "ip monitor", segment.switch()).unwrap();
    // The monitor listens when it reports this.
    let deadline = std::time::Instant::now() + SOON;
    let mut mtu = 1400;
    while monitor.log().is_empty() {
        assert!(std::time::Instant::now() < deadline, "ip monitor reports nothing");
        segment.switch().ip(&format!("link set br0 mtu {mtu}")).unwrap();
        mtu += 1;
    }
    drop(host);
    monitor
        .wait_for_line(SOON, |line| line.text.contains("Deleted") && line.text.contains("port1"))
        .unwrap();
}

/// A second process, this test's own binary, is killed while it has a child in a
/// namespace. Both hold the same pipe: its end is the end of both.
#[test]
fn nothing_outlives_a_test_that_is_killed() {
    const VICTIM: &str = "LAB_TEST_IS_THE_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let ns = NetNs::new("victim").unwrap();
        let mut sleep = Command::new("sh");
        sleep.args(["-c", "read line; echo the child is up >&2; exec sleep infinity"]);
        sleep.stdin(Stdio::piped());
        // The thread that starts it ends first, which must not take the child with it.
        let start = std::thread::spawn(move || ns.spawn(sleep).unwrap());
        let mut child = start.join().unwrap();
        writeln!(child.stdin.as_ref().unwrap(), "go on").unwrap();
        child.wait().unwrap();
        panic!("the child ended by itself");
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_test_that_is_killed", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = victim.stderr.take().unwrap();
    let said = Arc::new(Watched::new((String::new(), false)));
    let sink = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            sink.update(|(text, _)| text.push_str(&String::from_utf8_lossy(&buffer[..n])));
        }
        sink.update(|(_, ended)| *ended = true);
    });
    let up = said.wait(SOON, |(text, _)| text.contains("the child is up").then_some(()));
    let early = said.wait(Duration::from_millis(100), |(_, ended)| ended.then_some(()));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(up.is_some(), "the child did not start: {}", said.lock().0);
    assert!(early.is_none(), "it ended before it was killed: {}", said.lock().0);
    let ended = said.wait(SOON, |(_, ended)| ended.then_some(()));
    assert!(ended.is_some(), "the child is still there");
}

#[test]
fn a_published_namespace_is_found_by_name_until_dropped() {
    let ns = NetNs::new("shown").unwrap();
    let published = ns.publish("shown").unwrap();
    let name = published.name().to_owned();
    let list = || NetNs::new("other").unwrap().tool("ip", &["netns", "list"], "").unwrap();
    assert!(list().contains(&name));
    drop(published);
    assert!(!list().contains(&name));
}

#[test]
fn threads_enter_and_leave() {
    let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = here();
    let ns = NetNs::new("visited").unwrap();
    let inside = ns.run(|| Ok(here())).unwrap();
    assert_ne!(inside, before);
    let entered = ns.enter().unwrap();
    assert_eq!(here(), inside);
    drop(entered);
    assert_eq!(here(), before);

    let panicked = std::panic::catch_unwind(|| ns.run::<()>(|| panic!("inside")));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"inside"));
}

#[test]
fn a_daemon_is_logged_signalled_and_waited_for() {
    let ns = NetNs::new("node").unwrap();
    let start = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        Daemon::start(shell, "shell", &ns).unwrap()
    };
    let mut sleeper = start("echo up; exec sleep infinity");
    sleeper.wait_for_log("up", SOON).unwrap();
    assert!(sleeper.wait_for_log("down", Duration::ZERO).is_err());
    assert!(sleeper.wait_exit(Duration::ZERO).is_err());
    sleeper.signal(Signal::Stop).unwrap();
    sleeper.signal(Signal::Term).unwrap();
    assert!(sleeper.wait_exit(Duration::from_millis(50)).is_err());
    sleeper.signal(Signal::Cont).unwrap();
    assert_eq!(sleeper.wait_exit(SOON).unwrap().signal(), Some(15));

    let mut shell = start("echo out; echo err >&2; exit 7");
    assert_eq!(shell.wait_exit(SOON).unwrap().code(), Some(7));
    let mut texts: Vec<_> = shell.log().into_iter().map(|line| line.text).collect();
    texts.sort();
    assert_eq!(texts, ["err", "out"]);
    assert!(shell.kill().is_err());
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let ns = NetNs::new("node").unwrap();
    let error = ns.tool("no-such-tool", &[], "").unwrap_err().to_string();
    assert!(error.contains("no-such-tool is not found"), "{error}");
    let error = ns.ip("link show nothing0").unwrap_err().to_string();
    assert!(error.contains("nothing0") && error.contains("namespace node"), "{error}");
    let error = Capture::start(&ns, "eth7").unwrap_err().to_string();
    assert!(error.contains("has no interface eth7"), "{error}");
}

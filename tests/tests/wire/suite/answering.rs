//! Who asks for a VIP is answered.

use std::{
    collections::HashSet,
    env,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use announcer_tests::{
    arp::{ArpFrame, Mac},
    backend::{http_get, pod_backend},
    daemon::Daemon,
    forward::forward,
    lab::{CLIENT_NIC, Lab, UPLINK},
    neighbour::resolve,
    netns::NetNs,
    probe::Probe,
};

use super::HOOK;
use crate::scene::{
    ASKER_IP, NODE_MAC, SOON, Scene, VIP, peer_program, reply_to, request, static_vip,
};

#[test]
fn every_request_at_1_khz_is_answered_once_by_the_node() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let probe = scene.probe();
    probe.wait_requests(1500).unwrap();
    let recording = probe.stop().unwrap();
    assert!(recording.requests.len() >= 1500);
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [NODE_MAC]);
}

/// The kernel's own responder makes a neighbour entry for each asker, and falls silent
/// when its table of about 1,000 is full.
#[test]
fn five_thousand_askers_are_all_answered() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let probe = Probe::new(VIP).rate(2500).start(&scene.client, CLIENT_NIC).unwrap();
    probe.wait_requests(5000).unwrap();
    let recording = probe.stop().unwrap();
    assert!(recording.requests.len() >= 5000);
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    let neighbours = scene.node.ip(&format!("neigh show dev {UPLINK}")).unwrap();
    assert!(!neighbours.contains("198.1"), "the node's kernel took part:\n{neighbours}");
}

#[test]
fn the_reply_is_right_in_every_field_and_keeps_its_length() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let asker = scene.asker();
    let bare = request().to_bytes();
    let with_trailer = |len: usize| {
        let trailer = (0..=u8::MAX).cycle();
        bare.iter().copied().chain(trailer).take(len).collect::<Vec<_>>()
    };
    let requests =
        [bare.clone(), request().to_padded_bytes(), with_trailer(60), with_trailer(1514)];
    for request in requests {
        let answer = asker.answer_to(&request);
        assert_eq!(answer, reply_to(&request));
        assert_eq!(answer.len(), request.len());
    }
}

#[test]
fn requests_in_every_valid_shape_are_answered() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let asker = scene.asker();
    let other = Mac([0x02, 0, 0, 0, 0, 0x43]);
    let ask = request();
    let shapes = [
        ("a probe of RFC 5227", ArpFrame { sender_ip: Ipv4Addr::UNSPECIFIED, ..ask.clone() }),
        ("to our MAC", ArpFrame { destination: NODE_MAC, ..ask.clone() }),
        ("the target MAC filled in", ArpFrame { target_mac: NODE_MAC, ..ask.clone() }),
        ("the target MAC all ones", ArpFrame { target_mac: Mac::BROADCAST, ..ask.clone() }),
        ("asked on behalf of another", ArpFrame { sender_mac: other, ..ask.clone() }),
        (
            "from another network",
            ArpFrame { sender_ip: Ipv4Addr::new(203, 0, 113, 9), ..ask.clone() },
        ),
    ];
    for (shape, request) in shapes {
        let request = request.to_padded_bytes();
        assert_eq!(asker.answer_to(&request), reply_to(&request), "{shape}");
    }
    // Anew for everybody: an answer leaves nothing behind that the next one sees.
    let frames: Vec<_> = (0..100).map(|_| ask.to_padded_bytes()).collect();
    let answers = asker.all_answers_to(frames.iter().map(Vec::as_slice));
    assert_eq!(answers, vec![reply_to(&frames[0]); 100]);
}

#[test]
fn several_vips_are_answered_and_their_neighbours_are_not() {
    let scene = Scene::on_cable(HOOK);
    let more = ["192.0.2.12,192.0.2.14", "203.0.113.255"];
    let _daemon = scene.answering_with(&["--static-vip", more[0], "--static-vip", more[1]]);
    let asker = scene.asker();
    let ask = |target: &str| {
        let frame = ArpFrame { target_ip: target.parse().unwrap(), ..request() }.to_padded_bytes();
        let answers = asker.all_answers_to([&frame[..]]);
        answers.iter().all(|answer| *answer == reply_to(&frame)).then_some(answers.len())
    };
    for target in ["192.0.2.10", "192.0.2.12", "192.0.2.14", "203.0.113.255"] {
        assert_eq!(ask(target), Some(1), "{target}");
    }
    for target in ["192.0.2.9", "192.0.2.11", "192.0.2.13", "192.0.3.10", "203.0.113.254"] {
        assert_eq!(ask(target), Some(0), "{target}");
    }
}

#[test]
fn a_client_connects_through_the_vip() {
    let lab = Lab::new(2).unwrap();
    let (holder, far) = (lab.node(1), lab.node(2));
    let backend = pod_backend(&far.pod, far.pod_ip, "far").unwrap();
    let vip = std::net::SocketAddrV4::new(VIP, 80);
    forward(&holder.ns, vip, backend.address()).unwrap();
    let (switch, port) = lab.lan_port(holder);
    let _peer = peer_program(switch, port, HOOK);
    let _daemon = static_vip(HOOK).start(&holder.ns).unwrap();
    let probe = Probe::new(VIP).start(lab.client(), CLIENT_NIC).unwrap();
    probe.wait_answer_by(holder.mac, SOON).unwrap();
    assert_eq!(resolve(lab.client(), VIP, SOON).unwrap(), holder.mac);
    for _ in 0..10 {
        let answer = http_get(lab.client(), vip, SOON).unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "far"));
    }
}

/// What an `arping` said, whichever of the two programs of that name it is.
struct Arping {
    replies: HashSet<String>,
    lines: usize,
    code: Option<i32>,
    said: String,
}

/// Runs an arping to its end. It waits for its replies itself.
fn arping(path: &Path, ns: &NetNs, args: &[&str]) -> Arping {
    let mut command = Command::new(path);
    command.args(args);
    let mut arping = Daemon::start(command, "arping", ns).unwrap();
    let code = arping.wait_exit(SOON).unwrap().code();
    let said = arping.print();
    // "Unicast reply from IP [MAC]  0.7ms", or "60 bytes from MAC (IP): index=0".
    let lines = said.lines().filter(|line| {
        let line = line.to_lowercase();
        line.contains("reply from") || line.contains("bytes from")
    });
    let mac = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_hexdigit()).to_lowercase();
        (word.len() == 17 && word.matches(':').count() == 5).then_some(word)
    };
    let replies = lines.clone().filter_map(|line| line.split_whitespace().find_map(mac)).collect();
    Arping { replies, lines: lines.count(), code, said: said.clone() }
}

#[test]
fn arping_agrees() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let node = HashSet::from([NODE_MAC.to_string()]);
    let vip = &*VIP.to_string();
    let free = &*ASKER_IP.to_string();
    let mut asked = 0;
    // iputils-arping and Habets' arping: Debian has them in different places, and only one of
    // them installed; `cargo xtask test` unpacks the other, and says where.
    let unpacked = env::var_os("OTHER_ARPING").map(PathBuf::from);
    let installed = ["/usr/bin/arping", "/usr/sbin/arping"].map(PathBuf::from);
    for path in installed.into_iter().chain(unpacked) {
        if !path.exists() {
            continue;
        }
        let run = |args: &[&str]| arping(&path, &scene.client, args);
        let is_iputils = run(&["-V"]).said.contains("iputils");
        let nic = [if is_iputils { "-I" } else { "-i" }, CLIENT_NIC];
        let with = |more: &[&str], target| run(&[&nic[..], more, &[target]].concat());

        let seen = with(&["-c", "3"], vip);
        assert_eq!((&seen.replies, seen.lines, seen.code), (&node, 3, Some(0)), "{}", seen.said);
        let nobody = with(&["-c", "1", "-w", "1"], free);
        assert_eq!((nobody.lines, nobody.code), (0, Some(1)), "{}", nobody.said);
        // Duplicate address detection: a probe with sender 0.0.0.0.
        if is_iputils {
            let taken = with(&["-D", "-c", "2"], vip);
            assert_eq!((&taken.replies, taken.code), (&node, Some(1)), "{}", taken.said);
            let free = with(&["-D", "-c", "1", "-w", "1"], free);
            assert_eq!((free.lines, free.code), (0, Some(0)), "{}", free.said);
        } else {
            let taken = with(&["-0", "-c", "2"], vip);
            assert_eq!((&taken.replies, taken.code), (&node, Some(0)), "{}", taken.said);
            let twice = with(&["-d", "-c", "2"], vip);
            assert_eq!((twice.lines, twice.code), (2, Some(0)), "duplicates: {}", twice.said);
        }
        asked += 1;
    }
    assert!(asked > 0, "no arping: run `cargo xtask setup`, or `apt-get install iputils-arping`");
}

//! What goes out, in the eyes of programs that are not ours.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use announcer_tests::{
    arp::{ArpFrame, Tag},
    capture::{Capture, Frame},
    lab::CLIENT_NIC,
};

use super::HOOK;
use crate::scene::{ASKER_IP, NODE_IP, NODE_MAC, SOON, Scene, VIP, is_announcement, request};

const ETHERNET_SOURCE: std::ops::Range<usize> = 6..12;
/// How tcpdump says that something is wrong with a frame.
const WRONG: [&str; 7] = ["bad", "wrong", "incorrect", "truncated", "invalid", "[|", "unknown"];

/// What tcpdump reads in frames, one string for each; `directory` is for the file between.
fn tcpdump(scene: &Scene, directory: &Path, frames: &[Vec<u8>]) -> Vec<String> {
    let file = directory.join("frames.pcap");
    // The header of the format: magic, version 2.4, zone, accuracy, longest frame, Ethernet.
    let mut pcap = Vec::new();
    for word in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 1 << 18, 1] {
        pcap.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [0, 0, len, len] {
            pcap.extend(word.to_ne_bytes());
        }
        pcap.extend(frame);
    }
    fs::write(&file, pcap).unwrap();
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-e", "-vv", "-nn", "-t", "-Z", "root", "-r"]).arg(&file);
    let said = scene.client.output(tcpdump, "").unwrap();
    let mut packets: Vec<String> = Vec::new();
    for line in said.lines() {
        match packets.last_mut() {
            // What does not fit into a line goes on, indented, in the next.
            Some(packet) if line.starts_with(char::is_whitespace) => {
                write!(packet, "{line}").unwrap()
            }
            _ => packets.push(line.to_owned()),
        }
    }
    assert_eq!(packets.len(), frames.len(), "{said}");
    packets
}

fn is_wrong(packet: &str) -> bool {
    WRONG.iter().any(|word| packet.contains(word))
}

#[test]
fn tcpdump_finds_nothing_wrong_with_what_goes_out() {
    let scene = Scene::on_cable(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let _daemon = scene.answering_with(&["--probe-interval", "200ms"]);
    capture.wait_for_many(4, SOON, is_announcement).unwrap();
    let asker = scene.asker();
    let asked = [
        request(),
        ArpFrame { destination: NODE_MAC, ..request() },
        ArpFrame { sender_ip: [0; 4].into(), ..request() },
        request().tagged(&[Tag { tpid: 0x8100, tci: 0xa000 }]),
        request().tagged(&[Tag { tpid: 0x88a8, tci: 0 }, Tag { tpid: 0x8100, tci: 0x2000 }]),
    ];
    for request in &asked {
        asker.answer_to(&request.to_bytes());
        asker.answer_to(&request.to_padded_bytes());
    }
    let sizes = ["0", "1", "56", "1472"];
    let vip = VIP.to_string();
    for size in sizes {
        scene.client.tool("ping", &["-c1", "-W10", "-s", size, &vip], "").unwrap();
    }
    let is_ours = |frame: &Frame| {
        let of_kernel = frame.arp().is_some_and(|arp| arp.sender_ip == NODE_IP);
        !frame.outgoing && frame.bytes[ETHERNET_SOURCE] == NODE_MAC.0 && !of_kernel
    };
    let frames = capture.stop().unwrap();
    let frames: Vec<_> = frames.into_iter().filter(is_ours).map(|frame| frame.bytes).collect();
    let directory = tempfile::tempdir().unwrap();
    let packets = tcpdump(&scene, directory.path(), &frames);
    let listing = packets.join("\n");
    assert!(!packets.iter().any(|packet| is_wrong(packet)), "{listing}");

    let count = |parts: &[&str]| {
        packets.iter().filter(|packet| parts.iter().all(|part| packet.contains(part))).count()
    };
    let is_at = format!("Reply {VIP} is-at {NODE_MAC}");
    let to_everybody = format!("{NODE_MAC} > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60");
    assert_eq!(count(&[&to_everybody, "tell 0.0.0.0"]), 3, "probes\n{listing}");
    assert!(count(&[&to_everybody, &is_at]) >= 2, "unsolicited replies\n{listing}");
    assert!(count(&[&to_everybody, &format!("tell {VIP}")]) >= 2, "announcements\n{listing}");
    // Each is followed by the sentinel of the asker, and the client's kernel asked, too.
    let to_askers = count(&[&is_at]) - count(&[&to_everybody, &is_at]);
    assert!(to_askers > 4 * asked.len(), "replies\n{listing}");
    assert_eq!(count(&[&is_at, "802.1Q", "p 5, "]), 2, "of a priority\n{listing}");
    assert_eq!(count(&[&is_at, "802.1Q-QinQ"]), 2, "of two tags\n{listing}");
    let from_vip = format!("{VIP} > ");
    let pongs = count(&["ttl 64", "proto ICMP", &from_vip, "ICMP echo reply"]);
    assert_eq!(pongs, sizes.len(), "{listing}");

    // It would have noticed.
    let pong = frames.iter().rfind(|frame| frame[12..14] == [0x08, 0x00]).unwrap();
    let mut damaged = vec![pong.clone(), pong.clone(), pong[..60].to_vec()];
    damaged[0][30] ^= 1;
    damaged[1][60] ^= 1;
    damaged.push(request().to_bytes()[..40].to_vec());
    for packet in tcpdump(&scene, directory.path(), &damaged) {
        assert!(is_wrong(&packet), "{packet}");
    }
}

#[test]
fn scapy_finds_nothing_wrong_with_answers_to_odd_frames() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let (vip, node, asker) = (VIP.to_string(), NODE_MAC.to_string(), ASKER_IP.to_string());
    // Debian's python3, which has Debian's scapy.
    let arguments = ["-", CLIENT_NIC, &vip, &node, &asker];
    let said = scene.client.tool("/usr/bin/python3", &arguments, include_str!("judges.py"));
    assert!(said.as_ref().is_ok_and(|said| said.contains("nothing is wrong")), "{said:?}");
}

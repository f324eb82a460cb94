//! Where the targets start from: one input of each kind that matters, made by hand.

use announcer_ebpf::abi::{HELD, SILENT};

use crate::maps::{
    ANSWER_PING, CLAIMS_SPENT, Entry, Input, NO_CONFIG, PINGS_SPENT, RING_FULL, SHARED, TAG_BESIDE,
};

/// A file of the corpus: its name, and what is in it.
pub type Seed = (&'static str, Vec<u8>);

const OURS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const ASKER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const ASKER_IP: [u8; 4] = [192, 0, 2, 2];
const HELD_VIP: [u8; 4] = [192, 0, 2, 10];
const SILENT_VIP: [u8; 4] = [192, 0, 2, 11];
const EXPIRED_VIP: [u8; 4] = [192, 0, 2, 12];
const BROADCAST: [u8; 6] = [0xff; 6];
const NOW: u8 = 100;

/// Those of the target of this name.
pub fn of(target: &str) -> Option<Vec<Seed>> {
    match target {
        "verdict" => Some(verdict()),
        "announce_frames" => Some(announce_frames()),
        _ => None,
    }
}

/// The names of the targets.
pub const TARGETS: [&str; 2] = ["verdict", "announce_frames"];

fn announce_frames() -> Vec<Seed> {
    let seed = |mac: [u8; 6], kind| [&HELD_VIP[..], &mac, &[kind]].concat();
    vec![
        ("announcement", seed(OURS, 0)),
        ("reply", seed(OURS, 1)),
        ("probe", seed(OURS, 2)),
        ("of-a-group", seed(BROADCAST, 0)),
        ("too-short", HELD_VIP.to_vec()),
    ]
}

fn verdict() -> Vec<Seed> {
    let request = arp(1, ASKER_IP, HELD_VIP);
    let silent = arp(1, ASKER_IP, SILENT_VIP);
    let echo = echo(b"announcer");
    let unicast = [&OURS[..], &request[6..]].concat();
    let fragment = with_ip(echo.clone(), |ip| ip[6] = 0x20);
    let from_a_group = with_ip(echo.clone(), |ip| ip[12] = 224);
    let mut options = echo.clone();
    options.splice(34..34, [1, 1, 1, 0]);
    options[14] = 0x46;
    let mut damaged = echo.clone();
    damaged[45] ^= 1;
    vec![
        ("request", seed(ANSWER_PING, request.clone())),
        ("request-unicast", seed(ANSWER_PING, unicast)),
        ("request-silent", seed(ANSWER_PING, silent.clone())),
        ("request-expired", seed(ANSWER_PING, arp(1, ASKER_IP, EXPIRED_VIP))),
        ("request-other", seed(ANSWER_PING, arp(1, ASKER_IP, [192, 0, 2, 99]))),
        ("request-shared", seed(SHARED, silent)),
        ("request-unconfigured", seed(NO_CONFIG, request.clone())),
        ("request-truncated", seed(0, request[..41].to_vec())),
        ("request-tagged", seed(0, tagged(&request, &[[0x81, 0, 0xe0, 0]]))),
        ("request-q-in-q", seed(0, tagged(&request, &[[0x88, 0xa8, 0, 0], [0x81, 0, 0, 0]]))),
        ("request-other-vlan", seed(0, tagged(&request, &[[0x81, 0, 0, 5]]))),
        ("request-tag-beside", seed(TAG_BESIDE, request)),
        ("reply", seed(0, arp(2, HELD_VIP, ASKER_IP))),
        ("reply-limited", seed(CLAIMS_SPENT, arp(2, HELD_VIP, ASKER_IP))),
        ("announcement", seed(0, arp(1, SILENT_VIP, SILENT_VIP))),
        ("announcement-lost", seed(RING_FULL, arp(1, SILENT_VIP, SILENT_VIP))),
        ("probe", seed(0, arp(1, [0; 4], HELD_VIP))),
        ("probe-silent", seed(0, arp(1, [0; 4], SILENT_VIP))),
        ("echo", seed(ANSWER_PING, echo.clone())),
        ("echo-limited", seed(ANSWER_PING | PINGS_SPENT, echo.clone())),
        ("echo-not-asked-for", seed(0, echo.clone())),
        ("echo-zeros", seed(ANSWER_PING, echo_of(&[0; 8]))),
        ("echo-damaged", seed(ANSWER_PING, damaged)),
        ("echo-fragment", seed(ANSWER_PING, fragment)),
        ("echo-options", seed(ANSWER_PING, options)),
        ("echo-from-a-group", seed(ANSWER_PING, from_a_group)),
        ("echo-truncated", seed(ANSWER_PING, echo[..50].to_vec())),
        ("ipv6", seed(0, [&[0x33; 6][..], &ASKER, &[0x86, 0xdd], &[0x60; 40]].concat())),
        ("ethernet-alone", seed(0, [&BROADCAST[..], &ASKER, &[8, 6]].concat())),
        ("nothing", seed(0, Vec::new())),
    ]
}

/// With one VIP of each kind.
fn seed(bits: u8, frame: Vec<u8>) -> Vec<u8> {
    let entry = |address, flags: u32, valid_until| Entry {
        address,
        flags: u8::try_from(flags).unwrap_or(0),
        valid_until,
    };
    let entries = vec![
        entry(HELD_VIP, HELD, NOW + 1),
        entry(SILENT_VIP, SILENT, 0),
        entry(EXPIRED_VIP, HELD, NOW),
    ];
    Input { bits, mac: OURS, now: NOW, tag: 0xe000, entries, frame }.to_octets()
}

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let format = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    let mut frame = [&BROADCAST[..], &ASKER, &format, &ASKER, &sender, &[0; 6], &target].concat();
    frame.resize(60, 0);
    frame
}

fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

/// An echo request with this data.
fn echo(data: &[u8]) -> Vec<u8> {
    echo_of(&[&[0x12, 0x34, 0, 7], data].concat())
}

/// An echo request with this after its checksum.
fn echo_of(rest: &[u8]) -> Vec<u8> {
    let mut icmp = [&[8, 0, 0, 0], rest].concat();
    put_checksum(&mut icmp, 2);
    let total = u8::try_from(20 + icmp.len()).unwrap_or(u8::MAX);
    let ip = [0x45, 0, 0, total, 0, 1, 0x40, 0, 55, 1, 0, 0];
    let frame = [&OURS[..], &ASKER, &[8, 0], &ip, &ASKER_IP, &HELD_VIP, &icmp].concat();
    with_ip(frame, |_| ())
}

/// With something else in its IP header, whose checksum is right all the same.
fn with_ip(mut frame: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let ip = &mut frame[14..34];
    change(ip);
    put_checksum(ip, 10);
    frame
}

/// RFC 1071.
fn put_checksum(octets: &mut [u8], at: usize) {
    octets[at..at + 2].fill(0);
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into());
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    octets[at..at + 2].copy_from_slice(&[high, low]);
}

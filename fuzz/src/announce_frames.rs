//! The target `announce_frames`: what the daemon sends, as other stations read it.

use std::net::IpAddr;

use announcer_ebpf::{
    Verdict,
    abi::{self, ClaimRecord},
    verdict,
};

use crate::{
    frame::{Operation, frame},
    maps::{Beside, Entry, Input, Maps},
    types::{MacAddr, Vip},
};

/// Octets of an input: a VIP, a MAC, and which frame.
const INPUT: usize = 11;
const OTHER_NODE: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

/// Builds one of the frames, and reads it.
///
/// # Panics
/// Something else is in it than went into it.
pub fn check(input: &[u8]) {
    let Some(&[a, b, c, d, ref mac @ .., kind]) = input.first_chunk::<INPUT>() else { return };
    let Ok(vip) = Vip::new(IpAddr::from([a, b, c, d])) else { return };
    let operation = match kind % 3 {
        0 => Operation::Announcement,
        1 => Operation::Reply,
        _ => Operation::Probe,
    };
    let octets = frame(operation, vip, MacAddr::new(*mac));
    assert_eq!(octets[..], expected(operation, vip.octets(), *mac));
    another_node_takes_it_for_what_it_is(operation, vip.octets(), *mac, &octets);
}

/// The figures of RFC 826, RFC 5227 sections 2.1.1 and 2.3, and RFC 5944 section 4.6, in
/// the shortest frame of IEEE 802.3.
fn expected(operation: Operation, vip: [u8; 4], mac: [u8; 6]) -> [u8; 60] {
    let (number, sender, target_mac) = match operation {
        Operation::Announcement => (1, vip, [0; 6]),
        Operation::Reply => (2, vip, mac),
        Operation::Probe => (1, [0; 4], [0; 6]),
    };
    let mut octets = [0; 60];
    octets[..6].fill(0xff);
    octets[6..12].copy_from_slice(&mac);
    octets[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, number]);
    octets[22..28].copy_from_slice(&mac);
    octets[28..32].copy_from_slice(&sender);
    octets[32..38].copy_from_slice(&target_mac);
    octets[38..42].copy_from_slice(&vip);
    octets
}

/// The data plane of a node that does not hold the VIP reports who says what about it.
fn another_node_takes_it_for_what_it_is(
    operation: Operation,
    vip: [u8; 4],
    mac: [u8; 6],
    octets: &[u8],
) {
    let silent = Entry { address: vip, flags: 2, valid_until: 0 };
    let input = Input {
        bits: 0,
        mac: OTHER_NODE,
        now: 1,
        tag: 0,
        entries: vec![silent],
        frame: octets.to_vec(),
    };
    let maps = Maps::new(&input);
    let mut seen = Beside { octets: octets.to_vec(), tag: None };
    let verdict = verdict(&mut seen, &maps);
    assert_eq!(seen.octets, octets);
    let claims = maps.claims.take();
    let is_station = mac[0] & 1 == 0 && mac != [0; 6];
    if !is_station || mac == OTHER_NODE {
        assert!(claims.is_empty(), "{claims:?}");
        return;
    }
    let (expected, number, target) = match operation {
        Operation::Announcement => (Verdict::Pass, 1, vip),
        Operation::Reply => (Verdict::Pass, 2, vip),
        Operation::Probe => (Verdict::Drop, abi::OPERATION_PROBE, [0; 4]),
    };
    assert_eq!(verdict, expected);
    assert_eq!(claims, [ClaimRecord { at_ns: 1, vip, mac, operation: number, target }]);
}

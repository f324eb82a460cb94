#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use crate::{
    abi::{self, Counter},
    verdict,
    verdict::{
        Verdict,
        tests::{
            ASKER, ASKER_IP, EXPIRED_VIP, Fake, HELD_VIP, LOOKALIKE, NO_VIP, OURS, SILENT_VIP,
        },
    },
};

/// Where things are in an untagged IPv4 frame without options.
const IP: usize = 14;
const ICMP: usize = 34;

/// RFC 1071, octet by octet.
fn internet_checksum(octets: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// An echo request to `vip`, with checksums that are right.
fn request(vip: [u8; 4], data: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + data.len()).expect("fits");
    let mut frame = [OURS, ASKER].concat();
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0x12, 0x34, 0x40, 0, 55, 1, 0, 0]);
    frame.extend(ASKER_IP);
    frame.extend(vip);
    frame.extend([8, 0, 0, 0, 0x0a, 0x0b, 0, 1]);
    frame.extend(data);
    seal(frame)
}

/// Makes both checksums right.
fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    frame[IP + 10..IP + 12].fill(0);
    let sum = internet_checksum(&frame[IP..ICMP]);
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    frame[ICMP + 2..ICMP + 4].fill(0);
    let total = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let end = (IP + total).clamp(ICMP, frame.len());
    let sum = internet_checksum(&frame[ICMP..end]);
    frame[ICMP + 2..ICMP + 4].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The only right answer to [`request`].
fn reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[..12].copy_from_slice(&[ASKER, OURS].concat());
    reply[IP + 8] = 64;
    reply[IP + 12..IP + 20].copy_from_slice(&[&request[30..34], &request[26..30]].concat());
    reply[ICMP] = 0;
    seal(reply)
}

#[track_caller]
fn assert_left_alone(frame: &[u8], why: &str) {
    let env = Fake::new();
    let mut seen = frame.to_vec();
    assert_eq!(verdict(&mut seen[..], &env), Verdict::Pass, "{why}");
    assert_eq!(seen, frame, "{why}");
    assert_eq!(env.counted(), [], "{why}");
}

#[test]
fn an_echo_request_to_a_held_vip_is_answered() {
    for data in [&[][..], &[1], &[0xff; 56], &[0x5a; 1472]] {
        let env = Fake::new();
        let request = request(HELD_VIP, data);
        let mut frame = request.clone();
        assert_eq!(verdict(&mut frame[..], &env), Verdict::Transmit);
        assert_eq!(frame, reply(&request));
        assert_eq!(env.counted(), [(Counter::PingAnswered, 1)]);
    }
}

/// A reply of zeros alone: only the other zero of ones' complement adds up to all ones, and
/// a receiver takes nothing else for intact (RFC 1071).
#[test]
fn a_reply_of_zeros_has_a_checksum_that_receivers_take() {
    let mut frame = request(HELD_VIP, &[]);
    frame[ICMP + 4..].fill(0);
    let mut frame = seal(frame);
    assert_eq!(verdict(&mut frame[..], &Fake::new()), Verdict::Transmit);
    assert_eq!(internet_checksum(&frame[ICMP..]), 0);
}

#[test]
fn padding_behind_the_packet_stays() {
    let mut request = request(HELD_VIP, &[]);
    request.resize(60, 0xee);
    let mut frame = request.clone();
    assert_eq!(verdict(&mut frame[..], &Fake::new()), Verdict::Transmit);
    assert_eq!(frame, reply(&request));
}

#[test]
fn the_kernel_gets_what_is_not_for_us() {
    for vip in [SILENT_VIP, EXPIRED_VIP, NO_VIP, LOOKALIKE] {
        assert_left_alone(&request(vip, &[]), "no VIP that is held");
    }
    let off = Fake::new();
    off.flags.set(0);
    let mut frame = request(HELD_VIP, &[]);
    assert_eq!(verdict(&mut frame[..], &off), Verdict::Pass, "switched off");
}

/// What would be wrong to answer, or is the kernel's to judge.
#[test]
fn the_kernel_gets_what_is_not_a_plain_echo_request() {
    let changed = |at: usize, octets: &[u8]| {
        let mut frame = request(HELD_VIP, &[7; 40]);
        frame[at..at + octets.len()].copy_from_slice(octets);
        seal(frame)
    };
    let odd: [(&str, Vec<u8>); 18] = [
        ("to another MAC", changed(0, &[2, 0, 0, 0, 0, 7])),
        ("to everybody", changed(0, &[0xff; 6])),
        ("to a group", changed(0, &[1, 0, 0x5e, 0, 0, 1])),
        ("from a group", changed(6, &[1, 0, 0, 0, 0, 2])),
        ("from no MAC", changed(6, &[0; 6])),
        ("IP options", changed(IP, &[0x46])),
        ("IPv6 under IPv4's type", changed(IP, &[0x65])),
        ("more fragments", changed(IP + 6, &[0x20, 0])),
        ("a later fragment", changed(IP + 6, &[0, 1])),
        ("UDP", changed(IP + 9, &[17])),
        ("from broadcast", changed(IP + 12, &[255; 4])),
        ("from multicast", changed(IP + 12, &[224, 0, 0, 1])),
        ("from nowhere", changed(IP + 12, &[0; 4])),
        ("from loopback", changed(IP + 12, &[127, 0, 0, 1])),
        ("from the VIP itself", changed(IP + 12, &HELD_VIP)),
        ("a reply", changed(ICMP, &[0])),
        ("a timestamp request", changed(ICMP, &[13])),
        ("a code", changed(ICMP + 1, &[1])),
    ];
    for (why, frame) in odd {
        assert_left_alone(&frame, why);
    }
    let mut damaged = request(HELD_VIP, &[]);
    damaged[IP + 1] ^= 1;
    assert_left_alone(&damaged, "a header whose checksum is wrong");
    let whole = request(HELD_VIP, &[7; 40]);
    for len in 0..whole.len() {
        assert_left_alone(&whole[..len], "cut off");
    }
    let mut short = request(HELD_VIP, &[7; 40]);
    short[IP + 2..IP + 4].copy_from_slice(&27_u16.to_be_bytes());
    assert_left_alone(&seal(short), "shorter than its own headers");
}

#[test]
fn more_than_a_window_has_room_for_are_dropped_until_it_is_over() {
    let env = Fake::new();
    let ask = || verdict(&mut request(HELD_VIP, &[])[..], &env);
    for _ in 0..abi::PING_BURST {
        assert_eq!(ask(), Verdict::Transmit);
    }
    assert_eq!(ask(), Verdict::Drop);
    let counted = [(Counter::PingAnswered, abi::PING_BURST), (Counter::PingLimited, 1)];
    assert_eq!(env.counted(), counted);
}

proptest! {
    /// A damaged request never becomes an intact reply, and an intact one always does.
    #[test]
    fn a_reply_is_as_intact_as_its_request(
        data in prop::collection::vec(any::<u8>(), 0..200),
        damage in prop::option::of((0_usize..200, 1_u8..)),
    ) {
        let mut request = request(HELD_VIP, &data);
        let is_damaged = damage.is_some_and(|(at, bits)| {
            let octet = data.len().checked_sub(1).map(|last| ICMP + 8 + at.min(last));
            octet.map(|at| request[at] ^= bits).is_some()
        });
        prop_assert_eq!(verdict(&mut request[..], &Fake::new()), Verdict::Transmit);
        prop_assert_eq!(internet_checksum(&request[IP..ICMP]), 0);
        prop_assert_eq!(internet_checksum(&request[ICMP..]) != 0, is_damaged);
    }
}

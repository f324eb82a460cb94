//! Frames that a program has to think about: ARP, IPv4 and others, whole or with some
//! octets wrong, cut or extended; and noise.

use std::ops::RangeInclusive;

use fastrand::Rng;

use crate::segment::{ASKER, OURS, arp};

/// The addresses that frames are about. The first three are VIPs: one that is held, a silent
/// one, and one whose time is over.
pub(super) const ADDRESSES: [[u8; 4]; 7] = [
    [192, 0, 2, 10],
    [192, 0, 2, 11],
    [192, 0, 2, 12],
    [192, 0, 2, 99],
    [10, 9, 2, 10], // The filter takes it for the first.
    [192, 0, 2, 2],
    [0, 0, 0, 0],
];

const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
/// Lengths of noise: from an Ethernet header alone on.
const NOISE: RangeInclusive<usize> = 14..=1514;

/// An endless sequence of frames, the same for the same seed.
pub(super) struct Frames {
    rng: Rng,
    noise: usize,
}

impl Frames {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), noise: *NOISE.start() }
    }

    pub(super) fn next(&mut self) -> Vec<u8> {
        let frame = match self.rng.u8(..20) {
            0..11 => self.arp(),
            11..16 => self.ipv4(),
            16..18 => self.ipv6(),
            _ => return self.noise(),
        };
        self.mutated(frame)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    /// An address that is asked for: a VIP for the most part.
    fn target(&mut self) -> [u8; 4] {
        let [held, silent, expired, ..] = ADDRESSES;
        let vips = [held, held, held, silent, silent, expired];
        if self.now_and_then(6) { self.pick(&ADDRESSES) } else { self.pick(&vips) }
    }

    /// Once in `n` times.
    fn now_and_then(&mut self, n: u8) -> bool {
        self.rng.u8(..n) == 0
    }

    /// An ARP with or without tags.
    fn arp(&mut self) -> Vec<u8> {
        const TAGS: [[u8; 4]; 4] =
            [[0x81, 0, 0xe0, 0], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 0], [0x81, 0, 0, 5]];
        let operation = self.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 2, 3]);
        let sender = self.pick(&ADDRESSES);
        let mut frame = arp(operation, sender, self.target());
        let destination =
            self.pick(&[BROADCAST, BROADCAST, BROADCAST, OURS, OURS, OURS, OTHER, GROUP]);
        frame[..6].copy_from_slice(&destination);
        if self.now_and_then(8) {
            let mac = self.pick(&[OURS, OTHER, GROUP, [0; 6], BROADCAST]);
            let at = self.pick(&[6, 22]);
            frame[at..at + 6].copy_from_slice(&mac);
        }
        for _ in 0..self.pick(&[0, 0, 0, 0, 0, 1, 1, 2, 2, 3]) {
            let tag = self.pick(&TAGS);
            frame.splice(12..12, tag);
        }
        frame
    }

    /// An echo request for the most part, now and then with options, in pieces, or of
    /// another protocol.
    fn ipv4(&mut self) -> Vec<u8> {
        let options = if self.now_and_then(6) { 4 * self.rng.usize(1..=10) } else { 0 };
        let data = self.rng.usize(..80);
        let header = 20 + options;
        let total = u16::try_from(header + 8 + data).unwrap_or(u16::MAX);
        let mut ip = vec![0; header];
        ip[0] = 0x40 | u8::try_from(header / 4).unwrap_or(0x0f);
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[4..6].copy_from_slice(&self.rng.u16(..).to_be_bytes());
        // Don't fragment; more of them; the rest of something.
        ip[6..8].copy_from_slice(&self.pick(&[[0x40, 0], [0x40, 0], [0, 0], [0x20, 0], [0, 9]]));
        ip[8] = self.rng.u8(..);
        ip[9] = self.pick(&[1, 1, 1, 1, 1, 1, 6, 17]);
        let source = self.pick(&[[192, 0, 2, 2], [10, 1, 2, 3], [192, 0, 2, 2], ADDRESSES[0]]);
        let odd = self.pick(&[[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]]);
        ip[12..16].copy_from_slice(if self.now_and_then(8) { &odd } else { &source });
        ip[16..20].copy_from_slice(&self.target());
        ip[20..].fill_with(|| self.rng.u8(..));
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34, 0, 7];
        icmp.extend((0..data).map(|_| self.rng.u8(..)));
        if self.now_and_then(6) {
            icmp[0] = self.pick(&[0, 3, 13]);
        }
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());

        let destination = self.pick(&[OURS, OURS, OURS, OURS, OURS, OTHER, BROADCAST]);
        let source = self.pick(&[ASKER, ASKER, ASKER, ASKER, ASKER, GROUP]);
        [&destination[..], &source, &[0x08, 0], &ip, &icmp].concat()
    }

    /// ICMPv6 to a solicited-node group, or anything.
    fn ipv6(&mut self) -> Vec<u8> {
        let data = self.rng.usize(..64);
        let mut frame = [&[0x33, 0x33, 0xff, 0, 2, 10][..], &ASKER, &[0x86, 0xdd]].concat();
        frame.extend([0x60, 0, 0, 0, 0, u8::try_from(data).unwrap_or(0), 58, 255]);
        frame.extend((0..32 + data).map(|_| self.rng.u8(..)));
        frame
    }

    /// Anything, of one length after the other; half of it looks like something.
    fn noise(&mut self) -> Vec<u8> {
        const TYPES: [[u8; 2]; 6] = [[8, 6], [8, 6], [8, 0], [0x81, 0], [0x88, 0xa8], [0x86, 0xdd]];
        let mut frame: Vec<u8> = (0..self.noise).map(|_| self.rng.u8(..)).collect();
        if self.rng.bool() {
            frame[12..14].copy_from_slice(&self.pick(&TYPES));
        }
        self.noise = if self.noise == *NOISE.end() { *NOISE.start() } else { self.noise + 1 };
        frame
    }

    /// Most stay as they are.
    fn mutated(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        if !self.now_and_then(3) {
            return frame;
        }
        for _ in 0..self.rng.u8(..4) {
            let at = self.rng.usize(..frame.len().min(64));
            frame[at] = self.rng.u8(..);
        }
        if self.now_and_then(3) {
            let len = self.rng.usize(14..160);
            frame.resize(len, 0x5a);
        }
        frame
    }
}

/// RFC 1071, of octets whose own checksum is zero.
fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into());
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

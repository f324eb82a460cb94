//! ICMP echo (RFC 792) to a held VIP.

use crate::{
    abi::{self, Counter},
    frame::{EchoFrame, Frame, Icmp, Ipv4, Ipv4Frame, PROTOCOL_ICMP},
    verdict::{Env, Verdict, is_station},
};

/// The TTL of a reply: Linux's own default, and the one that RFC 1700 recommends.
const TTL: u8 = 64;

/// Decides about an IPv4 frame, and turns an echo request into the reply if it is to be
/// answered. Everything else is the kernel's business.
///
/// Frames of other protocols cost one 8-bit comparison.
#[inline(always)]
pub(crate) fn verdict<F: Frame + ?Sized, E: Env>(frame: &mut F, env: &E) -> Verdict {
    let len = frame.length();
    match frame.overlay::<Ipv4Frame>() {
        Some(Ipv4Frame { ip, .. })
            if ip.protocol == PROTOCOL_ICMP && env.maybe_vip(ip.destination) => {}
        _ => return Verdict::Pass,
    }
    // Of another segment, or of another priority than the reply would have.
    if frame.tag_beside().is_some() {
        return Verdict::Pass;
    }
    match frame.overlay::<EchoFrame>() {
        Some(echo) => answer(echo, len, env),
        None => Verdict::Pass,
    }
}

#[inline(always)]
fn answer<E: Env>(frame: &mut EchoFrame, len: usize, env: &E) -> Verdict {
    let EchoFrame { ethernet, ip, icmp } = frame;
    let Some(config) = env.config() else { return Verdict::Pass };
    let is_ours = config.flags & abi::ANSWER_PING != 0
        && ethernet.destination == config.mac
        && is_station(ethernet.source)
        && is_echo_request(ip, icmp, len);
    if !is_ours {
        return Verdict::Pass;
    }
    let Some(entry) = env.vip(ip.destination) else { return Verdict::Pass };
    if entry.flags & abi::HELD == 0 {
        return Verdict::Pass;
    }
    let now = env.boot_time();
    if now >= entry.valid_until_ns {
        return Verdict::Pass;
    }
    if !env.ping_allowed(now) {
        env.count(Counter::PingLimited);
        return Verdict::Drop;
    }
    ethernet.destination = ethernet.source;
    ethernet.source = config.mac;
    reply(ip, icmp);
    env.count(Counter::PingAnswered);
    Verdict::Transmit
}

/// A whole one, without IP options, in one piece, undamaged as far as its header tells,
/// and from an address that one host can have. (The broadcast address of a subnet is not
/// told apart: the reply goes to one MAC all the same, and is no longer than the request.)
#[inline(always)]
fn is_echo_request(ip: &Ipv4, icmp: &Icmp, len: usize) -> bool {
    const HEADERS: usize = size_of::<Ipv4>() + size_of::<Icmp>();
    let total = usize::from(u16::from_be_bytes(ip.total_length));
    // Version 4, and a header of five words.
    ip.version == 0x45
        // Neither "more fragments" nor an offset; "don't fragment" may be set.
        && u16::from_be_bytes(ip.fragment) & !0x4000 == 0
        && total >= HEADERS
        && len >= size_of::<EchoFrame>() - HEADERS + total
        && (icmp.kind, icmp.code) == (Icmp::ECHO_REQUEST, 0)
        && is_unicast(ip.source)
        && ip.source != ip.destination
        && checksum(ip) == 0
}

/// Not "this network", loopback, multicast, reserved or broadcast (RFC 6890, RFC 5771).
#[inline(always)]
fn is_unicast([first, ..]: [u8; 4]) -> bool {
    first != 0 && first != 127 && first < 224
}

#[inline(always)]
fn reply(ip: &mut Ipv4, icmp: &mut Icmp) {
    (ip.source, ip.destination) = (ip.destination, ip.source);
    ip.ttl = TTL;
    ip.checksum = [0; 2];
    ip.checksum = checksum(ip).to_be_bytes();
    // Equation 3 of RFC 1624 for the one word that changes. A wrong checksum stays wrong,
    // so that a damaged request does not become an intact reply.
    let was = u32::from(u16::from_be_bytes([icmp.kind, icmp.code]));
    icmp.kind = Icmp::ECHO_REPLY;
    let is = u32::from(u16::from_be_bytes([icmp.kind, icmp.code]));
    let sum = u32::from(!u16::from_be_bytes(icmp.checksum)) + (!was & 0xffff) + is;
    // Of the two zeros of ones' complement only this one is right over nothing but zeros.
    let zero_or_sum = !fold(sum);
    icmp.checksum = if zero_or_sum == 0 { [0xff; 2] } else { zero_or_sum.to_be_bytes() };
}

/// The checksum of a header without options (RFC 1071): zero for one that contains its
/// own.
#[inline(always)]
fn checksum(ip: &Ipv4) -> u16 {
    let word = |[a, b]: [u8; 2]| u32::from(u16::from_be_bytes([a, b]));
    let address = |[a, b, c, d]: [u8; 4]| word([a, b]) + word([c, d]);
    !fold(
        word([ip.version, ip.service])
            + word(ip.total_length)
            + word(ip.identification)
            + word(ip.fragment)
            + word([ip.ttl, ip.protocol])
            + word(ip.checksum)
            + address(ip.source)
            + address(ip.destination),
    )
}

/// Adds the carries back in; three words' worth at most.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    let [_, _, high, low] = twice.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;

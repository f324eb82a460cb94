//! The decision about one frame.

use crate::{
    abi::{self, ClaimRecord, Counter, InterfaceConfig, VipEntry},
    frame::{
        Arp, ArpFrame, BROADCAST, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN,
        ETHERTYPE_VLAN, Ethernet, Frame, IPV4_REPLY, IPV4_REQUEST, REPLY, REQUEST, is_priority,
    },
    ping,
};

/// What becomes of the frame; the values are those of XDP (`enum xdp_action`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody gets it.
    Drop = 1,
    /// The kernel gets it, untouched.
    Pass = 2,
    /// It has become the reply, and goes out where it came in.
    Transmit = 3,
}

/// What the decision needs to know beside the frame, and what it has to tell.
pub trait Env {
    /// Whether the address can be a VIP: false means no, true means ask [`vip`](Self::vip).
    fn maybe_vip(&self, address: [u8; 4]) -> bool;
    /// The entry of a VIP.
    fn vip(&self, address: [u8; 4]) -> Option<VipEntry>;
    /// The interface's settings.
    fn config(&self) -> Option<InterfaceConfig>;
    /// CLOCK_BOOTTIME in nanoseconds.
    fn boot_time(&self) -> u64;
    /// Counts a frame.
    fn count(&self, counter: Counter);
    /// Counts an answer for the VIP with this slot.
    fn count_answered(&self, slot: u32);
    /// Whether the rate limits let a claim to the VIP with this slot through, by this
    /// MAC, which announces it or not.
    fn claim_allowed(&self, slot: u32, by: ([u8; 6], bool), now: u64) -> bool;
    /// Whether the rate limit lets another echo request be answered.
    fn ping_allowed(&self, now: u64) -> bool;
    /// Reports a claim; false when there was no room.
    fn report(&self, claim: ClaimRecord) -> bool;
}

/// Decides about one frame, and turns it into the reply if it is to be answered.
///
/// Only [`Verdict::Transmit`] changes the frame. A frame that is neither ARP nor IPv4
/// costs one 16-bit comparison with each of four EtherTypes.
#[inline(always)]
pub fn verdict<F: Frame + ?Sized, E: Env>(frame: &mut F, env: &E) -> Verdict {
    match frame.overlay::<Ethernet<0>>() {
        Some(ethernet) if ethernet.ethertype == ETHERTYPE_ARP => {
            if is_of_other_segment(frame) {
                Verdict::Pass
            } else {
                arp::<0, _, _>(frame, env)
            }
        }
        Some(ethernet) if ethernet.ethertype == ETHERTYPE_IPV4 => ping::verdict(frame, env),
        Some(ethernet)
            if ethernet.ethertype == ETHERTYPE_VLAN
                || ethernet.ethertype == ETHERTYPE_SERVICE_VLAN =>
        {
            tagged(frame, env)
        }
        _ => Verdict::Pass,
    }
}

#[inline(always)]
fn is_of_other_segment<F: Frame + ?Sized>(frame: &F) -> bool {
    frame.tag_beside().is_some_and(|control| !is_priority(control))
}

/// A priority tag (VID 0) belongs to the untagged segment: one or two of them, the one
/// beside the frame included, are looked through, and stay in the reply. Any other VID is
/// another segment's.
#[inline(always)]
fn tagged<F: Frame + ?Sized, E: Env>(frame: &mut F, env: &E) -> Verdict {
    if is_of_other_segment(frame) {
        return Verdict::Pass;
    }
    let Some(one) = frame.overlay::<Ethernet<1>>() else { return Verdict::Pass };
    if !one.tags[0].is_priority() {
        return Verdict::Pass;
    }
    if one.ethertype == ETHERTYPE_ARP {
        return arp::<1, _, _>(frame, env);
    }
    if frame.tag_beside().is_some() {
        return Verdict::Pass;
    }
    match frame.overlay::<Ethernet<2>>() {
        Some(two) if two.tags[1].is_priority() && two.ethertype == ETHERTYPE_ARP => {
            arp::<2, _, _>(frame, env)
        }
        _ => Verdict::Pass,
    }
}

#[inline(always)]
fn arp<const TAGS: usize, F: Frame + ?Sized, E: Env>(frame: &mut F, env: &E) -> Verdict {
    let Some(ArpFrame { ethernet, arp }) = frame.overlay::<ArpFrame<TAGS>>() else {
        env.count(Counter::MalformedTruncated);
        return Verdict::Pass;
    };
    let (outcome, verdict) = match decide(ethernet, arp, env) {
        Ok(answer) => {
            answer.write(ethernet, arp);
            env.count_answered(answer.slot);
            (Counter::Answered, Verdict::Transmit)
        }
        Err(outcome @ (Counter::Silenced | Counter::Expired)) => (outcome, Verdict::Drop),
        Err(outcome) => (outcome, Verdict::Pass),
    };
    env.count(outcome);
    verdict
}

/// The reply to a request.
struct Answer {
    mac: [u8; 6],
    slot: u32,
}

impl Answer {
    /// To the ARP sender's hardware address (RFC 826), whatever the Ethernet
    /// source was; the length and whatever follows the ARP stay as they are.
    #[inline(always)]
    fn write<const TAGS: usize>(&self, ethernet: &mut Ethernet<TAGS>, arp: &mut Arp) {
        let asker = (arp.sender_mac, arp.sender);
        ethernet.destination = asker.0;
        ethernet.source = self.mac;
        arp.format = IPV4_REPLY;
        (arp.sender_mac, arp.sender) = (self.mac, arp.target);
        (arp.target_mac, arp.target) = asker;
    }
}

/// The answer, or what else the frame counts as.
#[inline(always)]
fn decide<const TAGS: usize, E: Env>(
    ethernet: &Ethernet<TAGS>,
    arp: &Arp,
    env: &E,
) -> Result<Answer, Counter> {
    let is_request = arp.format == IPV4_REQUEST;
    if !is_request && arp.format != IPV4_REPLY {
        return Err(why_unknown(&arp.format));
    }
    if !is_station(ethernet.source) {
        return Err(Counter::MalformedSource);
    }
    if !is_station(arp.sender_mac) {
        return Err(Counter::MalformedSender);
    }
    if env.maybe_vip(arp.sender)
        && let (Some(entry), Some(config)) = (env.vip(arp.sender), env.config())
    {
        let operation = u16::from_be_bytes(if is_request { REQUEST } else { REPLY });
        report(arp, (arp.sender, operation, arp.target), entry.slot, config.mac, env);
    }
    if !is_request {
        return Err(Counter::PassedReply);
    }
    // An announcement tells, it does not ask (RFC 5227 section 2.3). It passes
    // for silent VIPs too: the kernel must learn where the holder is.
    if arp.sender == arp.target {
        return Err(Counter::PassedAnnouncement);
    }
    if !env.maybe_vip(arp.target) {
        return Err(Counter::PassedOtherTarget);
    }
    let Some(entry) = env.vip(arp.target) else { return Err(Counter::PassedOtherTarget) };
    let Some(config) = env.config() else { return Err(Counter::PassedOtherTarget) };
    if ethernet.destination != BROADCAST && ethernet.destination != config.mac {
        return Err(Counter::PassedOtherDestination);
    }
    // Silence is this host's; it must not eat what is somebody else's to answer.
    let unanswered =
        |why| if config.flags & abi::SHARED == 0 { why } else { Counter::PassedShared };
    if entry.flags & abi::HELD == 0 {
        // What a daemon left when it ended in order is silent for a time.
        if entry.valid_until_ns != 0 && env.boot_time() >= entry.valid_until_ns {
            return Err(Counter::PassedOtherTarget);
        }
        // An ARP Probe: who is about to use the address is to be known to whoever probes
        // for it here (RFC 5227 section 2.1.1).
        if arp.sender == [0; 4] {
            let probe = (arp.target, abi::OPERATION_PROBE, [0; 4]);
            report(arp, probe, entry.slot, config.mac, env);
        }
        return Err(unanswered(Counter::Silenced));
    }
    // Last: the clock costs more than everything else here together.
    if env.boot_time() >= entry.valid_until_ns {
        return Err(unanswered(Counter::Expired));
    }
    Ok(Answer { mac: config.mac, slot: entry.slot })
}

/// Reports a frame that is about a VIP and whose sender is not us.
#[inline(always)]
fn report<E: Env>(
    arp: &Arp,
    (vip, operation, target): ([u8; 4], u16, [u8; 4]),
    slot: u32,
    ours: [u8; 6],
    env: &E,
) {
    let mac = arp.sender_mac;
    if mac == ours {
        return;
    }
    let at_ns = env.boot_time();
    let outcome = if !env.claim_allowed(slot, (mac, vip == target), at_ns) {
        Counter::ClaimLimited
    } else if env.report(ClaimRecord { at_ns, vip, mac, operation, target }) {
        Counter::ClaimReported
    } else {
        Counter::ClaimLost
    };
    env.count(outcome);
}

/// The first field that makes this neither an IPv4 request nor an IPv4 reply.
#[inline(always)]
fn why_unknown(format: &[u8; 8]) -> Counter {
    let [h1, h2, p1, p2, hardware_length, protocol_length, ..] = *format;
    if [h1, h2] != [0, 1] {
        Counter::MalformedHardwareType
    } else if [p1, p2] != [0x08, 0] {
        Counter::MalformedProtocolType
    } else if hardware_length != 6 {
        Counter::MalformedHardwareLength
    } else if protocol_length != 4 {
        Counter::MalformedProtocolLength
    } else {
        Counter::PassedOtherOperation
    }
}

/// A MAC that one station can have: not a group address, not zero.
#[inline(always)]
pub(crate) fn is_station(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

#[cfg(test)]
pub(crate) mod tests;

//! What a frame that goes out must be, as pnet reads it: pnet has no part in the packet
//! logic.

use announcer_ebpf::Verdict;
use pnet::{
    packet::{
        arp::{ArpHardwareTypes, ArpOperations, ArpPacket},
        ethernet::{EtherType, EtherTypes, EthernetPacket},
        icmp::{IcmpCode, IcmpPacket, IcmpTypes},
        ip::IpNextHeaderProtocols,
        ipv4::Ipv4Packet,
    },
    util::MacAddr,
};

use crate::maps::{ANSWER_PING, Input, NO_CONFIG, PINGS_SPENT};

/// Octets of an ARP for IPv4 over Ethernet.
pub const ARP: usize = 28;
const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4: usize = 20;

/// What is before the payload of a frame: at most two priority tags (VID 0), that beside
/// the frame included.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    pub ethertype: EtherType,
    /// Where the payload begins.
    pub payload: usize,
}

impl Headers {
    /// `None` for a frame of another VLAN, with more tags, or that ends in them.
    pub fn of(input: &Input) -> Option<Self> {
        let is_priority = |tci: u16| tci & 0x0fff == 0;
        let frame = &input.frame;
        let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
        let mut tags = 0;
        if let Some(tci) = input.tag_beside() {
            if !is_priority(tci) {
                return None;
            }
            tags += 1;
        }
        let mut payload = ETHERNET;
        loop {
            let ethertype = EtherType::new(word(payload - 2)?);
            match ethertype {
                EtherTypes::Vlan | EtherTypes::PBridge if tags < 2 => {
                    is_priority(word(payload)?).then_some(())?;
                    tags += 1;
                    payload += TAG;
                }
                EtherTypes::Vlan | EtherTypes::PBridge => return None,
                _ => return Some(Self { ethertype, payload }),
            }
        }
    }
}

/// Judges `after`, what has become of the input's frame and goes out.
///
/// # Panics
/// It is no valid reply to it, or there should be none.
#[expect(clippy::expect_used, reason = "a broken rule is a panic")]
pub fn check(input: &Input, after: &[u8]) {
    let before = &input.frame;
    assert_eq!(after.len(), before.len(), "{:?} changes no length", Verdict::Transmit);
    assert!(!input.has(NO_CONFIG), "without a MAC");
    let headers = Headers::of(input).expect("a frame of this segment");
    let at = headers.payload;
    // EtherType and tags stay.
    assert_eq!(after[12..at], before[12..at]);
    let ethernet = EthernetPacket::new(after).expect("14 octets");
    assert_eq!(ethernet.get_source(), mac(input.mac));
    let to = ethernet.get_destination();
    assert!(to.is_unicast() && !to.is_zero(), "to {to}");
    match headers.ethertype {
        EtherTypes::Arp => arp(input, to, &before[at..], &after[at..]),
        EtherTypes::Ipv4 => {
            assert_eq!((at, input.tag_beside()), (ETHERNET, None), "a ping with a tag");
            echo(input, to, &after[at..]);
        }
        other => panic!("an answer to {other}"),
    }
}

fn mac(octets: [u8; 6]) -> MacAddr {
    octets.into()
}

#[expect(clippy::expect_used, reason = "a broken rule is a panic")]
fn arp(input: &Input, to: MacAddr, before: &[u8], after: &[u8]) {
    let asked = ArpPacket::new(before).expect("a whole ARP");
    let said = ArpPacket::new(after).expect("a whole ARP");
    for arp in [&asked, &said] {
        assert_eq!(arp.get_hardware_type(), ArpHardwareTypes::Ethernet);
        assert_eq!(arp.get_protocol_type(), EtherTypes::Ipv4);
        assert_eq!((arp.get_hw_addr_len(), arp.get_proto_addr_len()), (6, 4));
    }
    let operations = (asked.get_operation(), said.get_operation());
    assert_eq!(operations, (ArpOperations::Request, ArpOperations::Reply));
    let vip = asked.get_target_proto_addr();
    assert_ne!(asked.get_sender_proto_addr(), vip, "an answer to an announcement");
    assert!(input.is_held(vip.octets()), "{vip} is not held");
    let sender = (said.get_sender_hw_addr(), said.get_sender_proto_addr());
    assert_eq!(sender, (mac(input.mac), vip));
    let target = (said.get_target_hw_addr(), said.get_target_proto_addr());
    assert_eq!(target, (asked.get_sender_hw_addr(), asked.get_sender_proto_addr()));
    assert_eq!(to, asked.get_sender_hw_addr());
    let destination = EthernetPacket::new(&input.frame).expect("14 octets").get_destination();
    assert!(destination.is_broadcast() || destination == mac(input.mac), "for {destination}");
    assert_eq!(before[ARP..], after[ARP..], "what follows stays");
}

#[expect(clippy::expect_used, reason = "a broken rule is a panic")]
fn echo(input: &Input, to: MacAddr, after: &[u8]) {
    let request = EthernetPacket::new(&input.frame).expect("14 octets");
    assert_eq!((to, request.get_destination()), (request.get_source(), mac(input.mac)));
    let before = &input.frame[ETHERNET..];
    let asked = Ipv4Packet::new(before).expect("a whole header");
    let said = Ipv4Packet::new(after).expect("a whole header");
    let total = usize::from(said.get_total_length());
    for ip in [&asked, &said] {
        assert_eq!((ip.get_version(), ip.get_header_length()), (4, 5), "no options");
        assert_eq!(ip.get_next_level_protocol(), IpNextHeaderProtocols::Icmp);
        assert_eq!((ip.get_flags() & 0b101, ip.get_fragment_offset()), (0, 0), "in one piece");
        assert_eq!(usize::from(ip.get_total_length()), total);
    }
    assert!(sums_up(&before[..IPV4]) && sums_up(&after[..IPV4]), "the header's checksum");
    let vip = asked.get_destination();
    let from = asked.get_source();
    assert!(input.has(ANSWER_PING) && !input.has(PINGS_SPENT));
    assert!(input.is_held(vip.octets()), "{vip} is not held");
    assert!(!(from.is_multicast() || from.is_broadcast() || from.is_unspecified()), "to {from}");
    assert!(!from.is_loopback() && from != vip, "to {from}");
    assert_eq!((said.get_source(), said.get_destination()), (vip, from));
    assert_eq!(said.get_ttl(), 64);
    assert_eq!(said.get_identification(), asked.get_identification());

    let (asked, said) = (&before[IPV4..total], &after[IPV4..total]);
    let kinds = [asked, said].map(|octets| {
        let icmp = IcmpPacket::new(octets).expect("a whole header");
        (icmp.get_icmp_type(), icmp.get_icmp_code())
    });
    let code = IcmpCode::new(0);
    assert_eq!(kinds, [(IcmpTypes::EchoRequest, code), (IcmpTypes::EchoReply, code)]);
    assert_eq!(asked[4..], said[4..], "identifier, sequence number and data");
    assert_eq!(sums_up(asked), sums_up(said), "intact stays intact, and damaged damaged");
    assert_eq!(before[total..], after[total..], "what follows stays");
}

/// RFC 1071: the ones' complement sum over what contains its own checksum.
fn sums_up(octets: &[u8]) -> bool {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into());
    let mut sum: u64 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

//! Frames, from the values in them to octets.

use std::net::Ipv4Addr;

use pnet::{
    packet::{
        arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket},
        ethernet::{EtherTypes, MutableEthernetPacket},
    },
    util,
};

use crate::types::{MacAddr, Vip};

/// Octets of an Ethernet header: two addresses and a type.
const ETHERNET_HEADER_LEN: usize = 14;

/// Octets of the shortest Ethernet frame without its check sequence (IEEE 802.3).
/// Network cards pad shorter ones, but virtual ports need not.
const MIN_FRAME_LEN: usize = 60;

/// One gratuitous ARP frame, or a probe, padded.
pub(crate) type Frame = [u8; MIN_FRAME_LEN];

/// What the frame says about the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A request in which sender and target are the VIP (RFC 5227 section 2.3).
    Announcement,
    /// An unsolicited reply.
    Reply,
    /// Does anybody have it? An ARP Probe (RFC 5227 section 2.1.1): the sender address is
    /// zero, so that no neighbour learns from it.
    Probe,
}

/// Says `operation` about `vip` in the name of `mac`, to everybody.
#[expect(clippy::expect_used, reason = "60 octets hold an Ethernet header (14) and an ARP (28)")]
pub(crate) fn frame(operation: Operation, vip: Vip, mac: MacAddr) -> Frame {
    let nobody = MacAddr::new([0; 6]);
    let (operation, sender, target_mac) = match operation {
        Operation::Announcement => (ArpOperations::Request, vip.ip(), nobody),
        Operation::Reply => (ArpOperations::Reply, vip.ip(), mac),
        Operation::Probe => (ArpOperations::Request, Ipv4Addr::UNSPECIFIED, nobody),
    };
    let mut frame = [0; MIN_FRAME_LEN];
    let (header, payload) = frame.split_at_mut(ETHERNET_HEADER_LEN);

    let mut ethernet = MutableEthernetPacket::new(header).expect("14 octets");
    ethernet.set_destination(to_pnet(MacAddr::BROADCAST));
    ethernet.set_source(to_pnet(mac));
    ethernet.set_ethertype(EtherTypes::Arp);

    let mut arp = MutableArpPacket::new(payload).expect("46 octets");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(operation);
    arp.set_sender_hw_addr(to_pnet(mac));
    arp.set_sender_proto_addr(sender);
    arp.set_target_hw_addr(to_pnet(target_mac));
    arp.set_target_proto_addr(vip.ip());
    frame
}

fn to_pnet(mac: MacAddr) -> util::MacAddr {
    mac.octets().into()
}

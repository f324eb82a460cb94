//! Frames that came in, from octets to the values in them.

use std::net::Ipv4Addr;

use pnet::{
    packet::{
        Packet as _,
        arp::{ArpHardwareTypes, ArpOperations, ArpPacket},
        ethernet::{EtherTypes, EthernetPacket},
    },
    util,
};

use crate::types::MacAddr;

/// The two operations of RFC 826.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has it? (1)
    Request,
    /// I have it. (2)
    Reply,
}

/// An ARP frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whom the frame is sent to.
    pub destination: MacAddr,
    /// What it is.
    pub operation: ArpOperation,
    /// Who sends it.
    pub sender_mac: MacAddr,
    /// What it says that it has; 0.0.0.0 in a probe.
    pub sender: Ipv4Addr,
    /// Which address it asks for, or whom it answers.
    pub target: Ipv4Addr,
}

/// ARP for Ethernet and IPv4; `None` for everything else.
pub(crate) fn parse(octets: &[u8]) -> Option<Arp> {
    let ethernet = EthernetPacket::new(octets)?;
    let is_arp = ethernet.get_ethertype() == EtherTypes::Arp;
    let arp = ArpPacket::new(ethernet.payload()).filter(|_| is_arp)?;
    let is_ipv4 = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4);
    let operation = match arp.get_operation() {
        ArpOperations::Request => ArpOperation::Request,
        ArpOperations::Reply => ArpOperation::Reply,
        _ => return None,
    };
    let from_pnet = |mac: util::MacAddr| MacAddr::new(mac.octets());
    is_ipv4.then(|| Arp {
        destination: from_pnet(ethernet.get_destination()),
        operation,
        sender_mac: from_pnet(arp.get_sender_hw_addr()),
        sender: arp.get_sender_proto_addr(),
        target: arp.get_target_proto_addr(),
    })
}

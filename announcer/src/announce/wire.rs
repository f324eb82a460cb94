//! The gratuitous ARP frames and the socket that sends them; the only file with pnet.
//!
//! pnet builds the frames but does not open the socket: its datalink channel
//! always binds with ETH_P_ALL (the kernel would copy every frame of the
//! interface into a buffer that nobody reads) and waits in poll(2) before it
//! sends. Ours is bound with protocol 0, which receives nothing, and never waits.

use std::{io, mem, net::Ipv4Addr};

use pnet::{
    packet::{
        arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket},
        ethernet::{EtherTypes, MutableEthernetPacket},
    },
    util,
};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use super::schedule::{Announcement, Kind};
use crate::types::{IfIndex, MacAddr, Vip};

/// Octets of an Ethernet header: two addresses and a type.
const ETHERNET_HEADER_LEN: usize = 14;

/// Octets of the shortest Ethernet frame without its check sequence (IEEE 802.3).
/// Network cards pad shorter ones, but virtual ports need not.
const MIN_FRAME_LEN: usize = 60;

/// One gratuitous ARP frame, padded.
type Frame = [u8; MIN_FRAME_LEN];

/// Both forms for one VIP. Some stacks update their cache from requests only,
/// some from replies only.
#[derive(Debug, PartialEq, Eq)]
struct GratuitousFrames {
    /// An ARP announcement (RFC 5227 section 2.3): the target hardware address
    /// is not used in a request, and zero.
    request: Frame,
    /// An unsolicited reply. RFC 5944 section 4.6 wants the target hardware
    /// address equal to the sender's, and Linux takes a reply for gratuitous
    /// (and so lets it override a fresh entry) only then.
    reply: Frame,
}

impl GratuitousFrames {
    fn new(vip: Vip, mac: MacAddr) -> Self {
        Self {
            request: frame(Operation::Announcement, vip, mac),
            reply: frame(Operation::Reply, vip, mac),
        }
    }
}

/// What the frame says about the VIP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Announcement,
    Reply,
    /// Does anybody have it? An ARP Probe (RFC 5227 section 2.1.1): the sender address is
    /// zero, so that no neighbour learns from it.
    Probe,
}

#[expect(clippy::expect_used, reason = "60 octets hold an Ethernet header (14) and an ARP (28)")]
fn frame(operation: Operation, vip: Vip, mac: MacAddr) -> Frame {
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

/// Sends gratuitous ARP on one interface of the network namespace it was opened in.
#[derive(Debug)]
pub struct GratuitousSender {
    socket: Socket,
}

impl GratuitousSender {
    /// Opens a packet socket that sends on `interface` and receives nothing.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV when there is no such interface.
    pub fn open(interface: IfIndex) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        socket.bind(&link_address(interface)?)?;
        Ok(Self { socket })
    }

    /// Sends one announcement in the forms of its kind: the request form, and but for a
    /// refresh the reply form. Never waits.
    ///
    /// # Errors
    /// The first error of the two; both frames are tried. EAGAIN or ENOBUFS: the
    /// transmit queue is full. ENETDOWN: the interface is down. ENXIO: it is
    /// gone, and the sender must be opened anew.
    pub fn send(&self, announcement: Announcement, mac: MacAddr) -> io::Result<()> {
        let frames = GratuitousFrames::new(announcement.vip, mac);
        let request = self.socket.send(&frames.request);
        let reply = match announcement.kind {
            Kind::Refresh => Ok(0),
            Kind::Takeover(_) | Kind::Defence => self.socket.send(&frames.reply),
        };
        request.and(reply).map(drop)
    }

    /// Sends one ARP Probe (RFC 5227 section 2.1.1). Never waits.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn probe(&self, vip: Vip, mac: MacAddr) -> io::Result<()> {
        self.socket.send(&frame(Operation::Probe, vip, mac)).map(drop)
    }
}

/// The interface itself, protocol 0. The kernel takes a sent frame's protocol
/// from its Ethernet header then.
fn link_address(interface: IfIndex) -> io::Result<SockAddr> {
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let index = i32::try_from(interface.get()).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the kernel defines sockaddr_ll as one of the views of sockaddr_storage.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = family;
    link.sll_protocol = 0;
    link.sll_ifindex = index;
    let len = u32::try_from(mem::size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: family and the `len` octets of a sockaddr_ll were initialised above.
    Ok(unsafe { SockAddr::new(storage, len) })
}

#[cfg(test)]
mod tests;

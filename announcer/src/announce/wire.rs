//! The gratuitous ARP frames and the socket that sends them.
//!
//! pnet builds the frames (`frame.rs`) but does not open the socket: its datalink channel
//! always binds with ETH_P_ALL (the kernel would copy every frame of the
//! interface into a buffer that nobody reads) and waits in poll(2) before it
//! sends. Ours is bound with protocol 0, which receives nothing, and never waits.

pub mod asking;
mod frame;
mod parsed;

use std::{io, mem};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use self::frame::{Frame, Operation, frame};
use super::schedule::{Announcement, Kind};
use crate::types::{IfIndex, MacAddr, Vip};

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

//! Asks who has an address, and hears the ARP of the segment: for `announcer probe`.

use std::{
    io::{self, Read as _},
    mem,
};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::{
    frame::{self, Operation},
    parsed,
};
use crate::types::{IfIndex, MacAddr, Vip};

pub use super::parsed::{Arp, ArpOperation};

/// Longer than any ARP frame; what comes after is padding.
const ENOUGH: usize = 128;

/// A packet socket for ARP on one interface. Frames that this host sends are not heard.
#[derive(Debug)]
pub struct Asker(AsyncFd<Socket>);

impl Asker {
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV when there is no such interface.
    pub fn open(interface: IfIndex) -> io::Result<Self> {
        // Protocol 0 until it is bound: no frame of another interface comes in between.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        socket.bind(&arp_address(interface)?)?;
        // SAFETY: the Socket owns its descriptor and never replaces it.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Sends one ARP Probe (RFC 5227 section 2.1.1): its sender address is zero, so that
    /// no neighbour table changes. Never waits.
    ///
    /// # Errors
    /// ENETDOWN: the interface is down. ENXIO: it is gone. EAGAIN, ENOBUFS: the transmit
    /// queue is full.
    pub fn ask(&self, vip: Vip, mac: MacAddr) -> io::Result<()> {
        self.0.get_ref().send(&frame::frame(Operation::Probe, vip, mac)).map(drop)
    }

    /// Waits for the next ARP frame for Ethernet and IPv4. Cancel-safe.
    ///
    /// # Errors
    /// ENETDOWN when the interface goes down; it can be called again.
    pub async fn hear(&self) -> io::Result<Arp> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut octets = [0; ENOUGH];
            let Ok(read) = ready.try_io(|socket| socket.get_ref().read(&mut octets)) else {
                continue;
            };
            if let Some(arp) = parsed::parse(octets.get(..read?).unwrap_or_default()) {
                return Ok(arp);
            }
        }
    }
}

/// ARP on one interface.
fn arp_address(interface: IfIndex) -> io::Result<SockAddr> {
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let protocol = u16::try_from(libc::ETH_P_ARP).map_err(io::Error::other)?;
    let index = i32::try_from(interface.get()).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the kernel defines sockaddr_ll as one of the views of sockaddr_storage.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = family;
    link.sll_protocol = protocol.to_be();
    link.sll_ifindex = index;
    let len = u32::try_from(mem::size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: family and the `len` octets of a sockaddr_ll were initialised above.
    Ok(unsafe { SockAddr::new(storage, len) })
}

//! AF_PACKET sockets (packet(7)): raw frames out, raw frames in with the kernel's
//! receive time.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use crate::{arp::Tag, netns::NetNs};

/// Every EtherType, and outgoing frames too.
pub const ETH_P_ALL: u16 = 0x0003;
/// Room for what arrives while the reading thread waits for a CPU: seconds at the
/// rates of these tests.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

/// A raw socket bound to one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    address: libc::sockaddr_ll,
}

/// A frame that was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its length in the buffer, from the Ethernet destination on.
    pub len: usize,
    /// When the kernel took it from, or gave it to, the device.
    pub at: Instant,
    /// Sent by this host, not received.
    pub outgoing: bool,
    /// The outermost VLAN tag, which the kernel takes out of the frame.
    pub tag: Option<Tag>,
}

impl PacketSocket {
    /// Opens a socket on interface `ifname` of `ns`, for `protocol` (an EtherType;
    /// [`ETH_P_ALL`] for everything; 0 for sending only).
    ///
    /// # Errors
    /// No such interface; no CAP_NET_RAW.
    pub fn open(ns: &NetNs, ifname: &str, protocol: u16) -> Result<Self> {
        // A socket stays in the namespace that it was made in.
        ns.run(|| {
            let name = CString::new(ifname)?;
            // SAFETY: a NUL-terminated name.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            if index == 0 {
                bail!("{ns:?} has no interface {ifname}");
            }
            // Protocol 0 until it is bound, or frames of other interfaces would come in.
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)
                .context("opening a packet socket needs root (CAP_NET_RAW)")?;
            // SAFETY: all zeros is a valid sockaddr_ll, which is plain old data.
            let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
            address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET)?;
            address.sll_protocol = protocol.to_be();
            address.sll_ifindex = i32::try_from(index)?;
            let socket = Self { socket, address };
            socket.option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
            socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
            socket.option(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
            socket.socket.set_nonblocking(true)?;
            socket.socket.bind(&socket.sockaddr())?;
            Ok(socket)
        })
    }

    /// Receives frames to any MAC from now on, for as long as the socket is open.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn set_promiscuous(&self) -> Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: self.address.sll_ifindex,
            mr_type: libc::c_ushort::try_from(libc::PACKET_MR_PROMISC)?,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.option(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// From now on a `virtio_net_hdr` comes before each frame that is sent.
    ///
    /// # Errors
    /// Those of setsockopt.
    pub fn set_header_before_frames(&self) -> Result<()> {
        self.option(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)
    }

    /// Sends one frame, from the Ethernet destination on.
    ///
    /// # Errors
    /// Interface down, queue full, frame longer than the MTU or shorter than an
    /// Ethernet header.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(|_| ())
    }

    /// Takes the next frame, if one is there; a frame longer than `buffer` is cut.
    ///
    /// # Errors
    /// Those of recvmsg, except that an interface that goes down is no error: frames
    /// come again when it is up again.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        #[repr(C, align(8))]
        struct Control([u8; 128]);
        let mut control = Control([0; 128]);
        // SAFETY: all zeros is a valid sockaddr_ll and a valid msghdr.
        let (mut from, mut msg): (libc::sockaddr_ll, libc::msghdr) = unsafe { mem::zeroed() };
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        msg.msg_name = std::ptr::from_mut(&mut from).cast();
        msg.msg_namelen = socklen::<libc::sockaddr_ll>();
        msg.msg_iov = &mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.0.as_mut_ptr().cast();
        msg.msg_controllen = control.0.len();
        // SAFETY: every pointer in `msg` is to a live local or to `buffer`, with its length.
        let received = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &mut msg, 0) };
        let Ok(len) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::NetworkDown => Ok(None),
                _ => Err(error),
            };
        };
        let (now, wall) = clocks();
        let mut at = now;
        let mut tag = None;
        // SAFETY: `msg` was filled by recvmsg, whose control buffer is alive and aligned.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(&msg) };
        while !header.is_null() {
            // SAFETY: not null, so it points to a whole cmsghdr in the control buffer.
            let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
            // SAFETY: as above.
            let data = unsafe { libc::CMSG_DATA(header) };
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                    // SAFETY: the kernel puts a timespec here, perhaps not aligned for one.
                    let stamp: libc::timespec =
                        unsafe { data.cast::<libc::timespec>().read_unaligned() };
                    at = instant(&stamp, now, wall);
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    // SAFETY: the kernel puts a tpacket_auxdata here.
                    let aux = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                    if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                        tag = Some(Tag { tpid: aux.tp_vlan_tpid, tci: aux.tp_vlan_tci });
                    }
                }
                _ => {}
            }
            // SAFETY: `header` is one of this message's headers.
            header = unsafe { libc::CMSG_NXTHDR(&msg, header) };
        }
        let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
        Ok(Some(Received { len, at, outgoing, tag }))
    }

    /// Frames that the kernel threw away because the socket's buffer was full, since
    /// the last call.
    ///
    /// # Errors
    /// Those of getsockopt.
    pub fn dropped(&self) -> Result<u32> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = socklen::<libc::tpacket_stats>();
        // SAFETY: PACKET_STATISTICS writes a tpacket_stats, of which `len` says the size.
        let got = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                std::ptr::from_mut(&mut stats).cast(),
                &mut len,
            )
        };
        if got != 0 {
            return Err(io::Error::last_os_error()).context("reading PACKET_STATISTICS");
        }
        Ok(stats.tp_drops)
    }

    fn sockaddr(&self) -> SockAddr {
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: a sockaddr_ll fits into a sockaddr_storage and is one of its forms.
        unsafe {
            *storage.view_as::<libc::sockaddr_ll>() = self.address;
            SockAddr::new(storage, socklen::<libc::sockaddr_ll>())
        }
    }

    fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> Result<()> {
        // SAFETY: `value` is alive and plain old data of the size given.
        let set = unsafe {
            let value = std::ptr::from_ref(value).cast();
            libc::setsockopt(self.socket.as_raw_fd(), level, name, value, socklen::<T>())
        };
        if set != 0 {
            return Err(io::Error::last_os_error()).context("configuring a packet socket");
        }
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Both clocks at the same moment: read again when this thread was interrupted between.
fn clocks() -> (Instant, SystemTime) {
    let read = || (Instant::now(), SystemTime::now(), Instant::now());
    let mut best = read();
    for _ in 0..10 {
        if best.2 - best.0 < Duration::from_micros(10) {
            break;
        }
        best = read();
    }
    (best.0, best.1)
}

/// The kernel stamps frames with the wall clock; `now` and `wall` are the two clocks
/// read together just afterwards, so a step of the wall clock before does no harm.
fn instant(stamp: &libc::timespec, now: Instant, wall: SystemTime) -> Instant {
    let (sec, nsec) = (stamp.tv_sec.unsigned_abs(), stamp.tv_nsec.unsigned_abs());
    let stamp = UNIX_EPOCH + Duration::from_secs(sec) + Duration::from_nanos(nsec);
    let age = wall.duration_since(stamp).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}

fn socklen<T>() -> libc::socklen_t {
    // The structures here are a few dozen bytes.
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(0)
}

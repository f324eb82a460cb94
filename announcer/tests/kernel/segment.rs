//! The smallest segment: a network namespace with one veth pair. The data plane
//! is on `dut`; the test sends and receives at the other end, `wire`.

use std::{
    io::{ErrorKind, Read as _},
    panic::resume_unwind,
    process::Command,
    thread,
    time::Duration,
};

use announcer::{
    datapath::{Datapath, Options, detach_all, netlink::Netlink},
    types::{IfIndex, MacAddr, Vip},
};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// The MAC of `dut`.
pub(crate) const OURS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// The MAC of the test's end, which asks.
pub(crate) const ASKER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// Longer than any answer takes, even on a machine under load.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test in a network namespace of its own, which ends with it.
pub(crate) fn in_segment(test: impl AsyncFnOnce(Segment) + Send + 'static) {
    // A thread: it enters the namespace, and does not have to come back.
    let thread = thread::spawn(|| {
        // SAFETY: no memory is involved. Only this thread changes its namespace.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "root is needed: {}", std::io::Error::last_os_error());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            ip("link add dut address 02:00:00:00:00:01 type veth peer name wire");
            ip("link set wire address 02:00:00:00:00:02 up");
            ip("link set dut up");
            let netlink = Netlink::connect().expect("netlink");
            let ready = |name: &str| {
                let name = name.to_owned();
                netlink.wait_until(move |now| {
                    now.by_name(&name).filter(|facts| facts.has_carrier).map(|facts| facts.index)
                })
            };
            let dut = ready("dut").await.expect("dut has a carrier");
            let wire = Wire::open(ready("wire").await.expect("wire has a carrier"));
            let _leave_nothing = Cleanup;
            test(Segment { dut, wire }).await;
        });
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Pins outlive a test that panics, unless somebody cleans up.
struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Err(error) = detach_all(&Options::default().pin_root) {
            assert!(thread::panicking(), "{error}");
        }
    }
}

/// `ip` in the namespace of the calling thread.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// The segment, as the test sees it.
pub(crate) struct Segment {
    /// The interface under test.
    pub(crate) dut: IfIndex,
    /// The other end of its cable.
    pub(crate) wire: Wire,
}

impl Segment {
    /// A daemon's view of this namespace.
    pub(crate) fn datapath(&self, options: Options) -> Datapath {
        Datapath::open(options).expect("root, and a BPF file system")
    }
}

/// Sends and receives Ethernet frames.
pub(crate) struct Wire(Socket);

impl Wire {
    /// On an interface of this namespace; receives ARP.
    pub(crate) fn open(index: IfIndex) -> Self {
        let arp = u16::try_from(libc::ETH_P_ARP).expect("16 bits").to_be();
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(arp))))
            .expect("CAP_NET_RAW");
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: sockaddr_ll is one of the views of sockaddr_storage.
        let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        link.sll_family = u16::try_from(libc::AF_PACKET).expect("16 bits");
        link.sll_protocol = arp;
        link.sll_ifindex = i32::try_from(index.get()).expect("31 bits");
        let len = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("a small size");
        // SAFETY: a sockaddr_ll was filled in above.
        socket.bind(&unsafe { SockAddr::new(storage, len) }).expect("the interface exists");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    /// Puts a frame on the wire.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.0.send(frame).expect("the link is up");
    }

    /// The next ARP frame from the other side.
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut frame = [0; 256];
        loop {
            match (&self.0).read(&mut frame) {
                // Our own frames are seen as they leave.
                Ok(_) if frame[6..12] == ASKER => {}
                Ok(len) => return frame[..len].to_vec(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no frame came"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Who says "this is mine" first: the first reply to requests for `vips`, one after
    /// the other.
    pub(crate) fn first_answer(&self, vips: &[Vip]) -> (MacAddr, Vip) {
        for vip in vips {
            self.send(&request(*vip));
        }
        let frame = self.receive();
        assert_eq!(frame[20..22], [0, 2], "a reply: {frame:02x?}");
        let mac = frame[22..28].try_into().expect("six octets");
        let sender: [u8; 4] = frame[28..32].try_into().expect("four octets");
        (MacAddr::new(mac), Vip::new(sender.into()).expect("a unicast address"))
    }
}

/// A request for `vip` by the test's end.
pub(crate) fn request(vip: Vip) -> Vec<u8> {
    arp(1, [192, 0, 2, 2], vip.octets())
}

/// An ARP frame by the test's end, padded to the least length of Ethernet.
pub(crate) fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(ASKER);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(ASKER);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend(target);
    frame.resize(60, 0);
    frame
}

/// A VIP by its last octet.
pub(crate) fn vip(last: u8) -> Vip {
    Vip::new(std::net::Ipv4Addr::new(192, 0, 2, last).into()).expect("a unicast address")
}

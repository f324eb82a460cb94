//! Frames are checked octet by octet, against the figures in RFC 826 and the
//! Ethernet header: pnet does not check pnet.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::thread;

use super::*;

const MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x10, 0x00, 0xff];
const VIP: [u8; 4] = [192, 0, 2, 10];

fn frames() -> GratuitousFrames {
    GratuitousFrames::new(vip(), MacAddr::new(MAC))
}

fn vip() -> Vip {
    Vip::new(VIP.into()).expect("a unicast address")
}

fn expected(operation: u8, target_mac: [u8; 6]) -> Vec<u8> {
    expected_from(VIP, operation, target_mac)
}

fn expected_from(sender: [u8; 4], operation: u8, target_mac: [u8; 6]) -> Vec<u8> {
    let mut f = Vec::new();
    f.extend([0xff; 6]); // to everybody
    f.extend(MAC); // from us
    f.extend([0x08, 0x06]); // ARP
    f.extend([0x00, 0x01]); // hardware type Ethernet
    f.extend([0x08, 0x00]); // protocol type IPv4
    f.extend([6, 4]); // address lengths
    f.extend([0x00, operation]);
    f.extend(MAC);
    f.extend(sender);
    f.extend(target_mac);
    f.extend(VIP);
    f.resize(60, 0); // padding
    f
}

#[test]
fn the_request_form_is_an_announcement() {
    assert_eq!(frames().request.to_vec(), expected(1, [0; 6]));
}

#[test]
fn the_reply_form_carries_our_mac_as_target_too() {
    assert_eq!(frames().reply.to_vec(), expected(2, MAC));
}

/// Runs `f` on a thread of its own in a new network namespace, with loopback up;
/// the namespace ends with the thread.
fn in_new_netns(f: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        // SAFETY: changes the namespace of this thread only.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "needs root: {}", io::Error::last_os_error());
        loopback_up();
        f();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn loopback_up() {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a UDP socket");
    // SAFETY: an ifreq of zeros is valid: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("a flag of 16 bits");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is.
    let done = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &request) };
    assert_eq!(done, 0, "lo up: {}", io::Error::last_os_error());
}

/// In a new network namespace, loopback is the first interface.
fn loopback() -> IfIndex {
    IfIndex::new(1).expect("not 0")
}

/// Both forms, as another station receives them, and nothing into our own socket.
#[test]
fn one_round_is_both_forms_on_the_wire() {
    in_new_netns(|| {
        let listener = listen_for_arp();
        let sender = GratuitousSender::open(loopback()).expect("a sender");
        for kind in [Kind::Takeover(1), Kind::Defence] {
            let round = Announcement { vip: vip(), kind };
            sender.send(round, MacAddr::new(MAC)).expect("both frames sent");
            assert_eq!(receive(&listener), expected(1, [0; 6]));
            assert_eq!(receive(&listener), expected(2, MAC));
        }

        let mut buffer = [mem::MaybeUninit::uninit(); 1];
        let nothing = sender.socket.recv(&mut buffer).expect_err("nothing is received");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_refresh_is_the_request_form_alone() {
    in_new_netns(|| {
        let listener = listen_for_arp();
        let sender = GratuitousSender::open(loopback()).expect("a sender");
        let refresh = Announcement { vip: vip(), kind: Kind::Refresh };
        for _ in 0..2 {
            sender.send(refresh, MacAddr::new(MAC)).expect("sent");
            assert_eq!(receive(&listener), expected(1, [0; 6]));
        }
    });
}

/// RFC 5227 section 2.1.1: the sender address and the target hardware address are zero.
#[test]
fn a_probe_asks_in_the_name_of_nobody() {
    in_new_netns(|| {
        let listener = listen_for_arp();
        let sender = GratuitousSender::open(loopback()).expect("a sender");
        sender.probe(vip(), MacAddr::new(MAC)).expect("sent");
        assert_eq!(receive(&listener), expected_from([0; 4], 1, [0; 6]));
    });
}

#[test]
fn an_absent_interface_is_enodev() {
    in_new_netns(|| {
        let absent = IfIndex::new(4711).expect("not 0");
        let error = GratuitousSender::open(absent).expect_err("no such interface");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    });
}

/// A packet socket for ARP on all interfaces of the namespace.
fn listen_for_arp() -> Socket {
    let arp = i32::from(u16::try_from(libc::ETH_P_ARP).expect("an EtherType").to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(arp.into())).expect("a listener");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a timeout");
    socket
}

fn receive(socket: &Socket) -> Vec<u8> {
    let mut buffer = [mem::MaybeUninit::uninit(); 128];
    let len = socket.recv(&mut buffer).expect("a frame");
    // SAFETY: the kernel wrote the first `len` octets.
    buffer[..len].iter().map(|b| unsafe { b.assume_init() }).collect()
}

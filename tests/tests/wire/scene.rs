//! A node that is to answer, a client that asks, and the wire between them.

use std::{
    cell::Cell,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    bpf::{self, Attached, Hook},
    capture::{Capture, Fragmenter, Frame, Injector},
    daemon::{Daemon, DaemonBuilder},
    lab::{CLIENT_IP, CLIENT_MAC, CLIENT_NIC, UPLINK},
    netns::{self, NetNs},
    probe::{Probe, ProbeHandle},
    topology::{Cut, Nic, Port, Segment},
};
use serde_json::Value;

/// For what takes milliseconds, on a machine that is busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// So long without an answer at 1 kHz is the end of answering, not a stall.
pub(crate) const DARK: Duration = Duration::from_millis(300);
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
pub(crate) const NODE_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// Who asks in frames made by hand: not the client's interface, so that its kernel
/// takes no part.
pub(crate) const ASKER_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x42]);
pub(crate) const ASKER_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

/// A node that has its program at one hook, and a client.
pub(crate) struct Scene {
    pub(crate) hook: Hook,
    pub(crate) node: NetNs,
    pub(crate) client: NetNs,
    segment: Option<Segment>,
    port: Option<Port>,
    /// At the other end of the node's cable.
    peer: Option<Attached>,
}

impl Scene {
    /// Both on a switch.
    pub(crate) fn on_switch(hook: Hook) -> Self {
        Self::without_uplink(hook).plugged_in()
    }

    /// As [`Self::on_switch`], before the node has its uplink.
    pub(crate) fn without_uplink(hook: Hook) -> Self {
        Self::unplugged(hook, Some(Segment::new("LAN").unwrap()))
    }

    /// Gives the node its uplink.
    pub(crate) fn plugged_in(mut self) -> Self {
        self.plug_in();
        self
    }

    /// As [`Self::plugged_in`].
    pub(crate) fn plug_in(&mut self) {
        self.plug_in_as(UPLINK);
    }

    /// As [`Self::plug_in`], with an interface of another name.
    pub(crate) fn plug_in_as(&mut self, name: &str) {
        let nic = Nic { name, mac: NODE_MAC, address: Some((NODE_IP, 24)) };
        let segment = self.segment.as_mut().unwrap();
        let port = segment.attach(&self.node, &nic).unwrap();
        self.peer = peer_program(segment.switch(), port.interface(), self.hook);
        self.port = Some(port);
    }

    /// Pulls the cable of the node's uplink.
    pub(crate) fn cut(&self) {
        let (segment, port) = (self.segment.as_ref().unwrap(), self.port.as_ref().unwrap());
        segment.cut(port, Cut::Carrier).unwrap();
    }

    /// Undoes [`Self::cut`].
    pub(crate) fn restore(&self) {
        let (segment, port) = (self.segment.as_ref().unwrap(), self.port.as_ref().unwrap());
        segment.restore(port).unwrap();
    }

    fn unplugged(hook: Hook, mut segment: Option<Segment>) -> Self {
        netns::ensure_bpffs().unwrap();
        let node = NetNs::new("node").unwrap();
        let client = NetNs::new("client").unwrap();
        if let Some(segment) = &mut segment {
            let nic = Nic { name: CLIENT_NIC, mac: CLIENT_MAC, address: Some((CLIENT_IP, 24)) };
            segment.attach(&client, &nic).unwrap();
        }
        Self { hook, node, client, segment, port: None, peer: None }
    }

    /// One cable between them: a switch would drop some malformed frames, and keep VLAN
    /// tags beside the frame instead of in it.
    pub(crate) fn on_cable(hook: Hook) -> Self {
        let mut scene = Self::unplugged(hook, None);
        let client = scene.client.path();
        scene
            .node
            .ip(&format!(
                "link add {UPLINK} address {NODE_MAC} type veth \
                     peer name {CLIENT_NIC} address {CLIENT_MAC} netns {}\n\
                 address add {NODE_IP}/24 dev {UPLINK}\n\
                 link set {UPLINK} up\n",
                client.display()
            ))
            .unwrap();
        scene
            .client
            .ip(&format!("address add {CLIENT_IP}/24 dev {CLIENT_NIC}\nlink set {CLIENT_NIC} up\n"))
            .unwrap();
        scene.peer = peer_program(&scene.client, CLIENT_NIC, hook);
        for (ns, nic) in [(&scene.node, UPLINK), (&scene.client, CLIENT_NIC)] {
            wait_until_up(ns, nic);
        }
        scene
    }

    /// Starts the announcer for [`VIP`], and waits until it answers.
    pub(crate) fn answering(&self) -> Daemon {
        self.answering_with(&[])
    }

    /// As [`Self::answering`], with more flags.
    pub(crate) fn answering_with(&self, flags: &[&str]) -> Daemon {
        let capture = Capture::start(&self.client, CLIENT_NIC).unwrap();
        let daemon = static_vip(self.hook).args(flags).start(&self.node).unwrap();
        wait_for_announcement(&capture, &daemon);
        daemon
    }

    /// Gives the node another interface on the same switch.
    pub(crate) fn plug_in_too(&mut self, name: &str, mac: Mac) {
        let nic = Nic { name, mac, address: None };
        self.segment.as_mut().unwrap().attach(&self.node, &nic).unwrap();
    }

    /// Plugs another host into the switch, with this address on its interface.
    pub(crate) fn host(&mut self, label: &str, mac: Mac, address: Option<Ipv4Addr>) -> NetNs {
        let host = NetNs::new(label).unwrap();
        let nic = Nic { name: CLIENT_NIC, mac, address: address.map(|ip| (ip, 24)) };
        self.segment.as_mut().unwrap().attach(&host, &nic).unwrap();
        host
    }

    /// Asks for [`VIP`] at 1 kHz.
    pub(crate) fn probe(&self) -> ProbeHandle {
        Probe::new(VIP).start(&self.client, CLIENT_NIC).unwrap()
    }

    pub(crate) fn asker(&self) -> Asker {
        Asker::new(&self.client, CLIENT_NIC)
    }

    /// The program that comes first at the hook on the node's uplink.
    pub(crate) fn program(&self) -> Option<u32> {
        bpf::programs_at(&self.node, UPLINK, self.hook).unwrap().first().copied()
    }

    /// Sees what the program leaves to the node's kernel.
    pub(crate) fn kernel(&self) -> Kernel {
        Kernel::behind(&self.node, self.hook)
    }

    /// Where the daemon pins what belongs to the node's network namespace.
    pub(crate) fn pins(&self) -> PathBuf {
        format!("/sys/fs/bpf/announcer/{}", self.node.cookie()).into()
    }

    /// The pins of the node's uplink.
    pub(crate) fn uplink_pins(&self) -> PathBuf {
        let index = link(&self.node, UPLINK).pointer("/ifindex").unwrap().to_string();
        self.pins().join(index)
    }

    /// Marks [`VIP`] as silent, which a daemon writes for a VIP that another node holds.
    /// It must be in the map; a daemon that runs would write again what it thinks.
    pub(crate) fn silence(&self) {
        let map = self.uplink_pins().join("VIPS_DIRECT");
        let [a, b, c, d] = VIP.octets();
        let key = u32::from(u16::from_be_bytes([c, d])).to_ne_bytes();
        let key = key.map(|octet| octet.to_string());
        // valid_until 0, slot 0, the VIP's first octets, flags SILENT: little-endian.
        let silent: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, 2, 0];
        let silent = silent.map(|octet| octet.to_string());
        let entry: Vec<_> = ["map", "update", "pinned", map.to_str().unwrap(), "key"]
            .into_iter()
            .chain(key.iter().map(String::as_str))
            .chain(["value"])
            .chain(silent.iter().map(String::as_str))
            .chain(["exist"])
            .collect();
        self.node.tool("bpftool", &entry, "").unwrap();
    }

    /// Neither program nor pins are left.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.program(), None);
        assert!(!self.pins().exists(), "{} is left", self.pins().display());
    }
}

/// Native XDP on veth sends only where there is a program at the other end, `nic` of `ns`.
pub(crate) fn peer_program(ns: &NetNs, nic: &str, hook: Hook) -> Option<Attached> {
    let is_needed = hook == Hook::Native;
    is_needed.then(|| Attached::pass_all(ns, nic, "peer", hook).unwrap())
}

/// `announcer run` for [`VIP`] on the uplink, at this hook.
pub(crate) fn static_vip(hook: Hook) -> DaemonBuilder {
    let vip = VIP.to_string();
    DaemonBuilder::run(UPLINK).unwrap().args(["--static-vip", &vip, "--hook", hook.flag()])
}

/// Records what comes in by the uplink and gets past the hook. A packet socket sees it
/// there, but before tcx: behind tcx another program sends copies to a place of their own.
pub(crate) struct Kernel {
    capture: Capture,
    _mirror: Option<Attached>,
}

impl Kernel {
    fn behind(node: &NetNs, hook: Hook) -> Self {
        match hook {
            Hook::Tcx => Self::at_tcx(node),
            Hook::Generic | Hook::Native => {
                Self { capture: Capture::start(node, UPLINK).unwrap(), _mirror: None }
            }
        }
    }

    /// As a program at tcx sees it that comes last there.
    pub(crate) fn at_tcx(node: &NetNs) -> Self {
        node.ip("link add copies mtu 9000 type veth peer name seen mtu 9000\n\
             link set copies up\nlink set seen up\n")
            .unwrap();
        wait_until_up(node, "copies");
        let capture = Capture::start(node, "seen").unwrap();
        Self { capture, _mirror: Some(Attached::mirror(node, UPLINK, "copies").unwrap()) }
    }

    /// As [`Capture::wait_for_many`].
    pub(crate) fn wait_for_many(
        &self,
        n: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let is_wanted = |frame: &Frame| !frame.outgoing && wanted(&frame.bytes);
        let frames = self.capture.wait_for_many(n, SOON, is_wanted)?;
        Ok(frames.into_iter().map(|frame| frame.bytes).collect())
    }

    /// Waits until it has got this frame.
    pub(crate) fn wait_for(&self, frame: &[u8]) -> anyhow::Result<()> {
        self.wait_for_many(1, |bytes| bytes == frame).map(drop)
    }

    /// How often it has got this frame so far.
    pub(crate) fn count(&self, frame: &[u8]) -> usize {
        let frames = self.capture.frames();
        frames.iter().filter(|seen| !seen.outgoing && seen.bytes == frame).count()
    }
}

/// Asserts that it has refused to run because somebody is there (exit code 5), and said all of `why`.
pub(crate) fn assert_refused(mut daemon: Daemon, why: &[&str]) {
    let code = daemon.wait_exit(SOON).unwrap().code();
    let said = daemon.print();
    assert_eq!(code, Some(5), "{said}");
    for part in why {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

/// Until then the kernel silently drops what is sent.
fn wait_until_up(ns: &NetNs, nic: &str) {
    let deadline = Instant::now() + SOON;
    while link(ns, nic).pointer("/operstate") != Some(&Value::from("UP")) {
        assert!(Instant::now() < deadline, "{nic} of {ns:?} is not up");
    }
}

/// What `ip` says about an interface.
pub(crate) fn link(ns: &NetNs, nic: &str) -> Value {
    let links = ns.tool("ip", &["-json", "-details", "link", "show", "dev", nic], "").unwrap();
    let links: Value = serde_json::from_str(&links).unwrap();
    links.pointer("/0").cloned().unwrap()
}

/// Waits for the first gratuitous ARP for [`VIP`]: the maps are written before it is
/// sent, so whoever hears it is answered.
pub(crate) fn wait_for_announcement(capture: &Capture, daemon: &Daemon) {
    let heard = capture.wait_for(SOON, is_announcement);
    assert!(heard.is_ok(), "{heard:?}\n{}", daemon.print());
}

/// A gratuitous ARP for [`VIP`] that came in.
pub(crate) fn is_announcement(frame: &Frame) -> bool {
    let is_own = |arp: ArpFrame| arp.is_announcement() && arp.sender_ip == VIP;
    !frame.outgoing && frame.arp().is_some_and(is_own)
}

/// The request that an asker of these tests sends.
pub(crate) fn request() -> ArpFrame {
    ArpFrame::request(ASKER_MAC, ASKER_IP, VIP)
}

/// What RFC 826 says the answer to `request` is, from [`NODE_MAC`]; of the same
/// length, with everything after the ARP packet untouched.
pub(crate) fn reply_to(request: &[u8]) -> Vec<u8> {
    let asked = ArpFrame::parse(request).unwrap();
    let reply = ArpFrame {
        destination: asked.sender_mac,
        source: NODE_MAC,
        tags: asked.tags,
        op: Op::Reply,
        sender_mac: NODE_MAC,
        sender_ip: asked.target_ip,
        target_mac: asked.sender_mac,
        target_ip: asked.sender_ip,
    };
    let mut bytes = reply.to_bytes();
    bytes.extend(&request[bytes.len()..]);
    bytes
}

/// Sends frames made by hand, and sees every frame that comes back.
pub(crate) struct Asker {
    injector: Injector,
    fragmenter: Fragmenter,
    capture: Capture,
    seen: Cell<usize>,
    sentinels: Cell<u8>,
}

impl Asker {
    pub(crate) fn new(ns: &NetNs, nic: &str) -> Self {
        Self {
            injector: Injector::open(ns, nic).unwrap(),
            fragmenter: Fragmenter::open(ns, nic).unwrap(),
            capture: Capture::start(ns, nic).unwrap(),
            seen: Cell::new(0),
            sentinels: Cell::new(0),
        }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.injector.send(frame).unwrap();
    }

    /// Sends `frame` and waits for an answer.
    pub(crate) fn answer_to(&self, frame: &[u8]) -> Vec<u8> {
        let answers = self.all_answers_to([frame]);
        let [answer] = &answers[..] else { panic!("{answers:02x?} to {frame:02x?}") };
        answer.clone()
    }

    /// As [`Self::answer_to`], but only the first `linear` octets are in one piece.
    pub(crate) fn answer_to_fragmented(&self, frame: &[u8], linear: u16) -> Vec<u8> {
        self.fragmenter.send(frame, linear).unwrap();
        let answers = self.all_answers_to([]);
        let [answer] = &answers[..] else { panic!("{answers:02x?} to {frame:02x?}") };
        answer.clone()
    }

    /// Sends `frames`, then a plain request, waits for the answer to that, which proves
    /// that the wire has come to rest, and returns everything else that came back.
    pub(crate) fn all_answers_to<'a>(
        &self,
        frames: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Vec<u8>> {
        for frame in frames {
            self.send(frame);
        }
        let number = self.sentinels.get();
        self.sentinels.set(number.checked_add(1).unwrap());
        let ip = Ipv4Addr::new(198, 51, 100, number);
        let sentinel = ArpFrame::request(ASKER_MAC, ip, VIP).to_padded_bytes();
        self.send(&sentinel);
        let last = reply_to(&sentinel);
        self.capture.wait_for(SOON, |frame| frame.bytes == last).unwrap();
        let frames = self.capture.frames();
        let from = self.seen.replace(frames.len());
        let came = frames.iter().skip(from).filter(|f| !f.outgoing && !is_announcement(f));
        came.map(|frame| frame.bytes.clone()).filter(|bytes| *bytes != last).collect()
    }
}

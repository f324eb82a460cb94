//! Wires from one client, alike but for the station at the far end: for each hook one where
//! the announcer answers and one where an empty program passes everything; one where the
//! kernel answers for an address of its own, and one where the station is switched off.

use std::{net::Ipv4Addr, time::Duration};

use announcer_tests::{
    arp::{ArpFrame, Mac},
    bpf::{self, Attached, Hook, Program},
    daemon::{Daemon, DaemonBuilder},
    lab::UPLINK,
    netns::{self, NetNs},
    probe::{Probe, ProbeHandle},
};
use anyhow::{Context, Result};

use super::{echo, flood::Flood};

/// As many VIPs as a middling cluster has; the last octets from 10 on.
const VIPS: u8 = 100;
/// The one that is asked for.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The far station's own address, the same on each wire.
pub(crate) const STATION: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
const STATION_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// Nobody's address, and no VIP.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
/// Like [`VIP`] in its last 16 bits.
const LOOKALIKE: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 10);
/// The client that floods.
pub(crate) const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The kernel makes a neighbour entry for everybody who asks it, in a table of about
/// 1,000: so the same few ask it all the time.
const ASKERS: u32 = 64;
/// Not the MAC of the client's interface: its kernel ignores the answers.
const ASKER_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0xa5]);
/// Who pings; a kernel that answers knows where it is.
const PINGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const CLIENT_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0xc1]);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Both forms, five rounds.
const ANNOUNCEMENTS: usize = 10;

/// The first is what `--hook auto` takes on veth.
pub(crate) const HOOKS: [Hook; 3] = [Hook::Tcx, Hook::Generic, Hook::Native];

/// The wires, with everything attached and running.
pub(crate) struct Wires {
    pub(crate) hooks: [AtHook; 3],
    pub(crate) kernel: Wire,
    /// What is sent here ends in the client's own driver.
    pub(crate) off: Wire,
}

/// What is measured at one hook.
pub(crate) struct AtHook {
    pub(crate) hook: Hook,
    pub(crate) announcer: Wire,
    pub(crate) empty: Wire,
    pub(crate) announcer_program: Program,
    pub(crate) empty_program: Attached,
    _daemon: Daemon,
    /// At the client's end, without which native XDP on veth sends nothing.
    _peer: Option<Attached>,
}

/// A client's interface and, at the other end of its cable, a station: without a switch,
/// whose part would only blur the comparison.
pub(crate) struct Wire {
    client: NetNs,
    nic: &'static str,
    /// Whom to ask for to be answered.
    answered: Ipv4Addr,
    station: NetNs,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// An ARP request that is answered.
    Request,
    /// An ARP request for somebody else.
    OtherRequest,
    /// The same, for an address that ends in the same 16 bits as a VIP: the program's
    /// filter cannot tell them apart.
    Lookalike,
    /// An ARP reply of others.
    OtherReply,
    /// A TCP segment in the shortest frame there is.
    Tcp,
    /// An ICMP echo request that is answered.
    Ping,
}

impl Wires {
    pub(crate) fn new() -> Result<Self> {
        netns::ensure_bpffs()?;
        let client = NetNs::new("client")?;
        let kernel = Wire::new(&client, "kernel", STATION)?;
        let off = Wire::new(&client, "off", STATION)?;
        off.station.ip(&format!("link set {UPLINK} down"))?;
        let [tcx, generic, native] = HOOKS;
        let hooks = [
            AtHook::new(&client, tcx, ["tcx", "tcx-empty"])?,
            AtHook::new(&client, generic, ["generic", "generic-empty"])?,
            AtHook::new(&client, native, ["native", "native-empty"])?,
        ];
        Ok(Self { hooks, kernel, off })
    }

    /// The announcer's, at each hook.
    pub(crate) fn announcers(&self) -> impl Iterator<Item = &Wire> {
        self.hooks.iter().map(|at| &at.announcer)
    }
}

impl AtHook {
    fn new(client: &NetNs, hook: Hook, nics: [&'static str; 2]) -> Result<Self> {
        let announcer = Wire::new(client, nics[0], VIP)?;
        let empty = Wire::new(client, nics[1], STATION)?;
        let peer = announcer.peer_for(hook)?;
        let [a, b, c, first] = VIP.octets();
        let vips: Vec<_> = (0..VIPS).map(|n| format!("{a}.{b}.{c}.{}", first + n)).collect();
        let probe = announcer.probe()?;
        let daemon = DaemonBuilder::run(UPLINK)?
            .args(["--hook", hook.flag(), "--static-vip", &vips.join(",")])
            .start(&announcer.station)?;
        // When it has announced itself for the last time, it is at rest.
        probe.wait_announcements(ANNOUNCEMENTS, PATIENCE, |_| true)?;
        probe.wait_answer_by(STATION_MAC, PATIENCE)?;
        drop(probe);
        Ok(Self {
            hook,
            announcer_program: announcer.program(hook)?,
            empty_program: empty.attach_empty(hook)?,
            announcer,
            empty,
            _daemon: daemon,
            _peer: peer,
        })
    }
}

impl Wire {
    pub(crate) fn new(client: &NetNs, nic: &'static str, answered: Ipv4Addr) -> Result<Self> {
        let station = NetNs::new(format!("station {nic}"))?;
        client.ip(&format!(
            "link add {nic} address {CLIENT_MAC} type veth \
                 peer name {UPLINK} address {STATION_MAC} netns {}\n\
             link set {nic} up\n",
            station.path().display()
        ))?;
        // A kernel answers only whom it has a route to: the probe asks from afar.
        station.ip(&format!(
            "address add {STATION}/24 dev {UPLINK}\n\
             link set {UPLINK} up\n\
             route add default via {ASKER} dev {UPLINK}\n\
             neighbour add {PINGER} lladdr {ASKER_MAC} nud permanent dev {UPLINK}\n"
        ))?;
        Ok(Self { client: client.clone(), nic, answered, station })
    }

    /// At the client's end, for the one hook that needs it: without a program there, native
    /// XDP on veth sends nothing.
    pub(crate) fn peer_for(&self, hook: Hook) -> Result<Option<Attached>> {
        let attach = || Attached::pass_all(&self.client, self.nic, "bench_peer", hook);
        (hook == Hook::Native).then(attach).transpose()
    }

    /// The announcer's program at the station.
    pub(crate) fn program(&self, hook: Hook) -> Result<Program> {
        let programs = bpf::programs_at(&self.station, UPLINK, hook)?;
        Program::with_id(*programs.first().context("the announcer is not attached")?)
    }

    /// Puts a program that does nothing at the station.
    pub(crate) fn attach_empty(&self, hook: Hook) -> Result<Attached> {
        Attached::pass_all(&self.station, UPLINK, "bench_empty", hook)
    }

    pub(crate) const fn client(&self) -> &NetNs {
        &self.client
    }

    pub(crate) const fn station(&self) -> &NetNs {
        &self.station
    }

    /// Asks the station, 1000 times a second.
    pub(crate) fn probe(&self) -> Result<ProbeHandle> {
        Probe::new(self.answered).askers(ASKERS).start(&self.client, self.nic)
    }

    pub(crate) fn flood(&self) -> Result<Flood<'_>> {
        Flood::on(&self.client, self.nic)
    }

    pub(crate) fn frame(&self, frame: Frame) -> Vec<u8> {
        match frame {
            Frame::Request => arp(self.answered),
            Frame::OtherRequest => arp(NOBODY),
            Frame::Lookalike => arp(LOOKALIKE),
            Frame::OtherReply => {
                ArpFrame::reply(ASKER_MAC, ASKER, STATION_MAC, STATION).to_padded_bytes()
            }
            Frame::Tcp => tcp(),
            Frame::Ping => {
                echo::request((ASKER_MAC, PINGER), (STATION_MAC, self.answered)).to_vec()
            }
        }
    }
}

pub(crate) fn arp(target: Ipv4Addr) -> Vec<u8> {
    ArpFrame::request(ASKER_MAC, ASKER, target).to_padded_bytes()
}

/// An IPv4 packet with TCP to the station. Its checksum is wrong, so that the kernel's
/// part ends soon after the program's.
fn tcp() -> Vec<u8> {
    let mut frame = [STATION_MAC.0, ASKER_MAC.0].concat();
    frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(ASKER.octets());
    frame.extend(STATION.octets());
    frame.resize(60, 0);
    frame
}

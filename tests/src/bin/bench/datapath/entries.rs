//! How the cost of a frame grows with the number of VIPs.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_tests::{
    bpf::{Attached, Hook, Program, Statistics},
    daemon::{Daemon, DaemonBuilder},
    lab::UPLINK,
    netns::NetNs,
};
use anyhow::{Context, Result, ensure};

use super::{
    Extent, ns_each,
    wires::{HOOKS, PATIENCE, STATION, Wire, arp},
};
use crate::{
    interrupt,
    plot::Plot,
    progress,
    report::{Cell, Measured, Row, Table},
    samples::Samples,
};

const SIZES: [(u32, &str, &str); 3] =
    [(1, "1", "one"), (5_000, "5,000", "some"), (60_000, "60,000", "many")];
/// The most that the last may cost, in times the first.
const GOAL: f64 = 2.3;
/// From here on, in a /16 of which the first four /24 are nobody's.
const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(10, 64, 4, 0);
const UNUSED: u32 = 4 * 256;
/// The station's address in that /16.
const IN_THE_NETWORK: &str = "10.64.0.1/16";
/// In one argument, which has at most 128 KiB.
const CHUNK: usize = 5_000;
/// A prime number that divides no size: each VIP in turn, and never the neighbour next.
const STRIDE: u32 = 7919;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Each VIP in turn.
    Vip,
    /// The same VIP every time.
    OneVip,
    /// In the network of the VIPs.
    Nobody,
    /// Another network's, with the last 16 bits of a VIP.
    Lookalike,
}

const TARGETS: [(&str, Target); 4] = [
    ("answered", Target::Vip),
    ("answered, always the same", Target::OneVip),
    ("for others", Target::Nobody),
    ("ends like a VIP", Target::Lookalike),
];

/// An announcer with so many VIPs.
struct Size {
    vips: u32,
    wire: Wire,
    program: Program,
    /// How many frames it has been sent.
    sent: u32,
    _daemon: Daemon,
    _peer: Option<Attached>,
}

impl Target {
    /// The address in frame number `n`.
    fn address(self, n: u32, vips: u32) -> Ipv4Addr {
        let nth = |base: u32, size: u32| {
            let nth = u64::from(n) * u64::from(STRIDE) % u64::from(size);
            // Below `size`.
            Ipv4Addr::from(base + u32::try_from(nth).unwrap_or(0))
        };
        let first = u32::from(FIRST_VIP);
        match self {
            Self::Vip => nth(first, vips),
            Self::OneVip => Ipv4Addr::from(first + vips / 2),
            Self::Nobody => nth(first - UNUSED, UNUSED),
            Self::Lookalike => nth(first + (1 << 16), vips),
        }
    }
}

pub(super) fn measure(extent: &Extent) -> Result<Measured> {
    let columns = SIZES.map(|(_, column, _)| column).into_iter().chain(["times"]);
    let title = "ns an ARP request in the program as VIPs become more, net of an empty program";
    let mut table = Table::new(title, columns).legend(format!(
        "requests go round all, once before it counts; medians of {} rounds of {} frames; \
         times: the last of the first",
        extent.rounds, extent.frames
    ));
    for hook in HOOKS {
        for (name, net) in at(hook, extent)? {
            let medians = net.iter().map(Samples::median).collect::<Vec<_>>();
            let mut cells: Vec<_> = net.iter().map(Cell::median).collect();
            cells.push(Cell::from(growth(&medians)).at_most(GOAL));
            table.rows.push(Row::new(format!("{hook}: {name}"), cells));
        }
    }
    let plots = vec![Plot::lines("entries", &table, SIZES.len())];
    Ok(Measured { plots, ..table.into() })
}

/// The last in times the first, if there was a first.
fn growth(costs: &[f64]) -> Option<f64> {
    let (first, last) = costs.first().zip(costs.last())?;
    (*first > 0.0).then(|| last / first)
}

/// For each target, what it costs with each size.
fn at(hook: Hook, extent: &Extent) -> Result<Vec<(&'static str, Vec<Samples>)>> {
    progress(&format!("1 to 60,000 VIPs at {hook}"));
    let client = NetNs::new("client")?;
    let mut sizes = SIZES
        .into_iter()
        .map(|(vips, _, nic)| Size::new(&client, vips, nic, hook))
        .collect::<Result<Vec<_>>>()?;
    let empty_wire = Wire::new(&client, "empty", STATION)?;
    let empty_program = empty_wire.attach_empty(hook)?;
    let empty_flood = empty_wire.flood()?;
    let _counted = Statistics::enable()?;
    let mut net = TARGETS.map(|_| SIZES.map(|_| Vec::new()));
    let count = extent.frames;
    for _ in 0..extent.rounds {
        interrupt::check()?;
        for ((_, target), net) in TARGETS.into_iter().zip(&mut net) {
            for (size, net) in sizes.iter_mut().zip(net) {
                let first = size.sent;
                size.sent = first.wrapping_add(count);
                let frames = || (0..count).map(|n| size.request(target, first.wrapping_add(n)));
                let empty = ns_each(empty_program.program(), count, || {
                    frames().try_for_each(|frame| empty_flood.send(&frame))
                })?;
                let flood = size.wire.flood()?;
                // What caches can hold of one VIP, they hold of many, as far as there is room.
                (0..size.vips).try_for_each(|n| flood.send(&size.request(target, n)))?;
                let full = ns_each(&size.program, count, || {
                    frames().try_for_each(|frame| flood.send(&frame))
                })?;
                net.push(full - empty);
            }
        }
    }
    let samples = |net: [Vec<f64>; SIZES.len()]| net.into_iter().map(Samples::new).collect();
    let named = TARGETS.into_iter().zip(net).map(|((name, _), net)| {
        let samples: Option<Vec<_>> = samples(net);
        Ok((name, samples.context("there are no rounds")?))
    });
    named.collect()
}

impl Size {
    fn new(client: &NetNs, vips: u32, nic: &'static str, hook: Hook) -> Result<Self> {
        let wire = Wire::new(client, nic, FIRST_VIP)?;
        wire.station().ip(&format!("address add {IN_THE_NETWORK} dev {UPLINK}"))?;
        let peer = wire.peer_for(hook)?;
        let addresses: Vec<_> =
            (0..vips).map(|n| Ipv4Addr::from(u32::from(FIRST_VIP) + n).to_string()).collect();
        // At rest from the start: it neither announces nor renews while it is measured.
        let rest = [
            "--announce-rate=1",
            "--refresh-interval=0s",
            "--lease-duration=1h",
            "--renew-interval=20m",
        ];
        let daemon = DaemonBuilder::run(UPLINK)?
            .args(["--hook", hook.flag(), "--max-vips", &vips.max(8192).to_string()])
            .args(rest)
            .args(addresses.chunks(CHUNK).map(|chunk| format!("--static-vip={}", chunk.join(","))))
            .start(wire.station())?;
        wire.probe()?.wait_first_answer(PATIENCE).with_context(|| daemon.print())?;
        let program = wire.program(hook)?;
        let size = Self { vips, wire, program, sent: 0, _daemon: daemon, _peer: peer };
        size.wait_all_answered()?;
        Ok(size)
    }

    fn request(&self, target: Target, n: u32) -> Vec<u8> {
        arp(target.address(n, self.vips))
    }

    /// The map is filled VIP by VIP.
    fn wait_all_answered(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let flood = self.wire.flood()?;
        loop {
            let before = flood.received()?;
            (0..self.vips).try_for_each(|n| flood.send(&self.request(Target::Vip, n)))?;
            let answers = flood.received()?.saturating_sub(before);
            // Some may be lost, when the kernel's backlog is full.
            if answers * 1000 >= u64::from(self.vips) * 999 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "only {answers} of {} VIPs answer", self.vips);
            interrupt::pause(Duration::from_millis(200))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn requests_go_round_all_vips_of_each_size() {
        for (vips, ..) in SIZES {
            let asked: BTreeSet<_> = (0..vips).map(|n| Target::Vip.address(n, vips)).collect();
            assert_eq!(asked.len(), vips as usize);
            assert_eq!(asked.first(), Some(&FIRST_VIP));
        }
    }

    #[test]
    fn targets_are_told_apart_as_they_should() {
        let vips: BTreeSet<_> = (0..60_000).map(|n| Target::Vip.address(n, 60_000)).collect();
        let last_two = |address: &Ipv4Addr| (address.octets()[2], address.octets()[3]);
        let ends: BTreeSet<_> = vips.iter().map(last_two).collect();
        assert_eq!(ends.len(), vips.len(), "all within one /16");
        for n in 0..5000 {
            let nobody = Target::Nobody.address(n, 60_000);
            assert!(!ends.contains(&last_two(&nobody)), "{nobody}");
            let lookalike = Target::Lookalike.address(n, 60_000);
            assert!(!vips.contains(&lookalike) && ends.contains(&last_two(&lookalike)));
        }
    }

    #[test]
    fn growth_is_from_the_first_to_the_last() {
        assert_eq!(growth(&[50.0, 60.0, 100.0]), Some(2.0));
        assert_eq!(growth(&[0.0, 60.0]), None);
        assert_eq!(growth(&[]), None);
    }
}

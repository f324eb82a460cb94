//! Asking for thousands of VIPs until each has been answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use announcer_tests::{
    arp::{ArpFrame, ETH_P_ARP, Mac, Op},
    netns::NetNs,
    packet_socket::PacketSocket,
};
use anyhow::{Result, bail};

use crate::{interrupt, progress};

/// Between two requests. With 5,000 VIPs left each is asked for once a second; the fewer
/// are left, the oftener.
const PACE: Duration = Duration::from_micros(200);
/// Requests between two looks at what came in.
const BATCH: usize = 16;
/// Each VIP is asked for at most this often.
const ROUND: Duration = Duration::from_millis(20);
const STATION: Mac = Mac([0x02, 0, 0, 0xb0, 0, 1]);
/// RFC 2544: benchmarks.
const ASKER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Who answered first for each VIP, and when.
#[derive(Debug)]
pub(super) struct Swept(BTreeMap<Ipv4Addr, (Instant, Mac)>);

/// Asks on `nic` of `ns` until each of `vips` has been answered.
///
/// # Errors
/// Some were not within `within`.
pub(super) fn until_answered(
    ns: &NetNs,
    nic: &str,
    vips: &[Ipv4Addr],
    within: Duration,
) -> Result<Swept> {
    let incoming = PacketSocket::open(ns, nic, ETH_P_ARP)?;
    incoming.set_promiscuous()?;
    let outgoing = PacketSocket::open(ns, nic, 0)?;
    let (began, mut told) = (Instant::now(), Instant::now());
    let mut left: BTreeSet<_> = vips.iter().copied().collect();
    let mut answered = BTreeMap::new();
    while !left.is_empty() {
        interrupt::check()?;
        let round = Instant::now();
        let asked: Vec<_> = left.iter().copied().collect();
        for batch in asked.chunks(BATCH) {
            for &vip in batch {
                let frame = ArpFrame::request(STATION, ASKER, vip).to_padded_bytes();
                outgoing.send(&frame)?;
            }
            thread::sleep(PACE * u32::try_from(batch.len())?);
            take(&incoming, &mut left, &mut answered)?;
        }
        thread::sleep((round + ROUND).saturating_duration_since(Instant::now()));
        take(&incoming, &mut left, &mut answered)?;
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            progress(&format!("  {} of {} answered", answered.len(), vips.len()));
        }
        if began.elapsed() > within {
            bail!("{} of {} VIPs are not answered after {within:?}", left.len(), vips.len());
        }
    }
    Ok(Swept(answered))
}

fn take(
    socket: &PacketSocket,
    left: &mut BTreeSet<Ipv4Addr>,
    answered: &mut BTreeMap<Ipv4Addr, (Instant, Mac)>,
) -> Result<()> {
    let mut buffer = [0; 2048];
    while let Some(received) = socket.receive(&mut buffer)? {
        let Some(arp) = buffer.get(..received.len).and_then(ArpFrame::parse) else { continue };
        let reply = arp.op == Op::Reply && arp.target_mac == STATION;
        if reply && left.remove(&arp.sender_ip) {
            answered.insert(arp.sender_ip, (received.at, arp.sender_mac));
        }
    }
    Ok(())
}

impl Swept {
    /// Seconds from `began` until `part` (0 to 1) of the VIPs had been answered.
    pub(super) fn seconds(&self, began: Instant, part: f64) -> f64 {
        let mut at: Vec<_> = self.0.values().map(|(at, _)| *at).collect();
        at.sort_unstable();
        // Within the length, which is not 0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to length")]
        let rank = (at.len() as f64 * part).ceil() as usize;
        let at = at.get(rank.max(1) - 1).copied();
        at.map_or(f64::NAN, |at| at.saturating_duration_since(began).as_secs_f64())
    }
}

//! Asks for many addresses at once: who answers for which, at one time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    arp::{ArpFrame, Mac, Op},
    capture::{Capture, Injector},
    netns::NetNs,
    probe::station,
};

/// Each address is asked for so often: a frame may be lost on a busy machine.
const ROUNDS: usize = 3;
/// Between two rounds, and after the last. That nobody answers is no event: this is a
/// wait by time. A reply takes well under a millisecond.
const PAUSE: Duration = Duration::from_millis(100);
/// RFC 2544, as the askers of [`crate::probe`].
const ASKER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Everybody who answers for each of `vips`, asked on `ifname` of `ns`.
///
/// # Errors
/// No such interface; no CAP_NET_RAW.
pub fn sweep(
    ns: &NetNs,
    ifname: &str,
    vips: impl IntoIterator<Item = Ipv4Addr>,
) -> Result<BTreeMap<Ipv4Addr, BTreeSet<Mac>>> {
    let mut answerers: BTreeMap<_, BTreeSet<_>> =
        vips.into_iter().map(|vip| (vip, BTreeSet::new())).collect();
    let station = station();
    let capture = Capture::start(ns, ifname)?;
    let injector = Injector::open(ns, ifname)?;
    for _ in 0..ROUNDS {
        for &vip in answerers.keys() {
            injector.send(&ArpFrame::request(station, ASKER, vip).to_padded_bytes())?;
        }
        thread::sleep(PAUSE);
    }
    for arp in capture.stop()?.iter().filter_map(|frame| frame.arp()) {
        if arp.op == Op::Reply
            && arp.target_mac == station
            && let Some(macs) = answerers.get_mut(&arp.sender_ip)
        {
            macs.insert(arp.sender_mac);
        }
    }
    Ok(answerers)
}

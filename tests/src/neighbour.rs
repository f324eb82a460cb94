//! A host's neighbour table: to which MAC its kernel would send.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    arp::Mac,
    netlink::{Changes, Group},
    netns::NetNs,
};

/// RFC 863: nobody answers.
const DISCARD: u16 = 9;

/// The MAC that the neighbour table of `ns` has for `ip`; `None` when it has none.
///
/// # Errors
/// Those of `ip`.
pub fn mac_of(ns: &NetNs, ip: Ipv4Addr) -> Result<Option<Mac>> {
    let args = ["-json", "neigh", "show", "to", &ip.to_string()];
    let entries: Value = serde_json::from_str(&ns.tool("ip", &args, "")?)?;
    let mac = entries.pointer("/0/lladdr").and_then(Value::as_str);
    mac.map(|mac| mac.parse().with_context(|| format!("{mac:?} in a neighbour table"))).transpose()
}

/// Makes the kernel of `ns` ask for `ip`, as any traffic would, and waits until its
/// neighbour table has the answer.
///
/// # Errors
/// Nobody answered within `within`, or there is no route.
pub fn resolve(ns: &NetNs, ip: Ipv4Addr, within: Duration) -> Result<Mac> {
    let changes = Changes::subscribe(ns, Group::Neighbours)?;
    ns.run(|| Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", (ip, DISCARD))?))?;
    changes
        .wait(within, || mac_of(ns, ip))?
        .with_context(|| format!("nobody told {ns:?} the MAC of {ip} within {within:?}"))
}

/// Waits until the neighbour table of `ns` has `mac` for `ip`, without any traffic of
/// its own: whatever changes the entry came from somebody else.
///
/// # Errors
/// It did not within `within`; the error says what it had instead.
pub fn wait_for_mac(ns: &NetNs, ip: Ipv4Addr, mac: Mac, within: Duration) -> Result<()> {
    let changes = Changes::subscribe(ns, Group::Neighbours)?;
    let found = changes.wait(within, || Ok((mac_of(ns, ip)? == Some(mac)).then_some(())))?;
    found.with_context(|| {
        let instead = mac_of(ns, ip).ok().flatten();
        format!("{ns:?} has {instead:?} for {ip}, not {mac}, after {within:?}")
    })
}

/// Waits until the entry for `ip` in the neighbour table of `ns` is in a state, such as
/// `REACHABLE`.
///
/// # Errors
/// It was not within `within`; the error says what there was instead.
pub fn wait_for_state(ns: &NetNs, ip: Ipv4Addr, state: &str, within: Duration) -> Result<()> {
    let changes = Changes::subscribe(ns, Group::Neighbours)?;
    let show = || ns.tool("ip", &["-json", "neigh", "show", "to", &ip.to_string()], "");
    let found = changes.wait(within, || {
        let entries: Value = serde_json::from_str(&show()?)?;
        Ok((entries.pointer("/0/state/0").and_then(Value::as_str) == Some(state)).then_some(()))
    })?;
    found.with_context(|| format!("not {state} within {within:?}: {}", show().unwrap_or_default()))
}

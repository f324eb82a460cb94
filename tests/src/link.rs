//! The state of a host's interface, as its kernel tells everybody.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    netlink::{Changes, Group},
    netns::NetNs,
};

/// Waits until the kernel of `ns` says that `interface` has lost its carrier, and returns an
/// instant by which it had.
///
/// # Errors
/// It did not within `within`; those of `ip`.
pub fn wait_for_lost_carrier(ns: &NetNs, interface: &str, within: Duration) -> Result<Instant> {
    let changes = Changes::subscribe(ns, Group::Links)?;
    let lost = || {
        let links = ns.tool("ip", &["-json", "link", "show", "dev", interface], "")?;
        let links: Value = serde_json::from_str(&links)?;
        let flags = links.pointer("/0/flags").and_then(Value::as_array);
        let has_lost = flags.is_some_and(|flags| flags.iter().any(|flag| flag == "NO-CARRIER"));
        Ok(has_lost.then(Instant::now))
    };
    let found = changes.wait(within, lost)?;
    found.with_context(|| format!("{interface} of {ns:?} has its carrier after {within:?}"))
}

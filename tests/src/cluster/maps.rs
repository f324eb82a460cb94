//! What the maps of a node's XDP programs say of VIPs, without its announcer.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Cluster;
use crate::daemon;

/// What a node does with ARP requests for a VIP that is in its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapEntry {
    /// It answers them.
    Answering,
    /// It would, had anybody prolonged the entry; it drops them.
    Expired,
    /// It drops them: held elsewhere, or by nobody.
    Silent,
}

impl Cluster {
    /// The VIPs in the maps of node `n`, by interface, as `announcer status` prints them.
    ///
    /// # Errors
    /// There is no announcer binary, or its output is not understood.
    pub fn maps(&self, n: usize) -> Result<BTreeMap<String, BTreeMap<Ipv4Addr, MapEntry>>> {
        let binary = daemon::binary()?;
        let args = ["status", "--output", "json"];
        let output = self.lab.node(n).ns.tool(&binary.to_string_lossy(), &args, "")?;
        let status: Value = serde_json::from_str(&output)?;
        let interfaces = status["interfaces"].as_array().context("no interfaces in the status")?;
        interfaces
            .iter()
            .map(|interface| {
                let name = interface["interface"].as_str().unwrap_or_default();
                let vips = interface["vips"].as_array();
                let vips = vips.with_context(|| format!("no VIPs of {name:?} in: {output}"))?;
                let entries = vips.iter().map(entry).collect::<Result<_>>()?;
                Ok((name.to_owned(), entries))
            })
            .collect()
    }
}

fn entry(vip: &Value) -> Result<(Ipv4Addr, MapEntry)> {
    let state = match vip["state"].as_str() {
        Some("answering") => MapEntry::Answering,
        Some("expired") => MapEntry::Expired,
        Some("silent") => MapEntry::Silent,
        _ => bail!("not a VIP of a status: {vip}"),
    };
    Ok((vip["vip"].as_str().unwrap_or_default().parse()?, state))
}

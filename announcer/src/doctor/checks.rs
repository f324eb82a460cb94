//! What the facts mean: pure, a file for each group.

mod cluster;
mod hooks;
mod interface;
mod kernel;
mod machine;
mod permissions;
mod sysctls;

use super::{
    facts::{Facts, Network},
    report::{Finding, Group},
};
use crate::{
    config::InterfacePattern,
    uplink::{self, Uplink},
};

/// Every finding.
pub fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = kernel::checks(facts);
    findings.extend(permissions::checks(facts));
    match &facts.network {
        Ok(network) => {
            findings.extend(interface::checks(facts, network));
            findings.extend(sysctls::checks(network));
        }
        Err(error) => findings.push(Finding::failure(
            Group::Network,
            "interfaces",
            format!("the kernel does not tell: {error}"),
            "run it outside of a sandbox that forbids netlink sockets",
        )),
    }
    findings.extend(machine::checks(facts));
    findings.extend(cluster::checks(facts, facts.cluster.as_ref()));
    findings
}

/// The interfaces that are meant and exist, by the daemon's own rules.
fn uplinks(facts: &Facts, network: &Network) -> Result<Vec<Uplink>, String> {
    let patterns = facts.settings.interfaces.iter().map(|text| text.parse());
    let patterns: Vec<InterfacePattern> = patterns
        .collect::<Result<_, crate::config::InterfacePatternError>>()
        .map_err(|e| e.to_string())?;
    let uplinks = uplink::resolve(&network.snapshot, &patterns)?;
    Ok(uplinks.into_values().collect())
}

#[cfg(test)]
mod tests;

//! The network namespace: interfaces, hooks, addresses, settings.

use std::collections::{BTreeMap, BTreeSet};

use super::host;
use crate::{
    causes::with_causes,
    config::InterfacePattern,
    datapath::{
        netlink::{InterfaceFacts, Netlink, Snapshot},
        survey::{self, Found},
    },
    doctor::facts::Network,
    uplink,
};

/// Settings of an interface that bear on ARP and on what comes back.
const SYSCTLS: [&str; 6] =
    ["arp_ignore", "arp_announce", "arp_filter", "rp_filter", "proxy_arp", "proxy_arp_pvlan"];

pub(super) async fn network(patterns: &[InterfacePattern]) -> Found<Network> {
    let netlink = Netlink::connect().map_err(|error| with_causes(&error))?;
    let snapshot = netlink.snapshot().await.map_err(|error| with_causes(&error))?;
    let addresses = netlink.addresses().await.map_err(|error| with_causes(&error))?;
    let meant = match uplink::resolve(&snapshot, patterns) {
        Ok(uplinks) => uplinks,
        // Those that there are.
        Err(_) => uplink::uplinks(&snapshot, patterns),
    };
    let mut hooks = BTreeMap::new();
    for index in meant.keys() {
        hooks.insert(*index, survey::hooks(&netlink, *index).await);
    }
    let mut names = BTreeSet::from(["all".to_owned()]);
    for facts in meant.keys().filter_map(|index| snapshot.by_index(*index)) {
        names.extend(above(facts, &snapshot).map(|facts| facts.name.clone()));
    }
    Ok(Network {
        sysctls: names.into_iter().map(|name| (name.clone(), settings(&name))).collect(),
        snapshot,
        addresses,
        hooks,
    })
}

/// Itself and what it is a port of: there its frames arrive.
fn above<'a>(
    facts: &'a InterfaceFacts,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = &'a InterfaceFacts> {
    [facts].into_iter().chain(snapshot.masters(facts))
}

fn settings(interface: &str) -> BTreeMap<String, String> {
    let keys = SYSCTLS.map(|name| format!("net/ipv4/conf/{interface}/{name}"));
    let short = |(key, value): (String, String)| {
        (key.rsplit('/').next().unwrap_or_default().to_owned(), value)
    };
    host::sysctls(keys).into_iter().map(short).collect()
}

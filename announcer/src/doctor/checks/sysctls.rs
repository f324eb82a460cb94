//! Settings of the kernel that bear on ARP: most are fine whatever they are, as the kernel
//! is not the one that answers.

use std::collections::BTreeMap;

use crate::doctor::{
    facts::Network,
    report::{Finding, Group},
};

const GROUP: Group = Group::Sysctls;
const ALL: &str = "all";

pub(super) fn checks(network: &Network) -> Vec<Finding> {
    let interfaces = network.sysctls.keys().filter(|name| *name != ALL);
    let mut findings: Vec<_> = interfaces.flat_map(|name| interface(network, name)).collect();
    findings.extend(kernel_addresses(network));
    findings
}

/// What holds for an interface: the greater one of its own value and that of `all`, which is
/// how the kernel combines these settings (ip-sysctl).
fn effective(network: &Network, interface: &str, name: &str) -> Option<u8> {
    let value = |of: &BTreeMap<String, String>| of.get(name)?.parse::<u8>().ok();
    let of = |scope: &str| network.sysctls.get(scope).and_then(value);
    of(interface).max(of(ALL))
}

fn interface(network: &Network, name: &str) -> Vec<Finding> {
    let value = |setting| effective(network, name, setting);
    let mut findings = Vec::new();
    for setting in ["proxy_arp", "proxy_arp_pvlan"] {
        // arp_process() of the kernel asks for proxy_arp of both, of the other for its own.
        if value(setting).unwrap_or(0) == 0 {
            continue;
        }
        findings.push(Finding::warning(
            GROUP,
            name,
            format!(
                "{setting} is on: this host's kernel answers for addresses that it would route \
                 elsewhere, for VIPs, too, while no daemon has told the program of them"
            ),
            format!("sysctl -w net.ipv4.conf.{name}.{setting}=0 net.ipv4.conf.all.{setting}=0"),
        ));
    }
    findings.push(rp_filter(network, name));
    let fine: Vec<_> = ["arp_ignore", "arp_announce", "arp_filter"]
        .into_iter()
        .filter_map(|setting| Some(format!("{setting} {}", value(setting)?)))
        .collect();
    if !fine.is_empty() {
        let found = format!("{}: fine whatever they are", fine.join(", "));
        findings.push(Finding::ok(GROUP, name, found));
    }
    findings
}

fn rp_filter(network: &Network, name: &str) -> Finding {
    let value = effective(network, name, "rp_filter").unwrap_or(0);
    let default = network.snapshot.default_route.and_then(|index| network.snapshot.by_index(index));
    let is_default = default.is_some_and(|facts| {
        facts.name == name || network.snapshot.masters(facts).iter().any(|it| it.name == name)
    });
    match value {
        1 if is_default => {
            Finding::ok(GROUP, name, "rp_filter 1 (strict): fine, the default route is here, too")
        }
        1 => Finding::warning(
            GROUP,
            name,
            "rp_filter 1 (strict), and the default route is elsewhere: packets to VIPs from \
             outside of its networks are dropped",
            format!(
                "sysctl -w net.ipv4.conf.{name}.rp_filter=2 (the greater one of this and \
                 net.ipv4.conf.all.rp_filter counts)"
            ),
        ),
        0 => Finding::ok(GROUP, name, "rp_filter 0 (off): fine"),
        other => Finding::ok(GROUP, name, format!("rp_filter {other} (loose): fine")),
    }
}

/// VIPs that the kernel has as addresses, and would answer for by itself.
fn kernel_addresses(network: &Network) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |name: &str| {
        let index = network.snapshot.by_name(name)?.index;
        network.addresses.get(&index).map(|addresses| {
            addresses.iter().filter(|ip| !ip.is_loopback()).copied().collect::<Vec<_>>()
        })
    };
    let ignores = |name| effective(network, name, "arp_ignore").unwrap_or(0);
    let strict = network.sysctls.keys().filter(|name| *name != ALL).all(|name| ignores(name) >= 1);
    if network.snapshot.by_name("kube-ipvs0").is_some() {
        let n = of("kube-ipvs0").map_or(0, |addresses| addresses.len());
        findings.push(Finding::ok(
            GROUP,
            "kube-ipvs0",
            format!(
                "kube-proxy in IPVS mode: the kernel has {n} service addresses as its own; the \
                 program keeps it silent, strictARP is not needed"
            ),
        ));
    }
    if let Some(addresses) = of("lo").filter(|addresses| !addresses.is_empty()) {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let found = format!("addresses on lo: {}", list.join(", "));
        findings.push(if strict {
            Finding::ok(GROUP, "lo", format!("{found}; the kernel does not answer for them"))
        } else {
            Finding::hint(
                GROUP,
                "lo",
                format!(
                    "{found}; the kernel answers for them, too, whenever the announcer does not"
                ),
                "if they are VIPs: sysctl -w net.ipv4.conf.all.arp_ignore=1",
            )
        });
    }
    findings
}

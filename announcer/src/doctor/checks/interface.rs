//! The interfaces that are meant: whether they carry frames, and for whom.

use super::hooks;
use crate::{
    datapath::netlink::InterfaceFacts,
    doctor::{
        facts::{Daemon, Facts, Network, Pulse},
        report::{Finding, Group},
    },
    intent::eligibility::LinkState,
    types::Vip,
    uplink::{Sharing, Uplink},
};

const GROUP: Group = Group::Network;
/// An ARP packet is 28 octets; IPv4 wants 68 (RFC 791).
const LEAST_MTU: u32 = 68;

pub(super) fn checks(facts: &Facts, network: &Network) -> Vec<Finding> {
    let mut findings = Vec::new();
    match super::uplinks(facts, network) {
        Err(missing) => findings.push(Finding::failure(
            GROUP,
            "interface",
            format!("there is none that is meant; the daemon would wait for {missing}"),
            format!("give --interface one of: {}", candidates(network)),
        )),
        Ok(uplinks) => {
            for uplink in &uplinks {
                if let Some(interface) = network.snapshot.by_name(&uplink.name) {
                    findings.extend(interface_checks(facts, network, uplink, interface));
                }
            }
            findings.extend(static_vips(facts, &uplinks));
        }
    }
    findings.push(daemon(facts));
    findings
}

/// Ethernet interfaces that could be an uplink.
fn candidates(network: &Network) -> String {
    let is_candidate = |facts: &&InterfaceFacts| {
        facts.is_ethernet
            && facts.master.is_none()
            && network.snapshot.on_link.contains_key(&facts.index)
    };
    let names: Vec<_> =
        network.snapshot.interfaces.iter().filter(is_candidate).map(|facts| &*facts.name).collect();
    if names.is_empty() { "those of `ip link`".to_owned() } else { names.join(", ") }
}

fn interface_checks(
    facts: &Facts,
    network: &Network,
    uplink: &Uplink,
    interface: &InterfaceFacts,
) -> Vec<Finding> {
    let mut findings = vec![link(uplink, interface, network)];
    findings.extend(sharing(network, uplink));
    let networks: Vec<_> = uplink.networks.iter().map(ToString::to_string).collect();
    findings.push(if networks.is_empty() {
        Finding::warning(
            GROUP,
            &*uplink.name,
            "it has no networks: no host of the segment asks for a VIP here",
            format!("give it an address (ip address add 192.0.2.1/24 dev {0}), or name another interface", uplink.name),
        )
    } else {
        Finding::ok(
            GROUP,
            &*uplink.name,
            format!("a VIP must lie in one of its networks: {}", networks.join(", ")),
        )
    });
    findings.extend(hooks::checks(facts, network, interface));
    findings
}

fn link(uplink: &Uplink, interface: &InterfaceFacts, network: &Network) -> Finding {
    let name = &*uplink.name;
    if !interface.is_ethernet {
        return Finding::failure(
            GROUP,
            name,
            format!("it is {}, not Ethernet: there is no ARP on it", interface.link_layer),
            format!("give --interface one of: {}", candidates(network)),
        );
    }
    match uplink.link {
        LinkState::Down => {
            let remedy = format!("ip link set {name} up");
            return Finding::failure(GROUP, name, "it is down", remedy);
        }
        LinkState::NoCarrier => {
            let remedy = "look at the cable, or at the switch's port; `ip link` says NO-CARRIER";
            return Finding::failure(GROUP, name, "it is up and has no carrier", remedy);
        }
        // What is missing is no uplink, and nothing is attached to here.
        LinkState::Fit | LinkState::Missing | LinkState::Unattached => {}
    }
    let Some(mac) = uplink.mac else {
        let remedy = "name another interface with --interface";
        return Finding::failure(GROUP, name, "it has no MAC to answer with", remedy);
    };
    if interface.mtu < LEAST_MTU {
        let remedy = format!("ip link set {name} mtu 1500");
        return Finding::failure(GROUP, name, format!("MTU {}", interface.mtu), remedy);
    }
    let driver = network.hooks.get(&interface.index).and_then(|hooks| hooks.driver.as_deref());
    let whose = match interface.mac {
        Some(own) if own != mac => " (its bridge's or bond's)",
        _ => "",
    };
    Finding::ok(
        GROUP,
        name,
        format!(
            "up, with a carrier, driver {}, MTU {}; answers with {mac}{whose}",
            driver.unwrap_or("unknown"),
            interface.mtu
        ),
    )
}

/// What silence becomes where others get frames through the interface.
fn sharing(network: &Network, uplink: &Uplink) -> Option<Finding> {
    let sharing = uplink.sharing.as_ref()?;
    let found = format!(
        "{sharing}: requests for VIPs held elsewhere pass, to others and to this host's kernel"
    );
    // The kernel answers for what it has as an address.
    let kernel_has_vips = network.snapshot.by_name("kube-ipvs0").is_some();
    Some(match sharing {
        Sharing::PortOf(bridge) if kernel_has_vips => Finding::warning(
            GROUP,
            &*uplink.name,
            format!("{found}, which has VIPs as addresses (kube-ipvs0) and answers"),
            format!("name the bridge: --interface {bridge}"),
        ),
        Sharing::ParentOf(_) if kernel_has_vips => Finding::warning(
            GROUP,
            &*uplink.name,
            format!("{found}, which has VIPs as addresses (kube-ipvs0) and answers"),
            "kube-proxy --ipvs-strict-arp (ipvs.strictARP: true in its ConfigMap)",
        ),
        _ => Finding::ok(GROUP, &*uplink.name, found),
    })
}

fn static_vips(facts: &Facts, uplinks: &[Uplink]) -> Vec<Finding> {
    let vips = facts.settings.static_vips.iter();
    vips.filter_map(|text| {
        let vip: Vip = match text.parse() {
            Ok(vip) => vip,
            Err(error) => {
                let found = format!("it cannot be one: {error}");
                return Some(Finding::failure(GROUP, text, found, "give another --static-vip"));
            }
        };
        (!uplinks.iter().any(|uplink| uplink.is_on_link(vip))).then(|| {
            Finding::warning(
                GROUP,
                text,
                "in none of the networks of these interfaces: nobody asks for it there",
                "choose an address of the segment, or the interface whose network it is in",
            )
        })
    })
    .collect()
}

/// Whether a daemon that is no more has left its program attached.
fn is_left_behind(facts: &Facts) -> bool {
    facts
        .network
        .as_ref()
        .is_ok_and(|network| network.hooks.values().any(|hooks| hooks.own_program.is_some()))
}

fn daemon(facts: &Facts) -> Finding {
    match &facts.daemon {
        Ok(None) if is_left_behind(facts) => Finding::warning(
            GROUP,
            "daemon",
            "the program is attached, but no daemon runs: no VIP is answered when its time is over",
            "start the announcer, or remove what is left with `announcer detach`",
        ),
        Ok(None) => Finding::ok(GROUP, "daemon", "none runs in this network namespace"),
        Ok(Some(Daemon { holder, pulse: Pulse::Turns })) => Finding::ok(
            GROUP,
            "daemon",
            format!("{holder} runs; a second one would be refused (exit code 5)"),
        ),
        Ok(Some(Daemon { holder, pulse: Pulse::Hangs(why) })) => {
            Finding::failure(GROUP, "daemon", format!("{holder} hangs: {why}"), holder.remedy())
        }
        Ok(Some(Daemon { holder, pulse: Pulse::Unknown(why) })) => Finding::warning(
            GROUP,
            "daemon",
            format!("{holder} runs; whether it does its work is not known: {why}"),
            "ask again, as root: `announcer live`",
        ),
        Err(error) => Finding::warning(
            GROUP,
            "daemon",
            format!("cannot be asked for: {error}"),
            "see whether one runs: pgrep -a announcer",
        ),
    }
}

//! What this host itself has to do with an address. No host hears its own questions: what
//! it answers itself, a probe from here cannot see.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    net::Ipv4Addr,
};

use serde::Serialize;

use super::place::Place;
use crate::{
    datapath::{self, Inspection, netlink::Snapshot},
    types::{BootTime, IfIndex, Vip},
    wire_state::WireEntry,
};

/// Who of this host answers for an address on the interface that it is asked for on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Here {
    /// The announcer here, by its maps.
    Announcer {
        /// Where its program is attached.
        interface: String,
    },
    /// The kernel here, which answers for each of its addresses on every interface.
    Kernel {
        /// The one that has the address.
        interface: String,
    },
}

impl fmt::Display for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announcer { interface } => write!(f, "held by the announcer here, {interface}"),
            Self::Kernel { interface } => write!(f, "its kernel has it on {interface}"),
        }
    }
}

/// What this host is like.
#[derive(Debug)]
pub struct Host {
    /// Its interfaces.
    pub snapshot: Snapshot,
    /// Their addresses.
    pub addresses: BTreeMap<IfIndex, BTreeSet<Ipv4Addr>>,
    /// What announcers have pinned; nothing, where that may not be read.
    pub pinned: Vec<Inspection>,
}

impl Host {
    /// Looks again at what is pinned. Must be called within a tokio runtime.
    pub(super) async fn look(&mut self) {
        let root = datapath::DEFAULT_PIN_ROOT.as_ref();
        self.pinned = datapath::inspect(root).await.unwrap_or_default();
    }

    /// Who here answers for the address as it is asked for there, if anybody does;
    /// `arp_ignore` as the kernel has it for that interface.
    pub fn answers(
        &self,
        vip: Vip,
        place: &Place,
        arp_ignore: Option<u8>,
        now: BootTime,
    ) -> Option<Here> {
        let attached = self.pinned.iter().filter(|it| it.hook.is_some() && self.hears(it, place));
        let entries = attached.filter_map(|it| {
            let maps = it.maps.as_ref().ok()?;
            Some((it.uplink.as_ref()?.name.clone(), maps.vips.get(&vip)?.entry, maps.shared))
        });
        let mut is_silent = false;
        for (interface, entry, passes) in entries {
            match entry {
                WireEntry::Answer { until } if now < until => {
                    return Some(Here::Announcer { interface });
                }
                _ => is_silent |= !passes,
            }
        }
        // The program drops what it does not answer, and other settings than 0 keep the
        // kernel to the addresses of the interface itself, or less.
        if is_silent || arp_ignore != Some(0) {
            return None;
        }
        let mut having = self.addresses.iter().filter(|(_, own)| own.contains(&vip.ip()));
        let (index, _) = having.next()?;
        let interface = self.snapshot.by_index(*index)?.name.clone();
        Some(Here::Kernel { interface })
    }

    /// Whether the program sees what comes in there: it is attached there, or to a port of it.
    fn hears(&self, attached: &Inspection, place: &Place) -> bool {
        let port = self.snapshot.by_index(attached.index);
        attached.index == place.index
            || port.is_some_and(|port| {
                self.snapshot.masters(port).iter().any(|it| it.index == place.index)
            })
    }
}

/// What the kernel does with requests that come in there: the greater of both settings.
pub(super) fn arp_ignore(interface: &str) -> Option<u8> {
    let read = |of: &str| -> Option<u8> {
        let path = format!("/proc/sys/net/ipv4/conf/{of}/arp_ignore");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some(read("all")?.max(read(interface)?))
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::{
        datapath::{
            DatapathError, EffectiveHook, PinnedMaps, PinnedVip, Reason, Totals,
            netlink::InterfaceFacts,
        },
        types::MacAddr,
        uplink::Uplink,
    };

    const NOW: BootTime = BootTime::from_nanos(1_000);
    const LATER: BootTime = BootTime::from_nanos(2_000);

    fn vip() -> Vip {
        "192.0.2.10".parse().expect("a VIP")
    }

    fn place(facts: &InterfaceFacts) -> Place {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        Place { index: facts.index, interface: facts.name.clone(), mac }
    }

    /// A host with the interfaces ens18 (port of vmbr0, with the program) and lo.
    fn host(entry: Option<WireEntry>) -> (Host, Place, Place) {
        let [mut port, bridge, lo] = [(2, "ens18"), (3, "vmbr0"), (1, "lo")]
            .map(|(i, name)| InterfaceFacts::example(i, name));
        port.master = Some(bridge.index);
        let (on_port, on_bridge) = (place(&port), place(&bridge));
        let index = port.index;
        let snapshot = Snapshot {
            interfaces: vec![port, bridge, lo],
            default_route: None,
            on_link: BTreeMap::new(),
        };
        let uplink = Uplink::new(&snapshot.interfaces[0], &snapshot);
        let pinned = |entry| (vip(), PinnedVip { entry, answered: 0 });
        let maps = Ok::<_, DatapathError>(PinnedMaps {
            mac: on_port.mac,
            reason: Reason::default(),
            shared: false,
            answer_ping: true,
            session: None,
            vips: entry.map(pinned).into_iter().collect(),
            totals: Totals::default(),
        });
        let hook = Some(EffectiveHook::Tcx);
        let pinned = vec![Inspection { index, uplink: Some(uplink), hook, maps }];
        (Host { snapshot, addresses: BTreeMap::new(), pinned }, on_port, on_bridge)
    }

    #[test]
    fn the_announcer_here_answers_while_its_maps_say_so() {
        let held = |until| Some(WireEntry::Answer { until });
        let here = Some(Here::Announcer { interface: "ens18".to_owned() });
        for (entry, expected) in
            [(held(LATER), here), (held(NOW), None), (Some(WireEntry::Silent), None), (None, None)]
        {
            let (host, port, bridge) = host(entry);
            assert_eq!(host.answers(vip(), &port, Some(0), NOW), expected, "{entry:?}");
            assert_eq!(host.answers(vip(), &bridge, Some(0), NOW), expected, "by its port");
        }
        let (mut host, port, bridge) = host(held(LATER));
        host.snapshot.interfaces[0].master = None;
        assert_eq!(host.answers(vip(), &bridge, Some(0), NOW), None, "another segment");
        host.pinned[0].hook = None;
        assert_eq!(host.answers(vip(), &port, Some(0), NOW), None, "nothing is attached");
    }

    #[test]
    fn the_kernel_here_answers_unless_it_is_told_not_to_or_kept_from_it() {
        let on_lo = Some(Here::Kernel { interface: "lo".to_owned() });
        for (entry, arp_ignore, expected) in [
            (None, Some(0), on_lo),
            (None, Some(1), None),
            (None, None, None),
            (Some(WireEntry::Silent), Some(0), None),
        ] {
            let (mut host, port, _) = host(entry);
            let lo = host.snapshot.by_name("lo").expect("it is there").index;
            host.addresses.insert(lo, BTreeSet::from([vip().ip()]));
            assert_eq!(host.answers(vip(), &port, arp_ignore, NOW), expected, "{entry:?}");
        }
    }
}

//! What the daemon knows of the interfaces that it serves, out of what the kernel says
//! of all of them: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ipnet::Ipv4Net;

use crate::{
    config::InterfacePattern,
    datapath::netlink::{InterfaceFacts, Snapshot},
    intent::eligibility::LinkState,
    types::{IfIndex, MacAddr, Vip},
};

/// An interface that is served, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name now.
    pub name: String,
    /// The MAC to answer with: that of the bridge or bond that it is a port of, else its
    /// own. `None` where there is none, as on `lo`.
    pub mac: Option<MacAddr>,
    /// Whether it can carry frames.
    pub link: LinkState,
    /// How often its carrier has come back.
    pub carrier_ups: u32,
    /// Who else gets the frames that it receives.
    pub sharing: Option<Sharing>,
    /// The networks whose hosts ask for each other's addresses here.
    pub networks: BTreeSet<Ipv4Net>,
}

/// Why frames that an interface receives can be meant for others than this host: a
/// request that this host is to be silent about must go on to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It is a port of this bridge.
    PortOf(String),
    /// These macvlans and ipvlans are on top of it.
    ParentOf(BTreeSet<String>),
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortOf(bridge) => write!(f, "it is a port of {bridge}"),
            Self::ParentOf(children) => {
                let children: Vec<_> = children.iter().map(String::as_str).collect();
                write!(f, "{} get frames through it", children.join(", "))
            }
        }
    }
}

impl Uplink {
    /// What a snapshot says of one of its interfaces.
    pub fn new(facts: &InterfaceFacts, snapshot: &Snapshot) -> Self {
        let masters = snapshot.masters(facts);
        // Of others (a VRF, a datapath of Open vSwitch) the MAC is nobody's on this wire.
        let owner = masters.iter().take_while(|master| master.is_of(&["bridge", "bond", "team"]));
        let owner = owner.last().copied().filter(|owner| owner.mac.is_some()).unwrap_or(facts);
        // The addresses of a port are its master's.
        let indices = [facts].into_iter().chain(masters.iter().copied()).map(|it| it.index);
        let networks = indices.filter_map(|index| snapshot.on_link.get(&index)).flatten();
        Self {
            name: facts.name.clone(),
            mac: owner.mac,
            link: link_state(facts),
            carrier_ups: facts.carrier_ups,
            sharing: sharing(facts, &masters, snapshot),
            networks: networks.copied().collect(),
        }
    }

    /// Whether hosts of its networks ask for this VIP here.
    pub fn is_on_link(&self, vip: Vip) -> bool {
        self.networks.iter().any(|network| network.contains(&vip.ip()))
    }
}

fn link_state(facts: &InterfaceFacts) -> LinkState {
    if !facts.is_up {
        LinkState::Down
    } else if !facts.has_carrier {
        LinkState::NoCarrier
    } else {
        LinkState::Fit
    }
}

fn sharing(
    facts: &InterfaceFacts,
    masters: &[&InterfaceFacts],
    snapshot: &Snapshot,
) -> Option<Sharing> {
    // What a bond, a team or a VRF receives is for this host alone, if nothing above says
    // otherwise.
    let is_alone = |master: &InterfaceFacts| master.is_of(&["bond", "team", "vrf"]);
    if let Some(bridge) = masters.iter().find(|master| !is_alone(master)) {
        return Some(Sharing::PortOf(bridge.name.clone()));
    }
    let below: Vec<_> = [facts].iter().chain(masters).map(|facts| facts.index).collect();
    let children: BTreeSet<_> = snapshot
        .interfaces
        .iter()
        .filter(|child| child.lower.is_some_and(|lower| below.contains(&lower)))
        .filter(|child| child.is_of(&["macvlan", "macvtap", "ipvlan", "ipvtap"]))
        .map(|child| child.name.clone())
        .collect();
    (!children.is_empty()).then_some(Sharing::ParentOf(children))
}

/// The interfaces that are meant; an error names what is missing. Where nothing is
/// named it is the default route's.
///
/// # Errors
/// No interface has a name that is asked for.
pub fn resolve(
    snapshot: &Snapshot,
    patterns: &[InterfacePattern],
) -> Result<BTreeMap<IfIndex, Uplink>, String> {
    if patterns.is_empty() {
        let facts = snapshot.default_route.and_then(|index| snapshot.by_index(index));
        let facts = facts.ok_or("a default route (or give --interface, ANNOUNCER_INTERFACE)")?;
        return Ok([(facts.index, Uplink::new(facts, snapshot))].into());
    }
    if let Some(missing) = patterns
        .iter()
        .find(|pattern| !snapshot.interfaces.iter().any(|facts| pattern.matches(&facts.name)))
    {
        return Err(format!("interface {missing}"));
    }
    Ok(uplinks(snapshot, patterns))
}

/// Whatever there is with a name that is asked for.
pub fn uplinks(snapshot: &Snapshot, patterns: &[InterfacePattern]) -> BTreeMap<IfIndex, Uplink> {
    let is_meant =
        |facts: &&InterfaceFacts| patterns.iter().any(|pattern| pattern.matches(&facts.name));
    let meant = snapshot.interfaces.iter().filter(is_meant);
    meant.map(|facts| (facts.index, Uplink::new(facts, snapshot))).collect()
}

#[cfg(test)]
mod tests;

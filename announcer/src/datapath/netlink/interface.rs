//! One interface, as the kernel describes it.

use std::fmt;

use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use serde::{Deserialize, Serialize};

use crate::{
    datapath::hook::EffectiveHook,
    types::{IfIndex, MacAddr},
};

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// On the device.
    Offloaded,
}

impl AttachedMode {
    pub(crate) const fn ip_link_keyword(self) -> &'static str {
        match self {
            Self::Native => "xdpdrv",
            Self::Generic => "xdpgeneric",
            Self::Offloaded => "xdpoffload",
        }
    }
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedProgram {
    /// The kernel's id of the program.
    pub id: u32,
    /// Its name, if it could be found out (that takes CAP_SYS_ADMIN).
    pub name: Option<String>,
    /// How it is attached.
    pub mode: AttachedMode,
}

impl fmt::Display for AttachedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            AttachedMode::Native => "native",
            AttachedMode::Generic => "generic",
            AttachedMode::Offloaded => "offloaded",
        };
        match &self.name {
            Some(name) => write!(f, "{name} (program id {}, {mode} mode)", self.id),
            None => write!(f, "program id {}, {mode} mode (`bpftool prog` has its name)", self.id),
        }
    }
}

/// One interface, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceFacts {
    /// Its index.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// Its link layer is Ethernet.
    pub is_ethernet: bool,
    /// Its link layer, for messages.
    pub link_layer: String,
    /// Its MAC; for a bond the bond's.
    pub mac: Option<MacAddr>,
    /// Administratively up.
    pub is_up: bool,
    /// The link works (IFF_LOWER_UP).
    pub has_carrier: bool,
    /// The longest payload of a frame, in octets.
    pub mtu: u32,
    /// How often the link has begun to work (IFLA_CARRIER_UP_COUNT), so that a loss
    /// between two looks is seen.
    pub carrier_ups: u32,
    /// The bridge or bond that it is a port of (IFLA_MASTER).
    pub master: Option<IfIndex>,
    /// The interface below it, if it is a VLAN, a macvlan or the like (IFLA_LINK).
    pub lower: Option<IfIndex>,
    /// The kind of a virtual interface: `veth`, `bond`, `bridge`…
    pub kind: Option<String>,
    /// The driver's name, as ethtool says it; asked for by [`Netlink::interface`](super::Netlink::interface) only,
    /// as the kernel answers when it has the lock of rtnetlink.
    pub driver: Option<String>,
    /// XDP programs that are attached.
    pub xdp: Vec<AttachedProgram>,
}

impl InterfaceFacts {
    /// Whether it is a virtual interface of one of these kinds.
    pub fn is_of(&self, kinds: &[&str]) -> bool {
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }

    /// Whether the interface is one end of a veth pair.
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth") || self.driver.as_deref() == Some("veth")
    }

    /// Where the XDP program with this id is attached; `None` when it is not.
    pub(crate) fn xdp_hook_of(&self, program: u32) -> Option<EffectiveHook> {
        match self.xdp.iter().find(|attached| attached.id == program)?.mode {
            AttachedMode::Native => Some(EffectiveHook::XdpNative),
            AttachedMode::Generic => Some(EffectiveHook::XdpGeneric),
            AttachedMode::Offloaded => None,
        }
    }

    /// For tests: up, with a carrier, and a MAC that ends in its index.
    #[cfg(test)]
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub(crate) fn example(index: u8, name: &str) -> Self {
        Self {
            index: IfIndex::new(index.into()).expect("not 0"),
            name: name.to_owned(),
            is_ethernet: true,
            link_layer: "ether".to_owned(),
            mac: Some(MacAddr::new([2, 0, 0, 0, 0, index])),
            is_up: true,
            has_carrier: true,
            mtu: 1500,
            carrier_ups: 1,
            master: None,
            lower: None,
            kind: None,
            driver: None,
            xdp: Vec::new(),
        }
    }

    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        let header = &message.header;
        let mut facts = Self {
            index: IfIndex::new(header.index)?,
            name: String::new(),
            is_ethernet: header.link_layer_type == LinkLayerType::Ether,
            link_layer: header.link_layer_type.to_string(),
            mac: None,
            is_up: header.flags.contains(LinkFlags::Up),
            has_carrier: header.flags.contains(LinkFlags::LowerUp),
            mtu: 0,
            carrier_ups: 0,
            master: None,
            lower: lower(&message.attributes),
            kind: None,
            driver: None,
            xdp: Vec::new(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => facts.name.clone_from(name),
                LinkAttribute::Address(octets) => {
                    facts.mac = <[u8; 6]>::try_from(&octets[..]).ok().map(MacAddr::new);
                }
                LinkAttribute::LinkInfo(infos) => {
                    facts.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
                LinkAttribute::CarrierUpCount(count) => facts.carrier_ups = *count,
                LinkAttribute::Controller(index) => facts.master = IfIndex::new(*index),
                LinkAttribute::Xdp(attributes) => facts.xdp = attached_programs(attributes),
                _ => {}
            }
        }
        Some(facts)
    }
}

/// With one program the kernel gives its mode and id, with several an id for each mode.
fn attached_programs(attributes: &[LinkXdp]) -> Vec<AttachedProgram> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(AttachedMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachedMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(AttachedMode::Offloaded),
        _ => None,
    });
    let mut programs: Vec<AttachedProgram> = Vec::new();
    for attribute in attributes {
        let (id, mode) = match (attribute, mode) {
            (LinkXdp::DrvProgId(id), _) => (*id, AttachedMode::Native),
            (LinkXdp::SkbProgId(id), _) => (*id, AttachedMode::Generic),
            (LinkXdp::HwProgId(id), _) => (*id, AttachedMode::Offloaded),
            (LinkXdp::ProgId(id), Some(mode)) => (*id, mode),
            _ => continue,
        };
        if id != 0 && !programs.iter().any(|program| program.id == id) {
            programs.push(AttachedProgram { id, name: None, mode });
        }
    }
    programs
}

/// The interface below this one, if it is in the same network namespace: other numbers are
/// indices of another namespace, as those of the pods' ends of veth pairs are.
pub(super) fn lower(attributes: &[LinkAttribute]) -> Option<IfIndex> {
    let is_elsewhere = |attribute| matches!(attribute, &LinkAttribute::LinkNetNsId(_));
    if attributes.iter().any(is_elsewhere) {
        return None;
    }
    attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => IfIndex::new(*index),
        _ => None,
    })
}

//! What the kernel says about network interfaces (rtnetlink, ethtool).
//!
//! Questions, and word of changes that call for asking again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr},
};

use futures::{StreamExt as _, TryStreamExt as _, channel::mpsc::UnboundedReceiver};
use ipnet::Ipv4Net;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        address::AddressAttribute,
        link::{
            InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
            XdpAttached,
        },
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope},
        tc::TcAttribute,
    },
    sys::SocketAddr,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{ethtool, hook::EffectiveHook};
use crate::types::{IfIndex, MacAddr};

/// The kernel could not be asked, or its answer not be understood.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("no netlink socket could be opened")]
    Socket(#[from] io::Error),
    /// An error in answer to a request.
    #[error("a netlink request failed")]
    Request(#[from] rtnetlink::Error),
    /// The subscription ended.
    #[error("the netlink connection was closed")]
    Closed,
}

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
    /// The driver's name, as ethtool says it; asked for by [`Netlink::interface`] only,
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

    fn from_message(message: &LinkMessage) -> Option<Self> {
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

/// All interfaces of the network namespace, and which one leads outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every interface.
    pub interfaces: Vec<InterfaceFacts>,
    /// The interface of the IPv4 default route with the lowest metric.
    pub default_route: Option<IfIndex>,
    /// The networks that routes without a gateway lead to, by interface.
    pub on_link: BTreeMap<IfIndex, BTreeSet<Ipv4Net>>,
}

impl Snapshot {
    /// The interface with this name.
    pub fn by_name(&self, name: &str) -> Option<&InterfaceFacts> {
        self.interfaces.iter().find(|facts| facts.name == name)
    }

    /// The interfaces that it is a port of, from the nearest on: a bond's port, a bond
    /// that is a bridge's.
    pub fn masters(&self, facts: &InterfaceFacts) -> Vec<&InterfaceFacts> {
        let next = |facts: &&InterfaceFacts| self.by_index(facts.master?);
        // As many as the kernel allows (MAX_NEST_DEV).
        std::iter::successors(next(&facts), next).take(8).collect()
    }

    /// The interface with this index.
    pub fn by_index(&self, index: IfIndex) -> Option<&InterfaceFacts> {
        self.interfaces.iter().find(|facts| facts.index == index)
    }
}

/// A connection to rtnetlink in the network namespace it was opened in.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    _connection: Connection,
}

/// The task that moves messages; ends with its owner.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Netlink {
    /// Opens a connection; must be called within a tokio runtime.
    ///
    /// # Errors
    /// Out of file descriptors, or a seccomp profile that forbids netlink.
    pub fn connect() -> Result<Self, NetlinkError> {
        let (connection, handle, _no_events) = rtnetlink::new_connection()?;
        Ok(Self { handle, _connection: Connection(tokio::spawn(connection)) })
    }

    /// All interfaces, and the default route's.
    ///
    /// # Errors
    /// [`NetlinkError::Request`].
    pub async fn snapshot(&self) -> Result<Snapshot, NetlinkError> {
        snapshot(&self.handle).await
    }

    /// One interface; `None` if there is none with this index.
    ///
    /// # Errors
    /// [`NetlinkError::Request`].
    pub async fn interface(&self, index: IfIndex) -> Result<Option<InterfaceFacts>, NetlinkError> {
        let mut links = std::pin::pin!(self.handle.link().get().match_index(index.get()).execute());
        match links.try_next().await {
            Ok(message) => {
                Ok(message.as_ref().and_then(InterfaceFacts::from_message).map(|facts| {
                    let driver = ethtool::driver(&facts.name).ok();
                    InterfaceFacts { driver, ..facts }
                }))
            }
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The IPv4 addresses of every interface.
    ///
    /// # Errors
    /// [`NetlinkError::Request`].
    pub async fn addresses(&self) -> Result<BTreeMap<IfIndex, BTreeSet<Ipv4Addr>>, NetlinkError> {
        let messages: Vec<_> = self.handle.address().get().execute().try_collect().await?;
        let mut addresses: BTreeMap<IfIndex, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for message in messages {
            let of = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
                _ => None,
            };
            if let Some(index) = IfIndex::new(message.header.index) {
                addresses
                    .entry(index)
                    .or_default()
                    .extend(message.attributes.iter().filter_map(of));
            }
        }
        Ok(addresses)
    }

    /// The kinds of the filters at tc ingress of an interface (`bpf`, `flower`…).
    ///
    /// # Errors
    /// [`NetlinkError::Request`].
    pub async fn ingress_filters(&self, index: IfIndex) -> Result<Vec<String>, NetlinkError> {
        let index = i32::try_from(index.get()).map_err(io::Error::other)?;
        let filters = self.handle.traffic_filter(index).get().ingress().execute();
        let filters: Vec<_> = filters.try_collect().await?;
        // The kernel names each chain once without a handle, then its filters.
        let with_handle = filters.iter().filter(|filter| u32::from(filter.header.handle) != 0);
        let kind = |attribute: &TcAttribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        };
        Ok(with_handle.filter_map(|filter| filter.attributes.iter().find_map(kind)).collect())
    }

    /// Waits until `probe` finds what it looks for. It sees the present state at
    /// once, and again after each change of an interface or a route.
    ///
    /// # Errors
    /// [`NetlinkError`]; the caller may try again.
    pub async fn wait_until<T>(
        &self,
        mut probe: impl FnMut(&Snapshot) -> Option<T>,
    ) -> Result<T, NetlinkError> {
        // Subscribed first, looked second: nothing that comes between is missed.
        let mut changes = Changes::of(&[MulticastGroup::Link, MulticastGroup::Ipv4Route])?;
        loop {
            if let Some(found) = probe(&changes.netlink.snapshot().await?) {
                return Ok(found);
            }
            changes.next().await?;
        }
    }

    /// Subscribes to the changes of interfaces and of their routes; must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn changes() -> Result<Changes, NetlinkError> {
        Changes::of(&[MulticastGroup::Link, MulticastGroup::Ipv4Route])
    }
}

/// A subscription: says when to look, and has the connection to look with. What
/// happens between the subscription and the first look is seen by either.
#[derive(Debug)]
pub struct Changes {
    netlink: Netlink,
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Changes {
    fn of(groups: &[MulticastGroup]) -> Result<Self, NetlinkError> {
        let (connection, handle, events) = rtnetlink::new_multicast_connection(groups)?;
        let netlink = Netlink { handle, _connection: Connection(tokio::spawn(connection)) };
        Ok(Self { netlink, events })
    }

    /// For looking.
    pub const fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Waits for a change of an interface that is meant, of one above or below it, or of
    /// a route without a gateway through it; then takes in what else has come.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`NetlinkError::Closed`].
    pub async fn of_any(
        &mut self,
        is_meant: impl Fn(IfIndex, Option<&str>) -> bool,
    ) -> Result<(), NetlinkError> {
        loop {
            let (message, _) = self.events.next().await.ok_or(NetlinkError::Closed)?;
            let message = match message.payload {
                NetlinkPayload::InnerMessage(message) => message,
                // So many came at once that some were dropped: any of them may have been it.
                NetlinkPayload::Overrun(_) => return Ok(()),
                _ => continue,
            };
            let concerned = match &message {
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
                    concerned_by_link(link, &is_meant)
                }
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                    on_link(route).is_some_and(|(index, _)| is_meant(index, None))
                }
                _ => false,
            };
            if concerned {
                while self.events.try_recv().is_ok() {}
                return Ok(());
            }
        }
    }

    /// Waits for a change of anything.
    async fn next(&mut self) -> Result<(), NetlinkError> {
        self.events.next().await.ok_or(NetlinkError::Closed)?;
        // What else has come is seen by the same look.
        while self.events.try_recv().is_ok() {}
        Ok(())
    }
}

async fn snapshot(handle: &Handle) -> Result<Snapshot, NetlinkError> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let ipv4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<RouteMessage> = handle.route().get(ipv4).execute().try_collect().await?;
    let mut on_link: BTreeMap<IfIndex, BTreeSet<Ipv4Net>> = BTreeMap::new();
    for (index, network) in routes.iter().filter_map(self::on_link) {
        on_link.entry(index).or_default().insert(network);
    }
    Ok(Snapshot {
        interfaces: links.iter().filter_map(InterfaceFacts::from_message).collect(),
        default_route: default_route(&routes),
        on_link,
    })
}

/// The interface below this one, if it is in the same network namespace: other numbers are
/// indices of another namespace, as those of the pods' ends of veth pairs are.
fn lower(attributes: &[LinkAttribute]) -> Option<IfIndex> {
    let is_elsewhere = |attribute| matches!(attribute, &LinkAttribute::LinkNetNsId(_));
    if attributes.iter().any(is_elsewhere) {
        return None;
    }
    attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => IfIndex::new(*index),
        _ => None,
    })
}

/// Whether the interface itself is meant, or the one that it is above.
fn concerned_by_link(link: &LinkMessage, is_meant: impl Fn(IfIndex, Option<&str>) -> bool) -> bool {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    let lower = lower(&link.attributes);
    IfIndex::new(link.header.index).is_some_and(|index| is_meant(index, name))
        || lower.is_some_and(|index| is_meant(index, None))
}

/// The interface of a route without a gateway, and where it leads.
fn on_link(route: &RouteMessage) -> Option<(IfIndex, Ipv4Net)> {
    let header = &route.header;
    // In whatever table: those of a VRF are in its own.
    let is_local = u32::from(header.table) == u32::from(libc::RT_TABLE_LOCAL);
    if header.scope != RouteScope::Link || is_local {
        return None;
    }
    let interface = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => IfIndex::new(*index),
        _ => None,
    });
    let network = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(network)) => Some(*network),
        _ => None,
    });
    let network = network.unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some((interface?, Ipv4Net::new(network, header.destination_prefix_length).ok()?))
}

fn default_route(routes: &[RouteMessage]) -> Option<IfIndex> {
    let is_default = |route: &&RouteMessage| {
        route.header.destination_prefix_length == 0
            && u32::from(route.header.table) == u32::from(libc::RT_TABLE_MAIN)
    };
    let metric = |route: &RouteMessage| {
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        })
    };
    let outgoing = |route: &RouteMessage| {
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => IfIndex::new(*index),
            RouteAttribute::MultiPath(hops) => IfIndex::new(hops.first()?.interface_index),
            _ => None,
        })
    };
    let best = routes.iter().filter(is_default).min_by_key(|route| metric(route).unwrap_or(0))?;
    outgoing(best)
}

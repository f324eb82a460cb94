//! All interfaces of the network namespace, and where its routes lead.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use rtnetlink::packet_route::{
    link::LinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope},
};
use serde::{Deserialize, Serialize};

use super::InterfaceFacts;
use crate::types::IfIndex;

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
    pub(super) fn from_messages(links: &[LinkMessage], routes: &[RouteMessage]) -> Self {
        let mut on_link: BTreeMap<IfIndex, BTreeSet<Ipv4Net>> = BTreeMap::new();
        for (index, network) in routes.iter().filter_map(self::on_link) {
            on_link.entry(index).or_default().insert(network);
        }
        Self {
            interfaces: links.iter().filter_map(InterfaceFacts::from_message).collect(),
            default_route: default_route(routes),
            on_link,
        }
    }

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

/// The interface of a route without a gateway, and where it leads.
pub(super) fn on_link(route: &RouteMessage) -> Option<(IfIndex, Ipv4Net)> {
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

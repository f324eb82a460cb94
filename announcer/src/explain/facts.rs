//! What is known of a cluster from outside its nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::Path,
    time::Duration,
};

use k8s_openapi::api::core::v1::Service;

use crate::{
    intent::{
        index::{Index, Kind, Object, ObjectKey, Selection, key},
        watch::Unreadable,
    },
    ownership::{
        profile::Settings,
        store::{NodeRecord, Records},
    },
    types::NodeName,
};

/// What the person who asks gave by flags: commands to type need it, too.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The namespace of the Leases.
    pub namespace: &'a str,
    /// The kubeconfig; `None`: the one that kubectl takes by itself.
    pub kubeconfig: Option<&'a Path>,
}

/// Objects of the cluster, as one list of each kind gave them.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// All of them.
    pub objects: Vec<Object>,
    /// The kinds that could not be listed, and why.
    pub unreadable: BTreeMap<Kind, Unreadable>,
}

/// Leases, and what was seen of them while they were watched.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// As they are now; `None`: they cannot be read.
    pub records: Option<Records>,
    /// Why not.
    pub unreadable: Option<String>,
    /// Other namespaces with Leases of announcers.
    pub elsewhere: BTreeSet<String>,
    /// Nodes that have renewed their lease since the watch began, and when last, from then.
    pub renewed: BTreeMap<NodeName, Duration>,
    /// How long the leases have been watched.
    pub lasted: Duration,
}

/// How a node's session is, as far as its lease was watched. Displayed: for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Leases cannot be read.
    Unreadable,
    /// The announcers' Leases are in another namespace.
    Elsewhere,
    /// There is no node lease.
    Absent,
    /// Open and renewed meanwhile.
    Alive,
    /// Open, and watched for too short a time to tell.
    Open,
    /// Open, and not renewed for as long as it lasts.
    Silent,
    /// Over.
    Over,
}

impl Standing {
    /// Whether nothing says that no announcer runs there.
    pub const fn may_be_alive(self) -> bool {
        matches!(self, Self::Unreadable | Self::Elsewhere | Self::Alive | Self::Open)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "its lease cannot be read",
            Self::Elsewhere => "its lease is in another namespace",
            Self::Absent => {
                "no node lease: no announcer, or one that never was a candidate for any VIP"
            }
            Self::Alive => "session open and renewed",
            Self::Open => "session open",
            Self::Silent => "session open, but not renewed while it was watched",
            Self::Over => {
                "session over: its announcer has ended, was fenced, or is no candidate for any \
                 VIP; what it says may be old"
            }
        })
    }
}

impl Watched {
    /// How a node's session is.
    pub fn standing(&self, node: &NodeName) -> Standing {
        let Some(records) = &self.records else { return Standing::Unreadable };
        match records.nodes.get(node) {
            None if self.are_elsewhere() => Standing::Elsewhere,
            None => Standing::Absent,
            Some(record) if !record.lease.open => Standing::Over,
            Some(_) if self.renewed.contains_key(node) => Standing::Alive,
            Some(record) if self.lasted < record.duration => Standing::Open,
            Some(_) => Standing::Silent,
        }
    }

    /// Whether announcers have their Leases in other namespaces, and none in this one.
    pub fn are_elsewhere(&self) -> bool {
        let none_here = self.records.as_ref().is_some_and(|records| records.nodes.is_empty());
        none_here && !self.elsewhere.is_empty()
    }

    /// A node's lease.
    pub fn node(&self, node: &NodeName) -> Option<&NodeRecord> {
        self.records.as_ref()?.nodes.get(node)
    }

    /// Whether a node's session is open and it has renewed it meanwhile.
    pub fn is_alive(&self, node: &NodeName) -> bool {
        self.standing(node) == Standing::Alive
    }

    /// Whether a node's session is open as far as its lease says.
    pub fn is_open(&self, node: &NodeName) -> bool {
        self.node(node).is_some_and(|record| record.lease.open)
    }
}

/// The settings that count: those of the daemons where they say them.
#[derive(Clone, Debug)]
pub struct Effective {
    /// As the index wants them.
    pub selection: Selection,
    /// As most daemons say; `None`: none says any, so the flags of this command count.
    pub said: Option<Settings>,
    /// Nodes whose daemons have other settings, and which.
    pub others: BTreeMap<NodeName, Settings>,
    /// How many have those that count.
    pub nodes: usize,
}

/// Chooses between what daemons say and the flags. Those whose session is open go before
/// those that are gone, and what most say before what few do.
pub fn effective(records: Option<&Records>, flags: &Selection) -> Effective {
    let saying = |open: bool| {
        let nodes = records.into_iter().flat_map(|records| &records.nodes);
        let nodes = nodes.filter(move |(_, record)| record.lease.open == open);
        nodes.filter_map(|(node, record)| Some((node, record.profile.settings.as_ref()?)))
    };
    let said: Vec<_> = match saying(true).next() {
        Some(_) => saying(true).collect(),
        None => saying(false).collect(),
    };
    let mut counts: BTreeMap<&Settings, usize> = BTreeMap::new();
    for (_, settings) in &said {
        *counts.entry(settings).or_default() += 1;
    }
    let chosen = counts.iter().max_by_key(|(_, count)| **count);
    let chosen =
        chosen.and_then(|(settings, count)| Some((*settings, *count, settings.selection()?)));
    let Some((settings, nodes, selection)) = chosen else {
        let selection = flags.clone();
        return Effective { selection, said: None, others: BTreeMap::new(), nodes: 0 };
    };
    // Another version alone is no other setting.
    let same = |other: &Settings| {
        Settings { version: settings.version.clone(), ..other.clone() } == *settings
    };
    let others = said.iter().filter(|(_, other)| !same(other));
    let others = others.map(|(node, other)| ((*node).clone(), (*other).clone())).collect();
    Effective { selection, said: Some(settings.clone()), others, nodes }
}

impl Objects {
    /// An index of them, as a daemon would have it that knows no interfaces.
    pub fn index(&self, selection: Selection) -> Index {
        let mut index = Index::new(NodeName::nameless(), selection);
        if self.unreadable.contains_key(&Kind::EndpointSlice) {
            index.set_endpoints_readable(false);
        }
        self.objects.iter().for_each(|object| index.apply(object));
        index
    }

    /// A Service.
    pub fn service(&self, wanted: &ObjectKey) -> Option<&Service> {
        self.services().find(|service| key(&service.metadata) == *wanted)
    }

    /// The Services with an address, in their status or as an external IP.
    pub fn services_with(&self, address: IpAddr) -> Vec<ObjectKey> {
        let has = |text: &str| text.parse() == Ok(address);
        let services = self.services().filter(|service| addresses(service).any(has));
        services.map(|service| key(&service.metadata)).collect()
    }

    /// All Services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.objects.iter().filter_map(|object| match object {
            Object::Service(service) => Some(&**service),
            _ => None,
        })
    }
}

/// The addresses that a Service has or wants, as texts: those of its load balancer, and
/// its external ones.
pub fn addresses(service: &Service) -> impl Iterator<Item = &str> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let external = service.spec.as_ref().and_then(|spec| spec.external_ips.as_deref());
    let ingress = ingress.iter().filter_map(|ingress| ingress.ip.as_deref());
    ingress.chain(external.unwrap_or_default().iter().map(String::as_str))
}

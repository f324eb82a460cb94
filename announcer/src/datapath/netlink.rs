//! What the kernel says about network interfaces (rtnetlink, ethtool).
//!
//! Questions, and word of changes that call for asking again.

mod changes;
mod interface;
mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
};

use futures::TryStreamExt as _;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{address::AddressAttribute, tc::TcAttribute},
};
use tokio::task::JoinHandle;

pub use self::{
    changes::Changes,
    interface::{AttachedMode, AttachedProgram, InterfaceFacts},
    snapshot::Snapshot,
};
use super::ethtool;
use crate::types::IfIndex;

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
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await?;
        let ipv4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<_> = self.handle.route().get(ipv4).execute().try_collect().await?;
        Ok(Snapshot::from_messages(&links, &routes))
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
        let mut changes = Self::changes()?;
        loop {
            if let Some(found) = probe(&changes.netlink().snapshot().await?) {
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
        Changes::subscribe()
    }
}

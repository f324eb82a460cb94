//! Word of changes that call for looking again.

use futures::{StreamExt as _, channel::mpsc::UnboundedReceiver};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
    },
    sys::SocketAddr,
};

use super::{Connection, Netlink, NetlinkError, interface::lower, snapshot::on_link};
use crate::types::IfIndex;

/// A subscription: says when to look, and has the connection to look with. What
/// happens between the subscription and the first look is seen by either.
#[derive(Debug)]
pub struct Changes {
    netlink: Netlink,
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Changes {
    pub(super) fn subscribe() -> Result<Self, NetlinkError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Route];
        let (connection, handle, events) = rtnetlink::new_multicast_connection(&groups)?;
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
    pub(super) async fn next(&mut self) -> Result<(), NetlinkError> {
        self.events.next().await.ok_or(NetlinkError::Closed)?;
        // What else has come is seen by the same look.
        while self.events.try_recv().is_ok() {}
        Ok(())
    }
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

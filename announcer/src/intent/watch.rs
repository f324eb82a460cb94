//! Feeds the index from watches, and publishes the intent.

mod conditions;
mod feed;
mod orphans;
mod rights;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{
    FutureExt, StreamExt,
    stream::{BoxStream, SelectAll},
};
use kube::Client;
use tokio::sync::watch::{Receiver, Sender};
use tracing::{debug, info, warn};

pub use self::feed::Unreadable;
use self::{
    conditions::Conditions,
    feed::{Fed, FeedEvent, feed},
    orphans::Orphans,
    status::StatusWriter,
};
use super::{
    desired::Intent,
    index::{Index, Kind, Links, Notice, Object, ObjectKey, Selection},
};
use crate::{
    condition::Seen,
    events::Reports,
    types::{BootTime, NodeName},
};

/// Watches what intent depends on, for ever.
///
/// Services, Nodes and policies always; EndpointSlices, Gateways and Ingresses from
/// the moment on that a Service calls for them. Publishes nothing before all of
/// these have been listed once: an intent without Nodes would make every holder
/// ineligible. A kind that the API server does not know, or that we may not read,
/// counts as listed and empty until it changes its mind.
///
/// `links` is what the data plane says of this node's interfaces. VIPs that no node may hold
/// are told of in `reports`. Conditions of Services are put into `seen`, if they are wanted.
pub async fn run(
    client: Client,
    me: NodeName,
    selection: Selection,
    mut links: Receiver<Option<Links>>,
    intent: Sender<Option<Arc<Intent>>>,
    reports: Reports,
    seen: Option<Sender<Seen>>,
) {
    let mut orphans = Orphans::new(me.clone(), reports);
    let mut status = StatusWriter::new(client.clone());
    let mut watches = Watches {
        index: Index::new(me, selection),
        client,
        listings: BTreeMap::new(),
        feeds: SelectAll::new(),
        conditions: Conditions(seen),
    };
    watches.index.set_links(links.borrow_and_update().clone());
    for kind in [Kind::Service, Kind::Node, Kind::Policy] {
        watches.start(kind);
    }
    loop {
        // Cancel-safe: each branch takes one whole event or nothing.
        tokio::select! {
            Some(event) = watches.feeds.next() => watches.take(event),
            () = until(orphans.next()) => {
                let said = intent.borrow().clone();
                if let Some(said) = said {
                    orphans.tell(BootTime::now(), &said, &mut watches.index);
                    watches.conditions.set_orphans(orphans.told());
                }
                continue;
            }
            step = status.next() => {
                let index = &watches.index;
                status.go_on(step, |name| index.statuses().find(|status| status.name == name));
            }
            Ok(()) = links.changed() => {
                watches.index.set_links(links.borrow_and_update().clone());
            }
        }
        // Everything that is ready besides: one intent for a burst of changes.
        while let Some(Some(event)) = watches.feeds.next().now_or_never() {
            watches.take(event);
        }
        let Some(new) = watches.intent() else { continue };
        status.schedule(watches.index.statuses(), watches.index.nodes());
        orphans.follow(BootTime::now(), &new, &mut watches.index);
        watches.conditions.set_orphans(orphans.told());
        let new = Some(new);
        intent.send_if_modified(|current| {
            let changed = *current != new;
            *current = new;
            changed
        });
    }
}

async fn until(at: Option<BootTime>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(BootTime::now())).await,
        None => std::future::pending().await,
    }
}

/// All objects of a kind, as a daemon would see them now.
///
/// # Errors
/// Why they cannot be listed; it is not tried again.
pub async fn list(client: &Client, kind: Kind) -> Result<Vec<Object>, Unreadable> {
    feed::list(client, kind).await
}

/// Where the watch of one kind stands.
#[derive(Default)]
struct Listing {
    /// What the list that is under way has named so far.
    names: BTreeSet<ObjectKey>,
    /// It has been listed once, or it is known that it cannot be.
    complete: bool,
    /// Why it cannot be read, told to people once.
    unreadable: bool,
}

struct Watches {
    index: Index,
    client: Client,
    listings: BTreeMap<Kind, Listing>,
    feeds: SelectAll<BoxStream<'static, FeedEvent>>,
    conditions: Conditions,
}

impl Watches {
    fn start(&mut self, kind: Kind) {
        if let std::collections::btree_map::Entry::Vacant(listing) = self.listings.entry(kind) {
            listing.insert(Listing::default());
            self.feeds.push(feed(&self.client, kind));
        }
    }

    /// The intent, if it rests on everything that it needs to.
    fn intent(&mut self) -> Option<Arc<Intent>> {
        let complete = |listings: &BTreeMap<Kind, Listing>| listings.values().all(|l| l.complete);
        if !complete(&self.listings) {
            return None;
        }
        let intent = self.index.intent();
        tell(self.index.take_notices());
        let wants = self.index.wants();
        for (kind, wanted) in [
            (Kind::EndpointSlice, wants.endpoints),
            (Kind::Gateway, wants.gateways),
            (Kind::Ingress, wants.ingresses),
        ] {
            if wanted {
                self.start(kind);
            }
        }
        complete(&self.listings).then_some(intent)
    }

    fn take(&mut self, FeedEvent { kind, what }: FeedEvent) {
        let listing = self.listings.entry(kind).or_default();
        match what {
            Fed::Listing => listing.names.clear(),
            Fed::Listed(object) => {
                listing.names.insert(object.key());
                self.conditions.apply(&object);
                self.index.apply(&object);
            }
            Fed::ListDone => {
                let names = std::mem::take(&mut listing.names);
                listing.complete = true;
                if std::mem::take(&mut listing.unreadable) {
                    info!(%kind, "can be read now");
                }
                self.index.retain(kind, &names);
                self.conditions.retain(kind, &names);
                if kind == Kind::EndpointSlice {
                    self.index.set_endpoints_readable(true);
                }
            }
            Fed::Applied(object) => {
                self.conditions.apply(&object);
                self.index.apply(&object);
            }
            Fed::Deleted(key) => {
                self.conditions.delete(kind, &key);
                self.index.delete(kind, &key);
            }
            Fed::Absent => {
                if !std::mem::replace(&mut listing.unreadable, true) {
                    info!(%kind, consequence = without(kind), "not installed in this cluster");
                }
                self.unreadable(kind, true);
            }
            Fed::Forbidden(error) => {
                if !std::mem::replace(&mut listing.unreadable, true) {
                    warn!(
                        %kind, error, consequence = without(kind),
                        "may not be read; apply the ClusterRole of this version"
                    );
                }
                self.unreadable(kind, false);
            }
            Fed::Broken(error) => debug!(%kind, error, "watch interrupted"),
        }
    }

    /// A kind cannot be read. What is gone is forgotten; what may only not be read
    /// any more stays as it was last seen. Without Services and Nodes nothing goes.
    fn unreadable(&mut self, kind: Kind, gone: bool) {
        if matches!(kind, Kind::Service | Kind::Node) {
            return;
        }
        let listing = self.listings.entry(kind).or_default();
        let never_seen = !std::mem::replace(&mut listing.complete, true);
        if gone {
            self.index.retain(kind, &BTreeSet::new());
        }
        if kind == Kind::EndpointSlice && (gone || never_seen) {
            self.index.set_endpoints_readable(false);
        }
    }
}

/// What follows when a kind cannot be read.
const fn without(kind: Kind) -> &'static str {
    match kind {
        Kind::Service | Kind::Node => "nothing is announced",
        Kind::EndpointSlice => "externalTrafficPolicy: Local is taken as Cluster",
        Kind::Policy => "the flags decide what is announced",
        Kind::Gateway | Kind::Ingress => "its Services inherit no labels",
    }
}

/// What people should know, once.
fn tell(notices: Vec<Notice>) {
    for notice in notices {
        match notice {
            Notice::Unfit { service, error } => {
                warn!(%service, %error, "address not announced");
            }
            Notice::Unlocated { service } => info!(
                %service,
                "has externalTrafficPolicy: Local, but its endpoints say of no node that they are \
                 there: announced as if it were Cluster"
            ),
            Notice::BadPolicy { policy, errors } => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                warn!(%policy, errors = errors.join("; "), "L2AnnouncementPolicy has no effect");
            }
            Notice::Divided { vip, services } => {
                let services: Vec<String> = services.iter().map(ToString::to_string).collect();
                warn!(
                    %vip, services = services.join(", "),
                    "no node is right for all Services on this address: announced where it is \
                     right for one"
                );
            }
        }
    }
}

//! Feeds the index from watches, and publishes the intent.

use std::{collections::BTreeSet, pin::pin, sync::Arc};

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch::Sender;
use tracing::{debug, warn};

use super::index::{Index, ObjectKey, Selection, key};
use crate::{backoff::watch_backoff, ownership::machine::Intent};

/// Watches Services and Nodes for ever. Publishes nothing before both have been
/// listed once: an intent without Nodes would make every holder ineligible.
pub async fn run(client: Client, selection: Selection, intent: Sender<Option<Arc<Intent>>>) {
    let mut services = pin!(objects::<Service>(Api::all(client.clone())));
    let mut nodes = pin!(objects::<Node>(Api::all(client)));
    let mut feed = Feed {
        index: Index::new(selection),
        services: Listing::default(),
        nodes: Listing::default(),
    };
    loop {
        tokio::select! {
            Some(event) = services.next() => feed.service(event),
            Some(event) = nodes.next() => feed.node(event),
            else => return,
        }
        // Everything that is ready besides: one intent for a burst of changes.
        while let Some(Some(event)) = services.next().now_or_never() {
            feed.service(event);
        }
        while let Some(Some(event)) = nodes.next().now_or_never() {
            feed.node(event);
        }
        if feed.services.complete && feed.nodes.complete {
            let new = Some(Arc::new(feed.index.intent()));
            intent.send_if_modified(|current| {
                let changed = *current != new;
                *current = new;
                changed
            });
        }
    }
}

type Event<K> = Result<watcher::Event<K>, watcher::Error>;

fn objects<K>(api: Api<K>) -> impl Stream<Item = Event<K>> + Send
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
{
    watcher(api, watcher::Config::default().timeout(60))
        .map(|event| {
            event.map(|event| {
                event.modify(|object| {
                    // Nobody here reads them, and they are half of most objects.
                    object.meta_mut().managed_fields = None;
                })
            })
        })
        .backoff(watch_backoff())
}

/// Where one watch stands in its (re)listing.
#[derive(Default)]
struct Listing {
    names: BTreeSet<ObjectKey>,
    complete: bool,
}

struct Feed {
    index: Index,
    services: Listing,
    nodes: Listing,
}

impl Feed {
    fn service(&mut self, event: Event<Service>) {
        match event {
            Ok(watcher::Event::Init) => self.services.names.clear(),
            Ok(watcher::Event::InitApply(service)) => {
                self.services.names.insert(key(&service.metadata));
                self.apply_service(&service);
            }
            Ok(watcher::Event::InitDone) => {
                self.index.retain_services(&self.services.names);
                self.services.complete = true;
            }
            Ok(watcher::Event::Apply(service)) => self.apply_service(&service),
            Ok(watcher::Event::Delete(service)) => self.index.delete_service(&service),
            Err(error) => debug!(%error, "Service watch interrupted"),
        }
    }

    fn apply_service(&mut self, service: &Service) {
        for unfit in self.index.apply_service(service) {
            warn!(service = %unfit.service, error = %unfit.error, "address not announced");
        }
    }

    fn node(&mut self, event: Event<Node>) {
        match event {
            Ok(watcher::Event::Init) => self.nodes.names.clear(),
            Ok(watcher::Event::InitApply(node)) => {
                self.nodes.names.insert(key(&node.metadata));
                self.index.apply_node(&node);
            }
            Ok(watcher::Event::InitDone) => {
                self.index.retain_nodes(&self.nodes.names);
                self.nodes.complete = true;
            }
            Ok(watcher::Event::Apply(node)) => self.index.apply_node(&node),
            Ok(watcher::Event::Delete(node)) => self.index.delete_node(&node),
            Err(error) => debug!(%error, "Node watch interrupted"),
        }
    }
}

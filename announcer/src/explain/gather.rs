//! Reads what an explanation is about. Only gets, lists and watches.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::join_all, stream::BoxStream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::time::Instant;

use super::facts::{Objects, Watched, effective};
use crate::{
    client::reason,
    intent::{
        index::{Kind, Selection},
        watch::{self, Unreadable},
    },
    ownership::{
        lease::Version,
        store::{LEASE_LABEL, Records},
    },
    types::NodeName,
};

/// The API server, or a way to it, does not work.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be listed: {why}")]
pub struct GatherError {
    what: String,
    why: String,
}

/// What was found.
#[derive(Debug)]
pub struct Gathered {
    /// Objects that decide what should be announced.
    pub objects: Objects,
    /// Leases, which say what is.
    pub leases: Leases,
}

/// Asks for everything once. `flags` count where no daemon says what it uses.
///
/// # Errors
/// The API server does not answer. What it refuses is among the findings.
pub async fn gather(
    client: &Client,
    namespace: &str,
    flags: &Selection,
) -> Result<Gathered, GatherError> {
    let first = [Kind::Service, Kind::Node, Kind::Policy];
    let (listed, leases) = tokio::join!(
        join_all(first.map(|kind| watch::list(client, kind))),
        Leases::list(client, namespace),
    );
    let leases = leases?;
    let mut objects = Objects::default();
    for (kind, listed) in first.into_iter().zip(listed) {
        objects.take(kind, listed)?;
    }
    let selection = effective(leases.watched.records.as_ref(), flags).selection;
    // One kind can call for another: labels of a Gateway select a Service, whose endpoints
    // then count.
    let mut asked = BTreeSet::new();
    loop {
        let mut index = objects.index(selection.clone());
        index.claimed();
        let wants = index.wants();
        let wanted = [
            (Kind::EndpointSlice, wants.endpoints),
            (Kind::Gateway, wants.gateways),
            (Kind::Ingress, wants.ingresses),
        ];
        let missing = wanted.into_iter().filter(|(kind, wanted)| *wanted && asked.insert(*kind));
        let missing: Vec<Kind> = missing.map(|(kind, _)| kind).collect();
        if missing.is_empty() {
            return Ok(Gathered { objects, leases });
        }
        for kind in missing {
            objects.take(kind, watch::list(client, kind).await)?;
        }
    }
}

impl Objects {
    fn take(
        &mut self,
        kind: Kind,
        listed: Result<Vec<crate::intent::index::Object>, Unreadable>,
    ) -> Result<(), GatherError> {
        match listed {
            Ok(objects) => self.objects.extend(objects),
            Err(Unreadable::Broken(why)) => {
                return Err(GatherError { what: format!("{kind}s"), why });
            }
            Err(why) => drop(self.unreadable.insert(kind, why)),
        }
        Ok(())
    }
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Lease>>>;

/// The Leases of announcers, for as long as they are watched.
pub struct Leases {
    api: Api<Lease>,
    /// The version of the list that the watch goes on from.
    version: String,
    watched: Watched,
    /// Node leases as they were listed.
    first: BTreeMap<NodeName, Version>,
    watch: Option<(Instant, Option<Events>)>,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.watched.fmt(f)
    }
}

impl Leases {
    async fn list(client: &Client, namespace: &str) -> Result<Self, GatherError> {
        let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let ours = ListParams::default().labels(LEASE_LABEL);
        let mut watched = Watched::default();
        let mut version = String::new();
        match api.list(&ours).await {
            Ok(list) => {
                version = list.metadata.resource_version.clone().unwrap_or_default();
                let mut records = Records::default();
                list.items.iter().for_each(|lease| records.insert(lease));
                if records.nodes.is_empty() {
                    watched.elsewhere = elsewhere(client, &ours).await;
                }
                watched.records = Some(records);
            }
            Err(kube::Error::Api(status)) if [401, 403, 404].contains(&status.code) => {
                watched.unreadable = Some(status.message.clone());
            }
            Err(error) => {
                return Err(GatherError { what: "Leases".to_owned(), why: reason(&error) });
            }
        }
        let nodes = watched.records.iter().flat_map(|records| &records.nodes);
        let first = nodes.map(|(node, record)| (node.clone(), record.lease.version)).collect();
        Ok(Self { api, version, watched, first, watch: None })
    }

    /// What is known of them now.
    pub const fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Waits until a Lease has changed, but no longer than until they have been watched for
    /// `limit`; returns whether one has.
    pub async fn watch_until(&mut self, limit: Duration) -> bool {
        let (began, events) = match self.watch.take() {
            Some(begun) => begun,
            None => {
                let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX).saturating_add(60);
                let params = WatchParams::default().labels(LEASE_LABEL).timeout(seconds.min(290));
                // Where they may not be watched, they are listed again in the end.
                let events = self.api.watch(&params, &self.version).await.ok();
                (Instant::now(), events.map(StreamExt::boxed))
            }
        };
        let (_, events) = self.watch.insert((began, events));
        let deadline = began + limit;
        let next = async {
            match events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::time::timeout_at(deadline, next).await;
        self.watched.lasted = began.elapsed();
        match event {
            Ok(Some(Ok(event))) => {
                self.take(event);
                while let Some(Some(Ok(event))) = self
                    .watch
                    .as_mut()
                    .and_then(|(_, events)| events.as_mut())
                    .and_then(|events| events.next().now_or_never())
                {
                    self.take(event);
                }
                true
            }
            // The watch has ended, or broken: what is left is to look again in the end.
            Ok(_) => {
                self.watch = Some((began, None));
                true
            }
            Err(_elapsed) => {
                if matches!(self.watch, Some((_, None))) {
                    self.look_again().await;
                }
                self.watched.lasted = began.elapsed();
                false
            }
        }
    }

    fn take(&mut self, event: WatchEvent<Lease>) {
        let Some(records) = self.watched.records.as_mut() else { return };
        match event {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) => records.insert(&lease),
            WatchEvent::Deleted(lease) => records.remove(&lease),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
        }
        self.note_renewals();
    }

    async fn look_again(&mut self) {
        if let Ok(list) = self.api.list(&ListParams::default().labels(LEASE_LABEL)).await {
            let mut records = Records::default();
            list.items.iter().for_each(|lease| records.insert(lease));
            self.watched.records = Some(records);
            self.note_renewals();
        }
    }

    /// Whose lease has another version than before has written it.
    fn note_renewals(&mut self) {
        let nodes = self.watched.records.iter().flat_map(|records| &records.nodes);
        for (node, record) in nodes.filter(|(_, record)| record.lease.open) {
            if self.first.insert(node.clone(), record.lease.version) != Some(record.lease.version) {
                self.watched.renewed.insert(node.clone(), self.watched.lasted);
            }
        }
    }
}

/// Other namespaces with Leases of announcers, if that may be known.
async fn elsewhere(client: &Client, ours: &ListParams) -> BTreeSet<String> {
    let everywhere: Api<Lease> = Api::all(client.clone());
    let found = everywhere.list(ours).await.map(|list| list.items).unwrap_or_default();
    found.into_iter().filter_map(|lease| lease.metadata.namespace).collect()
}

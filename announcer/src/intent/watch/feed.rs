//! One watch of one kind, as the index wants it: events with their kind, at a pace
//! that suits what went wrong.

use std::{fmt::Debug, time::Instant};

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{
        ApiResource, DeserializeGuard, DynamicObject, GroupVersionKind, PartialObjectMeta, Status,
    },
    runtime::watcher::{self, watcher},
};
use serde::de::DeserializeOwned;

use super::rights::Rights;
use crate::{
    backoff::{Progress, WATCH_TIMEOUT_SECONDS, paced},
    client,
    intent::{
        index::{BadPolicy, Kind, Object, ObjectKey, key},
        policy::L2AnnouncementPolicy,
    },
};

/// Something about the objects of one kind.
#[derive(Debug)]
pub(super) struct FeedEvent {
    pub(super) kind: Kind,
    pub(super) what: Fed,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Fed {
    /// A complete list begins.
    Listing,
    /// One of the list.
    Listed(Object),
    /// The list is complete.
    ListDone,
    /// Made or changed.
    Applied(Object),
    /// Gone.
    Deleted(ObjectKey),
    /// The API server does not know the kind; asked again within half a minute.
    Absent,
    /// We may not read the kind; asked again within half a minute.
    Forbidden(String),
    /// Anything else; resumed soon.
    Broken(String),
}

/// Watches a kind for ever.
pub(super) fn feed(client: &Client, kind: Kind) -> BoxStream<'static, FeedEvent> {
    let client = client.clone();
    match kind {
        Kind::Service => full(kind, Api::all(client), "", |s: Service| Object::Service(s.into())),
        Kind::Node => full(kind, Api::all(client), "", |n: Node| Object::Node(n.into())),
        // Headless Services are never announced, and have most of the endpoints.
        Kind::EndpointSlice => {
            full(kind, Api::all(client), "!service.kubernetes.io/headless", |s: EndpointSlice| {
                Object::EndpointSlice(s.into())
            })
        }
        Kind::Policy => full(kind, Api::all(client), "", policy),
        Kind::Ingress => full(kind, Api::all(client), "", |i: PartialObjectMeta<Ingress>| {
            Object::Ingress(i.metadata.into())
        }),
        Kind::Gateway => {
            // v1 is served by the Gateway API since its version 1.0.
            let gvk = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
            let resource = ApiResource::from_gvk_with_plural(&gvk, "gateways");
            full(
                kind,
                Api::all_with(client, &resource),
                "",
                |g: PartialObjectMeta<DynamicObject>| Object::Gateway(g.metadata.into()),
            )
        }
    }
}

/// All objects of a kind, as they are now: one list, and no second try.
pub(super) async fn list(client: &Client, kind: Kind) -> Result<Vec<Object>, Unreadable> {
    let mut feed = feed(client, kind);
    let mut objects = Vec::new();
    while let Some(FeedEvent { what, .. }) = feed.next().await {
        match what {
            Fed::Listing => objects.clear(),
            Fed::Listed(object) | Fed::Applied(object) => objects.push(object),
            Fed::ListDone | Fed::Deleted(_) => return Ok(objects),
            Fed::Absent => return Err(Unreadable::Absent),
            Fed::Forbidden(error) => return Err(Unreadable::Forbidden(error)),
            Fed::Broken(error) => return Err(Unreadable::Broken(error)),
        }
    }
    Ok(objects)
}

/// Why the objects of a kind could not be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The API server does not know the kind.
    #[error("not installed in this cluster")]
    Absent,
    /// They may not be listed; with what the API server says.
    #[error("may not be listed: {0}")]
    Forbidden(String),
    /// Anything else.
    #[error("cannot be listed: {0}")]
    Broken(String),
}

/// An object that cannot be read must not hide the others.
fn policy(DeserializeGuard(policy): DeserializeGuard<L2AnnouncementPolicy>) -> Object {
    match policy {
        Ok(policy) => Object::Policy(policy.into()),
        Err(bad) => {
            Object::BadPolicy(Box::new(BadPolicy { metadata: bad.metadata, error: bad.error }))
        }
    }
}

fn config(labels: &str) -> watcher::Config {
    let config = watcher::Config::default().timeout(WATCH_TIMEOUT_SECONDS);
    if labels.is_empty() { config } else { config.labels(labels) }
}

fn full<K>(
    kind: Kind,
    api: Api<K>,
    labels: &'static str,
    object: fn(K) -> Object,
) -> BoxStream<'static, FeedEvent>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let begin = move || watcher(api.clone(), config(labels)).boxed();
    let mut rights = Rights::default();
    let judge = move |event| {
        let what = rights.judge(translate(event, object), Instant::now());
        let progress = progress(&what);
        (FeedEvent { kind, what }, progress)
    };
    paced(begin, judge).boxed()
}

const fn progress(what: &Fed) -> Progress {
    match what {
        Fed::Listing => Progress::None,
        Fed::Listed(_) | Fed::ListDone | Fed::Applied(_) | Fed::Deleted(_) => Progress::Made,
        Fed::Broken(_) => Progress::Interrupted,
        Fed::Absent | Fed::Forbidden(_) => Progress::Refused,
    }
}

fn translate<K: ResourceExt>(
    event: Result<watcher::Event<K>, watcher::Error>,
    object: impl Fn(K) -> Object,
) -> Fed {
    match event {
        Ok(watcher::Event::Init) => Fed::Listing,
        Ok(watcher::Event::InitApply(found)) => Fed::Listed(object(found)),
        Ok(watcher::Event::InitDone) => Fed::ListDone,
        Ok(watcher::Event::Apply(found)) => Fed::Applied(object(found)),
        Ok(watcher::Event::Delete(gone)) => Fed::Deleted(key(gone.meta())),
        Err(error) => match status(&error) {
            Some(Status { code: 404, .. }) => Fed::Absent,
            Some(Status { code: 403, message, .. }) => Fed::Forbidden(message.clone()),
            _ => Fed::Broken(client::watch_reason(&error)),
        },
    }
}

/// The API server's answer, if it was one.
const fn status(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(kube::Error::Api(status))
        | E::WatchStartFailed(kube::Error::Api(status))
        | E::WatchFailed(kube::Error::Api(status))
        | E::WatchError(status) => Some(status),
        _ => None,
    }
}

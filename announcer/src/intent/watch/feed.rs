//! One watch of one kind, as the index wants it: events with their kind, at a pace
//! that suits what went wrong.

use std::{fmt::Debug, time::Duration};

use backon::ExponentialBuilder;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ApiResource, DeserializeGuard, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::{
        utils::Backoff,
        watcher::{self, ExponentialBackoff, watcher},
    },
};
use serde::de::DeserializeOwned;

use crate::{
    backoff::watch_backoff,
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

/// Until a CustomResourceDefinition or a right is granted, on many nodes.
fn absent_backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        // With jitter on top up to twice that.
        .with_max_delay(Duration::from_secs(15))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .into()
}

/// How long the API server keeps one watch request open; a connection that died
/// silently is noticed a few seconds after.
const WATCH_TIMEOUT_SECONDS: u32 = 60;

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
    paced(kind, move || watcher(api.clone(), config(labels)).boxed(), object)
}

type Events<K> = BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

/// The events of a watch that is begun by `begin`, with pauses after errors.
///
/// Not kube's own backoff: that counts the announcement of a list as a success, so
/// that lists which fail are tried again without ever slowing down.
fn paced<K, W>(
    kind: Kind,
    begin: impl Fn() -> Events<K> + Send + 'static,
    object: W,
) -> BoxStream<'static, FeedEvent>
where
    K: ResourceExt + Send + 'static,
    W: Fn(K) -> Object + Send + 'static,
{
    struct State<K, B, W> {
        begin: B,
        object: W,
        events: Events<K>,
        soon: ExponentialBackoff,
        late: ExponentialBackoff,
        pause: Option<Duration>,
    }
    let (soon, late) = (watch_backoff(), absent_backoff());
    let state = State { events: begin(), begin, object, soon, late, pause: None };
    stream::unfold(state, move |mut state| async move {
        if let Some(pause) = state.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let what = translate(state.events.next().await?, &state.object);
        match &what {
            Fed::Listing => {}
            Fed::Absent | Fed::Forbidden(_) => {
                state.pause = state.late.next();
                // What was known is void: list anew, don't resume.
                state.events = (state.begin)();
            }
            Fed::Broken(_) => state.pause = state.soon.next(),
            Fed::Listed(_) | Fed::ListDone | Fed::Applied(_) | Fed::Deleted(_) => {
                state.soon.reset();
                state.late.reset();
            }
        }
        Some((FeedEvent { kind, what }, state))
    })
    .boxed()
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
        Err(error) => {
            let text = error.to_string();
            match code(&error) {
                Some(404) => Fed::Absent,
                Some(403) => Fed::Forbidden(text),
                _ => Fed::Broken(text),
            }
        }
    }
}

/// The HTTP status of the API server's answer, if it was one.
fn code(error: &watcher::Error) -> Option<u16> {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(kube::Error::Api(status))
        | E::WatchStartFailed(kube::Error::Api(status))
        | E::WatchFailed(kube::Error::Api(status))
        | E::WatchError(status) => Some(status.code),
        _ => None,
    }
}

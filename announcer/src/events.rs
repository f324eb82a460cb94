//! Events on Services: what their people should know, beside the log.
//!
//! Nothing waits for them, and nothing depends on them: one that cannot be written is
//! told to the log, and forgotten. Each has a name that follows from what it says, so that
//! the API server refuses what has been said already, by whomever. The conditions of
//! [`condition`] wait for their turn behind them.

mod news;

use std::{convert::Infallible, sync::Arc, time::Duration};

use k8s_openapi::{
    api::events::v1::Event,
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tracing::{debug, warn};

pub use self::news::{Announced, News};
use crate::{
    client, condition,
    intent::{desired::ServiceRef, index::Links},
    observe::metrics::{Metrics, RequestResult},
    types::NodeName,
};

/// So many conflicts wait to be written: they are rare, and come one by one.
const CONFLICTS: usize = 64;

/// So many moves wait: when a node dies, more of them are no news.
const MOVES: usize = 32;

/// So many moves are told at once, and then one in so long: an API server that has just
/// had to do with the moves themselves shall not notice.
const BURST: u32 = 32;
const MOVE_INTERVAL: Duration = Duration::from_secs(1);

/// So many conditions wait; who asks for them does so again.
const CONDITIONS: usize = 32;

/// Conditions leave so many moves to be told at once.
const RESERVE: u32 = BURST / 2;

/// An Event may take so long to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that happened to a VIP of these Services.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Whom to tell.
    pub services: Arc<[ServiceRef]>,
    /// What.
    pub news: News,
}

/// Where occurrences are handed in.
#[derive(Clone, Debug)]
pub struct Reports {
    conflicts: mpsc::Sender<Occurrence>,
    moves: mpsc::Sender<Occurrence>,
    conditions: mpsc::Sender<condition::Patch>,
    stirred: Arc<Notify>,
    metrics: Metrics,
}

/// Where they come out.
#[derive(Debug)]
pub struct Occurrences {
    conflicts: mpsc::Receiver<Occurrence>,
    moves: mpsc::Receiver<Occurrence>,
    conditions: mpsc::Receiver<condition::Patch>,
    metrics: Metrics,
}

impl Reports {
    /// Handed in here, written by [`publish`] there.
    pub fn channel(metrics: Metrics) -> (Self, Occurrences) {
        let (conflicts, conflicts_out) = mpsc::channel(CONFLICTS);
        let (moves, moves_out) = mpsc::channel(MOVES);
        let (conditions, conditions_out) = mpsc::channel(CONDITIONS);
        let out = Occurrences {
            conflicts: conflicts_out,
            moves: moves_out,
            conditions: conditions_out,
            metrics: metrics.clone(),
        };
        (Self { conflicts, moves, conditions, stirred: Arc::default(), metrics }, out)
    }

    /// Never waits: when too many wait already, this one is not written, but counted.
    pub fn send(&self, occurrence: Occurrence) {
        let queue = match occurrence.news {
            News::Conflict(_) => &self.conflicts,
            News::Announced(_) | News::NoEligibleNode { .. } => &self.moves,
        };
        if let Err(error) = queue.try_send(occurrence) {
            self.metrics.event_dropped();
            debug!(%error, "no Event is written about this");
        }
    }

    /// The lease of some VIP says something else now.
    pub fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Waits for [`Self::stir`], for one task. Cancel-safe.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// So many conditions may be handed in.
    pub(crate) fn room_for_conditions(&self) -> usize {
        self.conditions.capacity()
    }

    /// Never waits; dropped where there is no room.
    pub(crate) fn put_condition(&self, patch: condition::Patch) {
        if let Err(error) = self.conditions.try_send(patch) {
            debug!(%error, "the condition is not written now");
        }
    }
}

/// What is written next.
enum Turn {
    Event(Occurrence),
    Condition(condition::Patch),
}

/// Writes Events, and conditions, in the name of this node, for ever. `links` are its interfaces.
pub async fn publish(
    client: Client,
    node: NodeName,
    links: watch::Receiver<Option<Links>>,
    mut occurrences: Occurrences,
) -> Infallible {
    // When the bucket of moves is full again.
    let mut full_at = Instant::now();
    let mut conditions = condition::Writer::new(client.clone(), occurrences.metrics.clone());
    loop {
        let turn = full_at.max(Instant::now()) - MOVE_INTERVAL * (BURST - 1);
        let turn = tokio::select! {
            biased;
            Some(conflict) = occurrences.conflicts.recv() => Turn::Event(conflict),
            Some(moved) = async {
                tokio::time::sleep_until(turn).await;
                occurrences.moves.recv().await
            } => {
                full_at = full_at.max(Instant::now()) + MOVE_INTERVAL;
                Turn::Event(moved)
            }
            Some(patch) = async {
                tokio::time::sleep_until(turn + MOVE_INTERVAL * RESERVE).await;
                occurrences.conditions.recv().await
            } => {
                full_at = full_at.max(Instant::now()) + MOVE_INTERVAL;
                Turn::Condition(patch)
            }
            // Their senders end with the daemon, which drops this task, too.
            else => return std::future::pending().await,
        };
        let occurrence = match turn {
            Turn::Event(occurrence) => occurrence,
            Turn::Condition(patch) => {
                conditions.write(&patch).await;
                continue;
            }
        };
        for service in occurrence.services.iter() {
            let interfaces = links.borrow().clone().unwrap_or_default();
            let event = event(&occurrence.news, service, &node, &interfaces);
            let written = write(&client, service, &event).await;
            let result = match &written {
                Ok(result) => *result,
                Err(_) => RequestResult::Failed,
            };
            occurrences.metrics.requested("create", "events", result);
            if let Err(error) = written {
                let (namespace, name) = (&service.namespace, &service.name);
                warn!(%namespace, service = %name, error, "the Event could not be written");
            }
        }
    }
}

/// A conflict: it has been written before, by this node or another one.
async fn write(
    client: &Client,
    service: &ServiceRef,
    event: &Event,
) -> Result<RequestResult, String> {
    let events: Api<Event> = Api::namespaced(client.clone(), &service.namespace);
    let parameters = PostParams::default();
    let writing = events.create(&parameters, event);
    match tokio::time::timeout(PATIENCE, writing).await {
        Ok(Ok(_)) => Ok(RequestResult::Ok),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(RequestResult::Conflict),
        Ok(Err(error)) => Err(client::reason(&error)),
        Err(_elapsed) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// events.k8s.io/v1 takes so many characters of a note.
const NOTE: usize = 1024;
/// And so many of an instance; the note has the whole name.
const INSTANCE: usize = 128;

fn event(news: &News, service: &ServiceRef, node: &NodeName, links: &Links) -> Event {
    let text = |text: &str| Some(text.to_owned());
    let note: String = news.note(node, links).chars().take(NOTE).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:016x}", service.name, news.identity(service))),
            namespace: text(&service.namespace),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        reporting_controller: text("l2announcer.io/announcer"),
        reporting_instance: Some(node.as_str().chars().take(INSTANCE).collect()),
        type_: text(news.kind()),
        reason: text(news.reason()),
        action: text(news.action()),
        note: Some(note),
        regarding: Some(news::reference(service)),
        ..Event::default()
    }
}

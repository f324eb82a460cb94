//! Events on Services: what their people should know of conflicts, beside the log.
//!
//! Nothing waits for them, and nothing depends on them: one that cannot be written is
//! told to the log, and forgotten.

use std::{convert::Infallible, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    conflict::{Notice, What},
    intent::desired::ServiceRef,
    types::NodeName,
};

/// So many wait to be written: conflicts are rare, and come one by one.
const WAITING: usize = 64;

/// An Event may take so long to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reason of an Event about a conflict, whether it begins or ends: those two differ
/// in their type.
const REASON: &str = "AddressConflict";

/// Something that happened to a VIP of these Services.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Whom to tell.
    pub services: Arc<[ServiceRef]>,
    /// What.
    pub notice: Notice,
}

/// Where occurrences are handed in.
#[derive(Clone, Debug)]
pub struct Reports(mpsc::Sender<Occurrence>);

impl Reports {
    /// Handed in here, written by [`publish`] there.
    pub fn channel() -> (Self, mpsc::Receiver<Occurrence>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Never waits: when too many wait already, this one is not written.
    pub fn send(&self, occurrence: Occurrence) {
        let Err(error) = self.0.try_send(occurrence) else { return };
        warn!(%error, "no Event is written about this");
    }
}

/// Writes Events in the name of this node, for ever.
pub async fn publish(
    client: Client,
    node: NodeName,
    mut occurrences: mpsc::Receiver<Occurrence>,
) -> Infallible {
    // 128 characters at most (events.k8s.io/v1); the note has the whole name.
    let instance = Some(node.as_str().chars().take(128).collect());
    let reporter = Reporter { controller: "l2announcer.io/announcer".to_owned(), instance };
    loop {
        let Some(occurrence) = occurrences.recv().await else {
            // Its sender ends with the daemon, which drops this task, too.
            return std::future::pending().await;
        };
        let event = event(&occurrence.notice, &node);
        // A recorder counts what it takes for the same again, whatever VIP and MAC the note
        // names: each occurrence is news.
        let recorder = Recorder::new(client.clone(), reporter.clone());
        for service in occurrence.services.iter() {
            let reference = reference(service);
            let writing = recorder.publish(&event, &reference);
            let error = match tokio::time::timeout(PATIENCE, writing).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => format!("no answer within {PATIENCE:?}"),
            };
            let (namespace, name) = (&service.namespace, &service.name);
            warn!(%namespace, service = %name, error, "the Event could not be written");
        }
    }
}

fn event(notice: &Notice, node: &NodeName) -> Event {
    let (type_, action) = match notice.what {
        What::Began | What::GoesOn => (EventType::Warning, "Detected"),
        What::Over(_) => (EventType::Normal, "Ended"),
    };
    Event {
        type_,
        reason: REASON.to_owned(),
        note: Some(format!("{notice} (node {node})")),
        action: action.to_owned(),
        secondary: None,
    }
}

fn reference(service: &ServiceRef) -> ObjectReference {
    let text = |text: &str| Some(text.to_owned());
    ObjectReference {
        api_version: text("v1"),
        kind: text("Service"),
        namespace: text(&service.namespace),
        name: text(&service.name),
        uid: text(&service.uid),
        ..ObjectReference::default()
    }
}

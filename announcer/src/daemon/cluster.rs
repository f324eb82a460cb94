//! What a daemon with a cluster runs: the intent, the ownership of its VIPs, and
//! what they need to know.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, Resource};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::{
    condition,
    config::Cluster,
    conflict,
    events::{self, Reports},
    intent::{self, index::Links},
    observe::Ask,
    ownership::{
        driver::{self, Channels, Witness},
        machine::Settings,
        profile::Profile,
        store::{Owner, Store},
        timing::Timing,
    },
    types::{MacAddr, NodeName},
    wire_state::{Adopted, Heard, WireState},
};

/// What the ownership task needs.
pub(super) struct Ownership {
    pub(super) cluster: Cluster,
    pub(super) timing: Timing,
    pub(super) conflict: conflict::Settings,
    /// Those that this node announces with.
    pub(super) macs: watch::Receiver<BTreeSet<MacAddr>>,
    /// What the node lease says besides.
    pub(super) profile: watch::Receiver<Profile>,
    pub(super) adopted: Option<Adopted>,
    /// Which interfaces can carry frames.
    pub(super) links: watch::Receiver<Option<Links>>,
    /// Where they are put.
    pub(super) owner: mpsc::Sender<Ask>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) witness: Witness,
}

impl Ownership {
    pub(super) async fn run(
        self,
        client: Client,
        wire: watch::Sender<Option<Arc<WireState>>>,
        claims: mpsc::Receiver<Heard>,
        drain: watch::Receiver<bool>,
    ) {
        let Self {
            cluster,
            timing,
            conflict,
            macs,
            profile,
            adopted,
            links,
            owner: ask,
            asks,
            witness,
        } = self;
        let (intent_in, intent) = watch::channel(None);
        let (seen_in, seen) = watch::channel(condition::Seen::default());
        let (reports, occurrences) = Reports::channel(witness.metrics.clone());
        let watching = intent::watch::run(
            client.clone(),
            cluster.node.clone(),
            cluster.selection,
            links.clone(),
            intent_in,
            reports.clone(),
            cluster.service_condition.then_some(seen_in),
        );
        let sources = condition::Sources {
            intent: intent.clone(),
            seen,
            profile: profile.clone(),
            owner: ask,
        };
        let conditions = condition::run(cluster.node.clone(), sources, reports.clone());
        let conditions = async {
            if cluster.service_condition {
                conditions.await;
            }
        };
        let reporting = events::publish(client.clone(), cluster.node.clone(), links, occurrences);
        let owner = Owner::new(watch::Sender::new(None));
        let finding = find_owner(client.clone(), cluster.node.clone(), owner.clone());
        let (node, namespace) = (cluster.node.clone(), &cluster.namespace);
        let store = Store::new(client, namespace, timing, node, macs, profile, owner);
        let settings = Settings {
            me: cluster.node,
            timing,
            on_api_loss: cluster.on_api_loss,
            handover_timeout: cluster.handover_timeout,
            rebalance: cluster.rebalance,
            probing: conflict.probe_interval.is_some(),
        };
        let channels = Channels { intent, claims, reports, wire, drain, asks };
        tokio::select! {
            ((), (), _, ()) = async { tokio::join!(watching, finding, reporting, conditions) } => {}
            () = driver::run(settings, conflict, adopted, store, channels, witness) => {}
        }
    }
}

/// Looks up this node's Node object, with which its lease is to be collected, as often
/// as the owner is not known. Nothing waits for it: a later renewal names the owner.
async fn find_owner(client: Client, node: NodeName, owner: Owner) {
    let nodes: Api<Node> = Api::all(client);
    let mut told = false;
    let mut pauses = crate::backoff::watch_backoff();
    let mut known = owner.subscribe();
    while known.wait_for(Option::is_none).await.is_ok() {
        let attempt = tokio::time::timeout(Duration::from_secs(5), nodes.get(node.as_str()));
        match attempt.await {
            // Wanted anew meanwhile: this may be the Node that is no more.
            Ok(Ok(_)) if known.has_changed().unwrap_or(true) => continue,
            Ok(Ok(object)) => {
                pauses = crate::backoff::watch_backoff();
                if let Some(reference) = object.owner_ref(&()) {
                    owner.send_replace(Some(reference));
                    continue;
                }
            }
            Ok(Err(kube::Error::Api(status))) if !std::mem::replace(&mut told, true) => {
                warn!(
                    %node, error = status.message,
                    "cannot read this node's Node object; give --node-name (ANNOUNCER_NODE_NAME) \
                     if it has another name"
                );
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
    }
}

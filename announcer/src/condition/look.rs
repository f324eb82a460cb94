//! When conditions are looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::debug;

use super::{Patch, Scene, Seen};
use crate::{
    events::Reports,
    intent::desired::{Intent, ServiceRef},
    observe::{Ask, ask},
    ownership::profile::Profile,
    types::NodeName,
};

/// What moves tends to move on, and others with it.
const SETTLING: Duration = Duration::from_secs(1);

/// At least so often, whatever happens: what was not written is tried again.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was handed in is in the Service by then, or it is handed in again.
const AGAIN: Duration = Duration::from_secs(60);

/// Where everything comes from that conditions follow from.
#[derive(Debug)]
pub struct Sources {
    /// What should be announced.
    pub intent: watch::Receiver<Option<Arc<Intent>>>,
    /// What the watches have shown.
    pub seen: watch::Receiver<Seen>,
    /// This node's interfaces.
    pub profile: watch::Receiver<Profile>,
    /// The loop that owns the VIPs.
    pub owner: mpsc::Sender<Ask>,
}

/// Keeps the conditions up that it is for this node to write, for ever; `reports` takes what
/// is to be written.
pub async fn run(me: NodeName, mut sources: Sources, reports: Reports) -> Infallible {
    let mut mine: BTreeSet<ServiceRef> = BTreeSet::new();
    let mut handed_in: BTreeMap<ServiceRef, (Patch, Instant)> = BTreeMap::new();
    loop {
        tokio::select! {
            Ok(()) = sources.intent.changed() => {}
            Ok(()) = sources.seen.changed() => {}
            Ok(()) = sources.profile.changed() => {}
            () = reports.stirred() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
        tokio::time::sleep(SETTLING).await;
        let Some(report) = ask(&sources.owner).await else { continue };
        let synced = report.cluster.as_ref().is_some_and(|member| member.synced);
        let Some(intent) = sources.intent.borrow_and_update().clone().filter(|_| synced) else {
            continue;
        };
        let due = {
            let profile = sources.profile.borrow_and_update();
            let scene = Scene {
                me: &me,
                interfaces: profile.interfaces.as_ref(),
                intent: &intent,
                vips: &report.vips,
                seen: &sources.seen.borrow_and_update(),
            };
            scene.due(Timestamp::now(), &mut mine)
        };
        let wanted: BTreeSet<_> = due.iter().map(|patch| &patch.service).collect();
        handed_in.retain(|service, (_, at)| wanted.contains(service) && at.elapsed() < AGAIN);
        let is_under_way = |patch: &Patch| {
            handed_in.get(&patch.service).is_some_and(|(before, _)| before.says_the_same(patch))
        };
        let (under_way, mut fresh): (Vec<_>, Vec<_>) = due.into_iter().partition(is_under_way);
        let room = reports.room_for_conditions().min(fresh.len());
        let later = fresh.split_off(room).len();
        debug!(
            conditions = mine.len(),
            fresh = fresh.len(),
            later,
            under_way = under_way.len(),
            "looked at conditions"
        );
        for patch in fresh {
            reports.put_condition(patch.clone());
            handed_in.insert(patch.service.clone(), (patch, Instant::now()));
        }
    }
}

impl Patch {
    /// Whether both come to the same but for times.
    fn says_the_same(&self, other: &Self) -> bool {
        let said = |patch: &Self| {
            let condition = patch.condition.as_ref();
            condition.map(|it| (it.status.clone(), it.reason.clone(), it.message.clone()))
        };
        self.service == other.service && said(self) == said(other)
    }
}

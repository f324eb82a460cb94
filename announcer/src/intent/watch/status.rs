//! Writes the status of policies.
//!
//! Every announcer knows what it should say, and one has to write it. There is no
//! leader for that: each waits a random time, looks again whether it still needs
//! to, and writes by compare-and-swap on the policy's version.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tracing::debug;

use crate::{
    client,
    intent::{
        index::{ACCEPTED, PolicyStatus},
        policy::L2AnnouncementPolicy,
    },
};

/// Random waits are spread over this much per node, so that mostly one writes
/// before the others see its write.
const SPREAD_PER_NODE: Duration = Duration::from_millis(20);

/// No policy waits longer for its status.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);

/// After a write, or one that somebody else's was faster than: until the watch has
/// told us.
const AFTER_WRITE: Duration = Duration::from_secs(2);

/// After a write that the API server refused or did not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

pub(super) enum Step {
    /// It may be written now, if it still needs to.
    Due(String),
    /// It was tried; not again before this has passed.
    Done { name: String, pause: Duration },
    /// It may be tried again.
    Forgiven(String),
}

pub(super) struct StatusWriter {
    api: Api<L2AnnouncementPolicy>,
    /// One step at a time for each policy.
    busy: BTreeSet<String>,
    steps: FuturesUnordered<BoxFuture<'static, Step>>,
}

impl StatusWriter {
    pub(super) fn new(client: Client) -> Self {
        Self { api: Api::all(client), busy: BTreeSet::new(), steps: FuturesUnordered::new() }
    }

    /// Takes up what differs.
    pub(super) fn schedule<'a>(
        &mut self,
        statuses: impl Iterator<Item = &'a PolicyStatus>,
        nodes: usize,
    ) {
        for status in statuses {
            if self.busy.insert(status.name.clone()) {
                let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
                let spread = SPREAD_PER_NODE.saturating_mul(nodes).min(LONGEST_SPREAD);
                self.after(spread.mul_f64(fastrand::f64()), Step::Due(status.name.clone()));
            }
        }
    }

    /// The next step that is due; pending while there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Step {
        match self.steps.next().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    /// Goes on from a step; `status` is what the policy's should be, if it differs.
    pub(super) fn go_on<'a>(
        &mut self,
        step: Step,
        status: impl FnOnce(&str) -> Option<&'a PolicyStatus>,
    ) {
        match step {
            Step::Due(name) => match status(&name) {
                Some(status) => {
                    self.steps.push(write(self.api.clone(), status.clone()).boxed());
                }
                None => drop(self.busy.remove(&name)),
            },
            Step::Done { name, pause } => self.after(pause, Step::Forgiven(name)),
            Step::Forgiven(name) => drop(self.busy.remove(&name)),
        }
    }

    fn after(&self, pause: Duration, step: Step) {
        self.steps.push(tokio::time::sleep(pause).map(|()| step).boxed());
    }
}

async fn write(api: Api<L2AnnouncementPolicy>, status: PolicyStatus) -> Step {
    let PolicyStatus {
        name,
        resource_version,
        generation,
        accepted,
        reason,
        message,
        since,
        others: mut conditions,
        differs: _,
    } = status;
    conditions.push(Condition {
        type_: ACCEPTED.to_owned(),
        status: if accepted { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
    });
    let patch = json!({
        "metadata": {"resourceVersion": resource_version},
        "status": {"conditions": conditions},
    });
    let written = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    let pause = match written {
        Ok(_) => AFTER_WRITE,
        // Somebody was faster, or the policy is another by now.
        Err(kube::Error::Api(answer)) if answer.code == 409 => AFTER_WRITE,
        Err(error) => {
            debug!(policy = name, error = client::reason(&error), "status not written");
            AFTER_FAILURE
        }
    };
    Step::Done { name, pause }
}

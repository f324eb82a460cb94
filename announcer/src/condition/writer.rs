//! Conditions into Services.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client,
    api::{Patch as Body, PatchParams},
    core::Status,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{L2_ANNOUNCED, Patch};
use crate::{
    client,
    intent::desired::ServiceRef,
    observe::metrics::{Metrics, RequestResult},
};

/// By this name managedFields say whose the condition is.
const FIELD_MANAGER: &str = "l2announcer.io/announcer";

/// A write may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who may not write does not try for so long.
const FORBIDDEN: Duration = Duration::from_secs(60);

/// Writes conditions by server-side apply, and remembers where that is not wanted.
pub(crate) struct Writer {
    client: Client,
    metrics: Metrics,
    /// Services (by uid) where somebody else has set our condition.
    left_alone: BTreeSet<Arc<str>>,
    /// When it may be tried again, and whether people have been told that it may not be.
    not_before: Instant,
    is_forbidden: bool,
}

impl Writer {
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        let (left_alone, not_before) = (BTreeSet::new(), Instant::now());
        Self { client, metrics, left_alone, not_before, is_forbidden: false }
    }

    /// One try; what fails is looked at again by whoever asked for it.
    pub(crate) async fn write(&mut self, patch: &Patch) {
        let service = &patch.service;
        if Instant::now() < self.not_before || self.left_alone.contains(&service.uid) {
            return;
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), &service.namespace);
        // Without force: what others have set is theirs.
        let (parameters, body) = (PatchParams::apply(FIELD_MANAGER), Body::Apply(body(patch)));
        let writing = services.patch_status(&service.name, &parameters, &body);
        let result = match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(_)) => {
                self.is_forbidden = false;
                RequestResult::Ok
            }
            Ok(Err(kube::Error::Api(status))) => self.refused(service, &status),
            Ok(Err(error)) => failed(service, &client::reason(&error)),
            Err(_elapsed) => failed(service, &format!("no answer within {PATIENCE:?}")),
        };
        self.metrics.requested("patch", "services/status", result);
    }

    fn refused(&mut self, service: &ServiceRef, status: &Status) -> RequestResult {
        let ServiceRef { namespace, name, uid } = service;
        match status.code {
            403 => {
                self.not_before = Instant::now() + FORBIDDEN;
                if !std::mem::replace(&mut self.is_forbidden, true) {
                    warn!(
                        error = status.message,
                        "condition {L2_ANNOUNCED} may not be written; apply \
                         deploy/kustomize/components/service-condition, or leave \
                         --service-condition out"
                    );
                }
                RequestResult::Failed
            }
            // The Service is gone, or another one has its name.
            404 => RequestResult::NotFound,
            409 if is_of_managers(status) => {
                self.left_alone.insert(uid.clone());
                warn!(
                    %namespace, service = %name, error = status.message,
                    "condition {L2_ANNOUNCED} is somebody else's here, and left alone"
                );
                RequestResult::Conflict
            }
            409 => RequestResult::Conflict,
            _ => failed(service, &status.message),
        }
    }
}

fn failed(service: &ServiceRef, error: &str) -> RequestResult {
    let ServiceRef { namespace, name, uid: _ } = service;
    debug!(%namespace, service = %name, error, "condition {L2_ANNOUNCED} not written");
    RequestResult::Failed
}

/// Another field manager has it, rather than that the Service is another one by now.
fn is_of_managers(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "FieldManagerConflict")
}

/// What is not in it any more and was ours is taken away.
fn body(patch: &Patch) -> Value {
    let ServiceRef { namespace: _, name, uid } = &patch.service;
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "Service",
        // Of this Service only.
        "metadata": { "name": name, "uid": uid },
    });
    if let Some(condition) = &patch.condition {
        body["status"] = json!({ "conditions": [condition] });
    }
    body
}

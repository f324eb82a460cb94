//! The API server's audit log, as it comes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use announcer_apiserver::{Audit, Audited, GroupResource, RequestInfo, Verb};
use anyhow::Result;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lab;

/// Whose requests are of interest.
const ANNOUNCER: &str = "system:serviceaccount:announcer-system:announcer";
/// The sender is not known.
const UNAUTHORIZED: u16 = 401;

/// Writes the audit policy: announcers' requests when they have been answered (watches:
/// when their answer begins), writes with what came of them; and those of whoever could
/// not say who he is, as an announcer with an expired token.
pub(super) fn policy(directory: &Path) -> Result<PathBuf> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": true,
        "rules": [
            {
                "level": "RequestResponse",
                "users": [ANNOUNCER],
                "verbs": ["create", "update", "patch"],
            },
            { "level": "Metadata", "users": [ANNOUNCER] },
            { "level": "None", "userGroups": ["system:masters", "system:authenticated"] },
            { "level": "Metadata" },
        ],
    });
    let path = directory.join("audit-policy.json");
    fs::write(&path, policy.to_string())?;
    Ok(path)
}

/// Records lines of an audit log.
#[derive(Debug)]
pub(super) struct Recorder {
    audit: Audit,
}

/// Of `audit.k8s.io/v1`, kind `Event`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    kind: String,
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(rename = "sourceIPs", default)]
    source_ips: Vec<String>,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_object: Option<Value>,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Debug, Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl Recorder {
    pub(super) fn new(audit: Audit) -> Self {
        Self { audit }
    }

    /// Records `line` if it is an event; whether it was one.
    pub(super) fn record(&self, line: &str) -> bool {
        if !line.starts_with("{\"kind\":\"Event\"") {
            return false;
        }
        let Ok(event) = serde_json::from_str::<Event>(line) else { return false };
        if event.kind != "Event" {
            return false;
        }
        let ages = (SystemTime::now(), Instant::now());
        if let Some(entry) = event.entry(ages) {
            self.audit.record(entry);
        }
        true
    }
}

impl Event {
    /// `None` for what is recorded at another stage, or is no verb of a resource.
    fn entry(self, now: (SystemTime, Instant)) -> Option<Audited> {
        let verb = Verb::parse(&self.verb)?;
        let code = self.response_status.as_ref().and_then(|status| status.code);
        // Of a request whose sender is not known no other stage is told.
        let begun = verb == Verb::Watch || code == Some(UNAUTHORIZED);
        if self.stage != if begun { "ResponseStarted" } else { "ResponseComplete" } {
            return None;
        }
        let wrote = self.wrote(code);
        let at = instant(self.request_received_timestamp, now)?;
        let took = instant(self.stage_timestamp, now)?.saturating_duration_since(at);
        let about = self.object_ref.unwrap_or_default();
        let resource = GroupResource::new(about.api_group, about.resource);
        let request = RequestInfo {
            client: self.source_ips.first().map(|ip| client(ip)).unwrap_or_default(),
            verb,
            resource: Some(resource).filter(|resource| !resource.plural().is_empty()),
            subresource: Some(about.subresource).filter(|name| !name.is_empty()),
            namespace: about.namespace,
            name: about.name,
            uri: self.request_uri,
        };
        Some(Audited { request, at, took, code, wrote })
    }

    /// The version that a successful write made; `None` where it changed nothing.
    fn wrote(&self, code: Option<u16>) -> Option<u64> {
        code.filter(|code| (200..300).contains(code))?;
        let version = |object: &Option<Value>| -> Option<u64> {
            object.as_ref()?.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
        };
        let new = version(&self.response_object)?;
        (version(&self.request_object) != Some(new)).then_some(new)
    }
}

/// The lab host with this address in the management network.
fn client(ip: &str) -> String {
    let host = ip.parse().ok().and_then(lab::host_by_management_ip);
    host.unwrap_or_else(|| ip.to_owned())
}

fn instant(at: Timestamp, (wall, monotonic): (SystemTime, Instant)) -> Option<Instant> {
    let age = wall.duration_since(SystemTime::from(at)).unwrap_or(Duration::ZERO);
    monotonic.checked_sub(age)
}

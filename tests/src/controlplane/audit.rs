//! The API server's audit log, as it comes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use announcer_apiserver::{Audit, Audited, GroupResource, RequestInfo, Verb};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{lab, watched::Watched};

/// Whose requests are of interest.
const ANNOUNCER: &str = "system:serviceaccount:announcer-system:announcer";
/// The sender is not known.
const UNAUTHORIZED: u16 = 401;
/// The sender may not do this.
const FORBIDDEN: u16 = 403;
/// Below this path there is nothing. Who has asked for something there, and finds that in
/// the log, has read the log up to then.
const MARKS: &str = "/audit-mark/";
/// The log is written before a request's connection is used for the next one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes the audit policy: announcers' requests when they have been answered (watches:
/// when their answer begins), writes with what came of them; and those of whoever could
/// not say who he is, as an announcer with an expired token. And marks.
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
            { "level": "Metadata", "nonResourceURLs": [format!("{MARKS}*")] },
            { "level": "None", "userGroups": ["system:masters", "system:authenticated"] },
            { "level": "Metadata" },
        ],
    });
    let path = directory.join("audit-policy.json");
    fs::write(&path, policy.to_string())?;
    Ok(path)
}

/// Records lines of an audit log, of one API server after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    audit: Audit,
    kept: Arc<Watched<Kept>>,
}

/// What tests do not clear.
#[derive(Debug, Default)]
struct Kept {
    /// Requests that were answered with 403.
    denied: Vec<Audited>,
    /// Lines that are events and not understood, and why.
    unreadable: Vec<String>,
    /// How many marks were asked for, and the last that was read.
    asked: u64,
    read: u64,
}

/// What a line of the log says.
#[derive(Debug)]
enum Said {
    /// A request.
    Request(Box<Audited>),
    /// The log has been read up to this mark.
    Mark(u64),
    /// What is told at another stage, too.
    Nothing,
}

/// Of `audit.k8s.io/v1`, kind `Event`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
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
    /// What announcers asked for.
    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Records `line` if it is an event; whether it was one.
    pub(super) fn record(&self, line: &str) -> bool {
        if !line.starts_with("{\"kind\":\"Event\"") {
            return false;
        }
        match said(line, (SystemTime::now(), Instant::now())) {
            Ok(Said::Request(entry)) => {
                if entry.code == Some(FORBIDDEN) {
                    self.kept.update(|kept| kept.denied.push((*entry).clone()));
                }
                self.audit.record(*entry);
            }
            Ok(Said::Mark(mark)) => self.kept.update(|kept| kept.read = mark),
            Ok(Said::Nothing) => {}
            Err(error) => {
                self.kept.update(|kept| kept.unreadable.push(format!("{error:#}: {line}")));
            }
        }
        true
    }

    /// Waits until everything has been read that was written before this call; `ask` sends
    /// the API server a request for a path.
    pub(super) fn catch_up(&self, ask: impl FnOnce(String) -> Result<()>) -> Result<()> {
        let mark = self.kept.update(|kept| {
            kept.asked += 1;
            kept.asked
        });
        ask(format!("{MARKS}{mark}"))?;
        let read = self.kept.wait(PATIENCE, |kept| (kept.read >= mark).then_some(()));
        read.with_context(|| format!("the audit log does not show mark {mark} in {PATIENCE:?}"))
    }

    /// What was answered with 403 since [`Self::clear`].
    ///
    /// # Errors
    /// Lines of the log were not understood: they might say more.
    pub(super) fn denied(&self) -> Result<Vec<Audited>> {
        let kept = self.kept.lock();
        if !kept.unreadable.is_empty() {
            bail!("the audit log has lines that are not understood: {:#?}", kept.unreadable);
        }
        Ok(kept.denied.clone())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.audit.clear();
        self.kept.update(|kept| {
            kept.denied.clear();
            kept.unreadable.clear();
        });
    }
}

fn said(line: &str, now: (SystemTime, Instant)) -> Result<Said> {
    let event: Event = serde_json::from_str(line)?;
    let mark = event.request_uri.strip_prefix(MARKS);
    if let Some(mark) = mark.and_then(|mark| mark.parse().ok()) {
        return Ok(Said::Mark(mark));
    }
    Ok(event.entry(now)?.map_or(Said::Nothing, |entry| Said::Request(Box::new(entry))))
}

impl Event {
    /// `None` for what is recorded at another stage.
    fn entry(self, now: (SystemTime, Instant)) -> Result<Option<Audited>> {
        let verb = Verb::parse(&self.verb).with_context(|| format!("verb {:?}", self.verb))?;
        let code = self.response_status.as_ref().and_then(|status| status.code);
        // Of a request whose sender is not known no other stage is told.
        let begun = verb == Verb::Watch || code == Some(UNAUTHORIZED);
        if self.stage != if begun { "ResponseStarted" } else { "ResponseComplete" } {
            return Ok(None);
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
        Ok(Some(Audited { request, at, took, code, wrote }))
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

fn instant(at: Timestamp, (wall, monotonic): (SystemTime, Instant)) -> Result<Instant> {
    let age = wall.duration_since(SystemTime::from(at)).unwrap_or(Duration::ZERO);
    monotonic.checked_sub(age).with_context(|| format!("{at} was before this machine started"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;

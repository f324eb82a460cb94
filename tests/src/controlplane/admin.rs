//! The objects of a real API server, as an administrator reads and writes them: the
//! same calls as [`announcer_apiserver::Objects`] has.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::SocketAddrV4,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use announcer_apiserver::GroupResource;
use anyhow::{Context, Result, bail};
use futures::{StreamExt, pin_mut};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::AuthInfo,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    Pki,
    kind::{self, Kind},
};
use crate::netns::NetNs;

/// The API server answers in milliseconds, unless it is being tormented.
const PATIENCE: Duration = Duration::from_secs(30);

/// An administrator's client, whose connections begin in the control host's namespace.
pub struct Admin {
    client: Client,
    // One thread, inside the namespace: whatever opens a socket runs there.
    runtime: Runtime,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    pub(super) fn new(ns: &NetNs, pki: &Pki, server: SocketAddrV4) -> Result<Self> {
        let ns = ns.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab-admin")
            .on_thread_start(move || {
                // Without CAP_SYS_ADMIN there is no lab; elsewhere it would find no server.
                let _ = ns.settle();
            })
            .enable_all()
            .build()?;
        let mut config = Config::new(format!("https://{server}").parse()?);
        config.root_cert = Some(vec![pki.authority_der()]);
        config.auth_info =
            AuthInfo { token: Some(Pki::admin_token().to_owned().into()), ..AuthInfo::default() };
        let entered = runtime.enter();
        let client = Client::try_from(config)?;
        drop(entered);
        Ok(Self { client, runtime })
    }

    /// Runs `work` on the thread inside the namespace.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, kube::Error>> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            let _ = done.send(tokio::time::timeout(PATIENCE, work).await);
        });
        let finished = result.recv().context("the administrator's client is gone")?;
        Ok(finished.with_context(|| format!("no answer within {PATIENCE:?}"))??)
    }

    /// Whether the API server says of itself that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        let client = self.client.clone();
        let text = self.run(async move {
            let request = http::Request::get("/readyz").body(Vec::new());
            client.request_text(request.map_err(kube::Error::HttpError)?).await
        });
        text.is_ok_and(|text| text == "ok")
    }

    /// What the API server tells of itself: the text of `/metrics`.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<String> {
        let client = self.client.clone();
        self.run(async move {
            let request = http::Request::get("/metrics").body(Vec::new());
            client.request_text(request.map_err(kube::Error::HttpError)?).await
        })
    }

    /// Asks for a path at which there is nothing.
    pub(super) fn ask_in_vain(&self, path: &str) -> Result<()> {
        let (client, request) = (self.client.clone(), http::Request::get(path).body(Vec::new())?);
        self.run(async move {
            match client.request_text(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(drop),
            }
        })
        .with_context(|| format!("asking for {path}"))
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        let (client, resource) = (self.client.clone(), kind.api_resource());
        if namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, namespace, &resource)
        }
    }

    /// The object, or `None`.
    ///
    /// # Errors
    /// The API server does not answer, or serves no such kind.
    pub fn get(&self, of: &GroupResource, namespace: &str, name: &str) -> Result<Option<Value>> {
        let (api, name) = (self.api(&Kind::of(of)?, namespace), name.to_owned());
        let found = self.run(async move { api.get_opt(&name).await })?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Objects of one namespace, or of all where it is empty.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn list(&self, of: &GroupResource, namespace: &str) -> Result<Vec<Value>> {
        let api = self.api(&Kind::of(of)?, namespace);
        let found = self.run(async move { api.list(&ListParams::default()).await })?;
        Ok(found.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    /// POST. `apiVersion` and `kind` may be left out of the body.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn create(&self, of: &GroupResource, namespace: &str, body: Value) -> Result<Value> {
        let kind = Kind::of(of)?;
        let (api, object) = (self.api(&kind, namespace), kind.object(body)?);
        let created = self.run(async move { api.create(&PostParams::default(), &object).await })?;
        Ok(serde_json::to_value(created)?)
    }

    /// Merge patch (RFC 7386).
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn patch(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value> {
        self.merge_patch(of, namespace, name, patch, false)
    }

    /// Merge patch of `/status`.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn patch_status(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value> {
        self.merge_patch(of, namespace, name, patch, true)
    }

    fn merge_patch(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
        status: bool,
    ) -> Result<Value> {
        let (api, name) = (self.api(&Kind::of(of)?, namespace), name.to_owned());
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self.run(async move {
            match status {
                true => api.patch_status(&name, &params, &patch).await,
                false => api.patch(&name, &params, &patch).await,
            }
        })?;
        Ok(serde_json::to_value(patched)?)
    }

    /// Creates the object, or merges the body into the one that is there, its status
    /// included.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn apply(&self, of: &GroupResource, namespace: &str, mut body: Value) -> Result<Value> {
        let name = body.pointer("/metadata/name").and_then(Value::as_str);
        let name = name.context("an object without a name")?.to_owned();
        let status = body.as_object_mut().and_then(|body| body.remove("status"));
        let mut object = match self.get(of, namespace, &name)? {
            Some(_) => self.patch(of, namespace, &name, body)?,
            None => self.create(of, namespace, body)?,
        };
        if let Some(status) = status {
            object = self.patch_status(of, namespace, &name, json!({ "status": status }))?;
        }
        Ok(object)
    }

    /// DELETE, without a time of grace.
    ///
    /// # Errors
    /// There is no such object.
    pub fn delete(&self, of: &GroupResource, namespace: &str, name: &str) -> Result<()> {
        let (api, name) = (self.api(&Kind::of(of)?, namespace), name.to_owned());
        self.run(async move { api.delete(&name, &at_once()).await.map(drop) })
    }

    /// A token for a ServiceAccount that ends with the Pod `pod`, valid for an hour.
    ///
    /// # Errors
    /// There is no such ServiceAccount or Pod.
    pub fn token(&self, namespace: &str, account: &str, pod: &str) -> Result<String> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "expirationSeconds": 3600,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod },
            },
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let client = self.client.clone();
        let answer: Value = self.run(async move {
            let request = http::Request::post(path).header("Content-Type", "application/json");
            let request = request.body(body.to_string().into_bytes());
            client.request(request.map_err(kube::Error::HttpError)?).await
        })?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(token.context("the answer to a token request has no token")?.to_owned())
    }

    /// Waits until the object (or its absence) satisfies the predicate, which is asked
    /// anew when any object of its kind and namespace has changed.
    ///
    /// # Errors
    /// It did not within `within`; the error tells how it was last.
    pub fn wait_for(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        mut predicate: impl FnMut(Option<&Value>) -> bool,
        within: Duration,
    ) -> Result<Option<Value>> {
        let deadline = Instant::now() + within;
        let (changes, changed) = mpsc::channel();
        let api = self.api(&Kind::of(of)?, namespace);
        let watching = self.runtime.spawn(async move {
            let stream = watcher(api, watcher::Config::default()).default_backoff();
            pin_mut!(stream);
            while let Some(event) = stream.next().await {
                if changes.send(event).is_err() {
                    return;
                }
            }
        });
        let (mut objects, mut failed) = (Mirror::default(), None);
        let waited = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match changed.recv_timeout(left) {
                Ok(Ok(event)) => objects.apply(event)?,
                // The watcher tries again, after a pause.
                Ok(Err(error)) => failed = Some(error),
                Err(RecvTimeoutError::Disconnected) => bail!("the watch of {of} ended"),
                Err(RecvTimeoutError::Timeout) => {
                    break Err(objects.known.get(name).cloned());
                }
            }
            let found = objects.known.get(name);
            if objects.complete && predicate(found) {
                break Ok(found.cloned());
            }
        };
        watching.abort();
        waited.map_err(|last| {
            let failed = failed.map_or(String::new(), |e| format!("; the watch last failed: {e}"));
            anyhow::anyhow!(
                "{of} {name:?} did not meet the condition within {within:?}; it was last \
                 {last:?}{failed}"
            )
        })
    }

    /// Deletes whatever tests write.
    pub(super) fn clear(&self) -> Result<()> {
        for (kind, namespace) in kind::OF_TESTS {
            let api = self.api(&kind, namespace);
            let everything = ListParams::default();
            let own = (kind.resource, namespace) == ("services", "default");
            let everything =
                if own { everything.fields("metadata.name!=kubernetes") } else { everything };
            let deleted = self.run(async move {
                match api.delete_collection(&at_once(), &everything).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                    other => other.map(drop),
                }
            });
            deleted.with_context(|| format!("deleting all {}", kind.resource))?;
        }
        Ok(())
    }
}

fn at_once() -> DeleteParams {
    DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }
}

/// What a watch has told.
#[derive(Default)]
struct Mirror {
    known: BTreeMap<String, Value>,
    /// Whether all that there was has been told.
    complete: bool,
}

impl Mirror {
    fn apply(&mut self, event: Event<DynamicObject>) -> Result<()> {
        match event {
            Event::Init => *self = Self::default(),
            Event::InitApply(object) | Event::Apply(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                self.known.insert(name, serde_json::to_value(object)?);
            }
            Event::InitDone => self.complete = true,
            Event::Delete(object) => {
                self.known.remove(&object.metadata.name.unwrap_or_default());
            }
        }
        Ok(())
    }
}

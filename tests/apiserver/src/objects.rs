//! The store as tests use it, without HTTP but with the same semantics, and as the server does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    object::{Object, encode},
    patch::Patch,
    registry::{CustomResource, GroupResource, ResourceKind, Rules},
    selector::{LabelSelector, Selection},
    signal::Signal,
    status::ApiStatus,
    store::Store,
    verbs::{DeleteOptions, Deleted, Target, WriteOptions},
    watch::Watchers,
};

/// Store and watchers under one lock: what is written is handed out before the next write.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) watchers: Watchers,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    written: Signal,
}

/// The objects of the server: a handle that can be cloned and sent.
///
/// Namespaces of cluster-scoped kinds are the empty string.
#[derive(Clone, Debug)]
pub struct Objects {
    inner: Arc<Inner>,
}

/// A condition on an object did not come true in time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{resource} {name:?} did not meet the condition within {waited:?}; it was last {last:?}")]
pub struct Unmet {
    resource: GroupResource,
    name: String,
    waited: Duration,
    /// The object as it was at the end; `None`: there was none.
    pub last: Option<Value>,
}

impl Objects {
    pub(crate) fn new(history_limit: usize) -> Self {
        let store = Store::new(history_limit);
        let state = Mutex::new(State { store, watchers: Watchers::default() });
        Self { inner: Arc::new(Inner { state, written: Signal::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a predicate of a test poisons the lock, but never leaves a write half done.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something on the state, then tells watchers and waiters what it wrote.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = run(&mut state);
        let fresh = state.store.take_fresh();
        for change in &fresh {
            state.watchers.dispatch(change);
        }
        drop(state);
        if !fresh.is_empty() {
            self.inner.written.notify();
        }
        result
    }

    pub(crate) fn kind(&self, resource: &GroupResource) -> Result<Arc<ResourceKind>, ApiStatus> {
        let found = self.lock().store.registry.resource(resource).cloned();
        found.ok_or_else(ApiStatus::no_such_path)
    }

    /// Serves a custom resource from now on.
    pub fn register(&self, custom: CustomResource) {
        self.with(|state| drop(state.store.register(custom)));
    }

    /// The object, or `None`.
    pub fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Value> {
        let kind = self.kind(resource).ok()?;
        let target = Target { kind: &kind, namespace, name, status: false };
        let object = self.lock().store.read(&target).ok()?;
        Some(view(&kind, &object))
    }

    /// Objects of one namespace, or of all where it is `None`, that the selector matches.
    pub fn list(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        labels: &LabelSelector,
    ) -> Vec<Value> {
        let Ok(kind) = self.kind(resource) else { return Vec::new() };
        let selection = Selection {
            namespace: namespace.filter(|_| kind.namespaced).map(str::to_owned),
            labels: labels.clone(),
            ..Selection::default()
        };
        let state = self.lock();
        let found = state.store.select(kind.table, &selection, None);
        found.map(|(_, object)| view(&kind, object)).collect()
    }

    /// POST. `apiVersion` and `kind` may be left out of the body.
    pub fn create(
        &self,
        resource: &GroupResource,
        namespace: &str,
        body: Value,
    ) -> Result<Value, ApiStatus> {
        let kind = self.kind(resource)?;
        let object = self.with(|state| state.store.create(&kind, namespace, body, options()))?;
        Ok(view(&kind, &object))
    }

    /// PUT: under the optimistic lock where the body has a resourceVersion.
    pub fn update(
        &self,
        resource: &GroupResource,
        namespace: &str,
        body: Value,
    ) -> Result<Value, ApiStatus> {
        self.put(resource, namespace, body, false)
    }

    /// PUT of `/status`.
    pub fn update_status(
        &self,
        resource: &GroupResource,
        namespace: &str,
        body: Value,
    ) -> Result<Value, ApiStatus> {
        self.put(resource, namespace, body, true)
    }

    fn put(
        &self,
        resource: &GroupResource,
        namespace: &str,
        body: Value,
        status: bool,
    ) -> Result<Value, ApiStatus> {
        let kind = self.kind(resource)?;
        let name = crate::object::meta(&body, "name").to_owned();
        let target = Target { kind: &kind, namespace, name: &name, status };
        let (object, _) = self.with(|state| state.store.update(&target, body, options()))?;
        Ok(view(&kind, &object))
    }

    /// Merge patch (RFC 7386).
    pub fn patch(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value, ApiStatus> {
        self.merge_patch(resource, namespace, name, patch, false)
    }

    /// Merge patch of `/status`.
    pub fn patch_status(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value, ApiStatus> {
        self.merge_patch(resource, namespace, name, patch, true)
    }

    fn merge_patch(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
        status: bool,
    ) -> Result<Value, ApiStatus> {
        let kind = self.kind(resource)?;
        let target = Target { kind: &kind, namespace, name, status };
        let patch = Patch::Merge(patch);
        let (object, _) = self.with(|state| state.store.patch(&target, patch, options()))?;
        Ok(view(&kind, &object))
    }

    /// Creates the object, or merges the body into the one that is there, its status included:
    /// what a test needs to set a scene in one call. (Two writes where the kind has a status.)
    pub fn apply(
        &self,
        resource: &GroupResource,
        namespace: &str,
        body: Value,
    ) -> Result<Value, ApiStatus> {
        let kind = self.kind(resource)?;
        let name = crate::object::meta(&body, "name").to_owned();
        let status = body.get("status").filter(|_| kind.status).cloned();
        let target = Target { kind: &kind, namespace, name: &name, status: false };
        let object = self.with(|state| {
            let exists = state.store.read(&target).is_ok();
            let mut object = if exists {
                state.store.patch(&target, Patch::Merge(body), options())?.0
            } else {
                state.store.create(&kind, namespace, body, options())?
            };
            if let Some(status) = status {
                let target = Target { status: true, ..target };
                let patch = Patch::Merge(serde_json::json!({"status": status}));
                object = state.store.patch(&target, patch, options())?.0;
            }
            Ok::<_, ApiStatus>(object)
        })?;
        Ok(view(&kind, &object))
    }

    /// DELETE; returns the object as it was last (or is, while finalizers hold it).
    pub fn delete(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiStatus> {
        let kind = self.kind(resource)?;
        let target = Target { kind: &kind, namespace, name, status: false };
        let delete = DeleteOptions::default();
        let deleted = self.with(|state| state.store.delete(&target, &delete, options()))?;
        let (Deleted::Gone(object) | Deleted::Terminating(object)) = deleted;
        Ok(view(&kind, &object))
    }

    /// Forgets the history, as etcd's compaction does: a watch or exact list that asks for an
    /// older resourceVersion is answered with 410. Open watches are not touched.
    pub fn compact(&self) {
        self.with(|state| state.store.compact());
    }

    /// The revision of the last write, as a list would report it.
    pub fn resource_version(&self) -> u64 {
        self.lock().store.version()
    }

    /// How many watch streams are registered.
    pub fn watch_count(&self) -> usize {
        self.lock().watchers.count()
    }

    /// Blocks until the object (or its absence) satisfies the predicate, woken by writes.
    ///
    /// Not for async code: see [`Objects::until`].
    pub fn wait_for(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut predicate: impl FnMut(Option<&Value>) -> bool,
        within: Duration,
    ) -> Result<Option<Value>, Unmet> {
        let mut found = None;
        let met = self.inner.written.wait(within, || {
            found = self.get(resource, namespace, name);
            predicate(found.as_ref())
        });
        if met { Ok(found) } else { Err(unmet(resource, name, within, found)) }
    }

    /// The same for async code; needs a tokio runtime with time.
    pub async fn until(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut predicate: impl FnMut(Option<&Value>) -> bool,
        within: Duration,
    ) -> Result<Option<Value>, Unmet> {
        let mut found = None;
        let until = self.inner.written.until_within(within, || {
            found = self.get(resource, namespace, name);
            predicate(found.as_ref())
        });
        if until.await { Ok(found) } else { Err(unmet(resource, name, within, found)) }
    }
}

fn unmet(resource: &GroupResource, name: &str, waited: Duration, last: Option<Value>) -> Unmet {
    Unmet { resource: resource.clone(), name: name.to_owned(), waited, last }
}

fn options() -> WriteOptions {
    WriteOptions { now: Timestamp::now(), dry_run: false }
}

/// The object as this kind shows it.
pub(crate) fn view(kind: &ResourceKind, object: &Object) -> Value {
    let mut value = object.value.clone();
    if kind.rules == Rules::EventsV1 {
        crate::event::to_events_v1(&mut value);
    }
    value
}

/// JSON of the object as this kind shows it.
pub(crate) fn view_json(kind: &ResourceKind, object: &Object) -> bytes::Bytes {
    if kind.rules == Rules::EventsV1 { encode(&view(kind, object)) } else { object.json() }
}

//! One generic handler for all resources: from a received request to its answer.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hyper::{Method, header, http::request::Parts};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    audit::Audit,
    discovery,
    faults::Faults,
    list,
    object::{encode, meta},
    objects::{Objects, State, view, view_json},
    patch::Patch,
    registry::ResourceKind,
    request::{RequestInfo, Verb},
    route::{Place, Query, Route, route},
    selector::{FieldSelector, LabelSelector, Selection},
    status::{ApiStatus, Cause},
    store::Store,
    stream::{WatchStream, Watches},
    table,
    verbs::{DeleteOptions, Deleted, Propagation, Target, WriteOptions},
    watch::Start,
};

/// What all requests share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) objects: Objects,
    pub(crate) faults: Faults,
    pub(crate) audit: Audit,
    pub(crate) watches: Watches,
    pub(crate) bookmark_interval: Duration,
}

/// A request that was received in full and understood as far as its path goes.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: RequestInfo,
    path: String,
    place: Option<Place>,
    query: Query,
    selection: Result<Selection, ApiStatus>,
    method: Method,
    accept: String,
    content_type: String,
    body: Bytes,
}

/// What to answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Json { code: u16, body: Bytes, wrote: Option<u64> },
    Refusal(ApiStatus),
    Text { code: u16, text: &'static str },
    Watch(Box<WatchStream>),
}

fn header_text(parts: &Parts, name: header::HeaderName) -> &str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The bearer token is the client's name. (kubectl sends none over plain HTTP.)
fn client(parts: &Parts) -> String {
    let token = header_text(parts, header::AUTHORIZATION).strip_prefix("Bearer ").map(str::trim);
    let agent = header_text(parts, header::USER_AGENT).split(['/', ' ']).next();
    let name = token.filter(|token| !token.is_empty()).or(agent.filter(|agent| !agent.is_empty()));
    name.unwrap_or("anonymous").to_owned()
}

impl Call {
    /// Reads what a request is about; nothing is checked yet.
    pub(crate) fn read(shared: &Shared, parts: &Parts, body: Bytes) -> Self {
        let path = parts.uri.path().to_owned();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let route = shared.objects.with(|state| route(&state.store.registry, &path));
        let place = match route {
            Some(Route::Resource(place)) => Some(place),
            Some(Route::Other) | None => None,
        };
        let selection = match &place {
            Some(place) => selection(place, &query),
            None => Ok(Selection::default()),
        };
        let verb = place.as_ref().map_or(Verb::Get, |place| verb(&parts.method, place, &query));
        let name = match &place {
            Some(place) if !place.name.is_empty() => place.name.clone(),
            Some(_) if verb == Verb::Create => body_name(&body),
            _ => selection.as_ref().ok().and_then(Selection::name).unwrap_or_default().to_owned(),
        };
        let request = RequestInfo {
            client: client(parts),
            verb,
            resource: place.as_ref().map(|place| place.kind.resource.clone()),
            subresource: place.as_ref().and_then(|place| place.subresource.clone()),
            namespace: place.as_ref().and_then(|p| p.namespace.clone()).unwrap_or_default(),
            name,
            uri: parts.uri.to_string(),
        };
        Self {
            request,
            path,
            place,
            query,
            selection,
            method: parts.method.clone(),
            accept: header_text(parts, header::ACCEPT).to_owned(),
            content_type: header_text(parts, header::CONTENT_TYPE).to_owned(),
            body,
        }
    }

    /// Processes the request.
    pub(crate) fn execute(self, shared: &Shared) -> Answer {
        let result = match &self.place {
            None => Ok(self.other(shared)),
            Some(_) if !self.accepts_json() => Err(ApiStatus::not_acceptable()),
            Some(place) => self.resource(shared, place),
        };
        result.unwrap_or_else(Answer::Refusal)
    }

    fn accepts_json(&self) -> bool {
        self.accept.is_empty()
            || ["application/json", "application/*", "*/*"]
                .iter()
                .any(|accepted| self.accept.contains(accepted))
    }

    fn as_table(&self) -> bool {
        self.accept.split(',').next().is_some_and(|first| first.contains("as=Table"))
    }

    fn other(&self, shared: &Shared) -> Answer {
        if matches!(self.path.as_str(), "/healthz" | "/livez" | "/readyz") {
            return Answer::Text { code: 200, text: "ok" };
        }
        let document =
            shared.objects.with(|state| discovery::document(&state.store.registry, &self.path));
        match document {
            Some(body) => Answer::Json { code: 200, body: encode(&body), wrote: None },
            None => Answer::Text { code: 404, text: "404 page not found\n" },
        }
    }

    fn resource(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let collection = place.name.is_empty();
        match (&self.method, collection) {
            (&Method::GET, false) => self.get(shared, place),
            (&Method::GET, true) if self.request.verb == Verb::Watch => self.watch(shared, place),
            (&Method::GET, true) => self.list(shared, place),
            (&Method::POST, true) => self.create(shared, place),
            (&Method::PUT, false) => self.update(shared, place),
            (&Method::PATCH, false) => self.patch(shared, place),
            (&Method::DELETE, false) if place.subresource.is_none() => self.delete(shared, place),
            (&Method::DELETE, true) => self.delete_collection(shared, place),
            _ => Err(ApiStatus::method_not_allowed()),
        }
    }

    fn show(&self, kind: &ResourceKind, code: u16, written: Written) -> Answer {
        let Written { object, wrote } = written;
        let body = if self.as_table() {
            let version = meta(&object.value, "resourceVersion").to_owned();
            encode(&table::table(kind, &[view(kind, &object)], &version, true))
        } else {
            view_json(kind, &object)
        };
        Answer::Json { code, body, wrote }
    }

    fn get(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let object = shared.objects.with(|state| {
            let current = state.store.version();
            match list::version(&self.query)? {
                Some(asked) if asked > current => {
                    Err(ApiStatus::too_large_resource_version(asked, current))
                }
                _ => state.store.read(&target(place)),
            }
        })?;
        Ok(self.show(&place.kind, 200, Written { object, wrote: None }))
    }

    fn list(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        if self.query.has("sendInitialEvents") {
            let detail = "sendInitialEvents is forbidden for list";
            return Err(list::invalid(Cause::forbidden("sendInitialEvents", detail)));
        }
        let selection = self.selection.as_ref().map_err(Clone::clone)?;
        let page = shared
            .objects
            .with(|state| list::page(&state.store, &place.kind, selection, &self.query))?;
        let body = page.json(&place.kind, self.as_table());
        Ok(Answer::Json { code: 200, body, wrote: None })
    }

    fn watch(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let selection = self.selection.clone()?;
        let bookmarks = self.query.is_true("allowWatchBookmarks");
        let kind = &place.kind;
        let subscription = shared.objects.with(|state| {
            let start = self.watch_start(&state.store, bookmarks)?;
            let State { store, watchers } = state;
            Ok::<_, ApiStatus>(watchers.subscribe(
                store,
                kind.table,
                kind.namespaced,
                selection,
                start,
            ))
        })?;
        let timeout = match self.query.get("timeoutSeconds").parse::<u64>() {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => default_timeout(),
        };
        let stream = WatchStream {
            subscription,
            kind: Arc::clone(kind),
            request: self.request.clone(),
            objects: shared.objects.clone(),
            faults: shared.faults.clone(),
            audit: shared.audit.clone(),
            watches: shared.watches.clone(),
            deadline: Instant::now() + timeout,
            bookmarks: bookmarks.then_some(shared.bookmark_interval),
            as_table: self.as_table(),
        };
        shared.watches.opened(&stream);
        Ok(Answer::Watch(Box::new(stream)))
    }

    fn watch_start(&self, store: &Store, bookmarks: bool) -> Result<Start, ApiStatus> {
        let version = list::version(&self.query)?;
        let matching = self.query.get("resourceVersionMatch");
        let streaming = self.query.has("sendInitialEvents");
        let field = "resourceVersionMatch";
        if streaming && matching != "NotOlderThan" {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(list::invalid(Cause::forbidden(field, detail)));
        }
        if !streaming && !matching.is_empty() {
            let detail =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(list::invalid(Cause::forbidden(field, detail)));
        }
        if self.query.is_true("sendInitialEvents") {
            let current = store.version();
            return match version {
                Some(asked) if asked > current => {
                    Err(ApiStatus::too_large_resource_version(asked, current))
                }
                _ => Ok(Start::Now { bookmark: bookmarks }),
            };
        }
        Ok(match version {
            Some(version) => Start::After(version),
            None if streaming => Start::After(store.version()),
            None => Start::Now { bookmark: false },
        })
    }

    fn create(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let body = self.json_body()?;
        let namespace = self.namespace(place)?;
        let options = self.write_options();
        let (object, wrote) =
            write(shared, |store| store.create(&place.kind, namespace, body, options));
        Ok(self.show(&place.kind, 201, Written { object: object?, wrote }))
    }

    fn update(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let body = self.json_body()?;
        let options = self.write_options();
        let (result, wrote) = write(shared, |store| store.update(&target(place), body, options));
        let (object, created) = result?;
        let code = if created { 201 } else { 200 };
        Ok(self.show(&place.kind, code, Written { object, wrote }))
    }

    fn patch(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let body: Value = serde_json::from_slice(&self.body)
            .map_err(|error| ApiStatus::bad_request(format!("the patch is no JSON: {error}")))?;
        let force = self.query.is_true("force");
        let invalid =
            |cause| Err(ApiStatus::invalid_kind("meta.k8s.io", "PatchOptions", "", vec![cause]));
        let patch = match self.content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Patch::Merge(body),
            "application/json-patch+json" => Patch::Json(body),
            "application/strategic-merge-patch+json" => Patch::Strategic(body),
            "application/apply-patch+yaml" => {
                let manager = self.query.get("fieldManager").to_owned();
                if manager.is_empty() {
                    let detail = "is required for apply patch";
                    return invalid(Cause::required("fieldManager", detail));
                }
                Patch::Apply { config: body, manager, force }
            }
            _ => {
                let accepted = "application/json-patch+json, application/merge-patch+json, \
                                application/apply-patch+yaml";
                return Err(ApiStatus::unsupported_media_type(accepted));
            }
        };
        if force && !matches!(patch, Patch::Apply { .. }) {
            let detail = "may not be specified for non-apply patch";
            return invalid(Cause::forbidden("force", detail));
        }
        let options = self.write_options();
        let (result, wrote) = write(shared, |store| store.patch(&target(place), patch, options));
        let (object, created) = result?;
        let code = if created { 201 } else { 200 };
        Ok(self.show(&place.kind, code, Written { object, wrote }))
    }

    fn delete(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        let delete = self.delete_options()?;
        let options = self.write_options();
        let (deleted, wrote) =
            write(shared, |store| store.delete(&target(place), &delete, options));
        let object = match deleted? {
            Deleted::Gone(object) if !place.kind.returns_deleted => {
                let kind = &place.kind;
                let mut details = json!({
                    "name": place.name, "kind": kind.resource.plural(), "uid": object.uid(),
                });
                if !kind.resource.group().is_empty() {
                    details["group"] = json!(kind.resource.group());
                }
                let body = encode(&json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {},
                    "status": "Success", "details": details,
                }));
                return Ok(Answer::Json { code: 200, body, wrote });
            }
            Deleted::Gone(object) | Deleted::Terminating(object) => object,
        };
        Ok(self.show(&place.kind, 200, Written { object, wrote }))
    }

    fn delete_collection(&self, shared: &Shared, place: &Place) -> Result<Answer, ApiStatus> {
        if place.kind.namespaced && place.namespace.is_none() {
            return Err(ApiStatus::method_not_allowed());
        }
        let selection = self.selection.as_ref().map_err(Clone::clone)?;
        let delete = self.delete_options()?;
        let options = self.write_options();
        let kind = &place.kind;
        let (page, wrote) = write(shared, |store| {
            let page = list::page(store, kind, selection, &self.query)?;
            for object in &page.objects {
                let (namespace, name) =
                    (meta(&object.value, "namespace"), meta(&object.value, "name"));
                store.delete(&Target { kind, namespace, name, status: false }, &delete, options)?;
            }
            Ok::<_, ApiStatus>(page)
        });
        Ok(Answer::Json { code: 200, body: page?.json(kind, self.as_table()), wrote })
    }

    fn namespace<'a>(&self, place: &'a Place) -> Result<&'a str, ApiStatus> {
        // A namespaced object cannot be made without saying where.
        place.namespace.as_deref().ok_or_else(ApiStatus::method_not_allowed)
    }

    fn json_body(&self) -> Result<Value, ApiStatus> {
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        if !matches!(media, "" | "application/json") {
            return Err(ApiStatus::unsupported_media_type("application/json"));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| ApiStatus::bad_request(format!("the body is no JSON: {error}")))
    }

    fn write_options(&self) -> WriteOptions {
        WriteOptions { now: Timestamp::now(), dry_run: self.query.get("dryRun") == "All" }
    }

    fn delete_options(&self) -> Result<DeleteOptions, ApiStatus> {
        let body = if self.body.is_empty() { json!({}) } else { self.json_body()? };
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let named = text("/propagationPolicy");
        let propagation = match named.as_deref().unwrap_or(self.query.get("propagationPolicy")) {
            "" => None,
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                let cause = Cause::invalid("propagationPolicy", json!(other), "not supported");
                let (group, kind) = ("meta.k8s.io", "DeleteOptions");
                return Err(ApiStatus::invalid_kind(group, kind, "", vec![cause]));
            }
        };
        Ok(DeleteOptions {
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            propagation,
            dry_run: text("/dryRun/0").is_some_and(|mode| mode == "All"),
        })
    }
}

struct Written {
    object: Arc<crate::object::Object>,
    wrote: Option<u64>,
}

fn write<T>(shared: &Shared, run: impl FnOnce(&mut Store) -> T) -> (T, Option<u64>) {
    shared.objects.with(|state| {
        let before = state.store.version();
        let result = run(&mut state.store);
        let after = state.store.version();
        (result, (after != before).then_some(after))
    })
}

fn target(place: &Place) -> Target<'_> {
    Target {
        kind: &place.kind,
        namespace: place.namespace.as_deref().unwrap_or_default(),
        name: &place.name,
        status: place.subresource.is_some(),
    }
}

fn selection(place: &Place, query: &Query) -> Result<Selection, ApiStatus> {
    let labels = LabelSelector::parse(query.get("labelSelector"))
        .map_err(|error| ApiStatus::bad_request(error.to_string()))?;
    let fields = FieldSelector::parse(&place.kind, query.get("fieldSelector"))?;
    let namespace = place.namespace.clone().filter(|_| place.kind.namespaced);
    Ok(Selection { namespace, labels, fields })
}

fn verb(method: &Method, place: &Place, query: &Query) -> Verb {
    match (method, place.name.is_empty()) {
        (&Method::POST, _) => Verb::Create,
        (&Method::PUT, _) => Verb::Update,
        (&Method::PATCH, _) => Verb::Patch,
        (&Method::DELETE, false) => Verb::Delete,
        (&Method::DELETE, true) => Verb::DeleteCollection,
        (_, false) => Verb::Get,
        (_, true) if query.is_true("watch") => Verb::Watch,
        (_, true) => Verb::List,
    }
}

fn body_name(body: &Bytes) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    meta(&body, "name").to_owned()
}

/// Between 30 and 60 minutes, so that watches don't all end at once.
fn default_timeout() -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    Duration::from_secs(1800 + u64::from(nanos % 1800))
}

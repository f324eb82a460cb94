//! The verbs on one object: create, update, patch, delete, with the checks of kube-apiserver in
//! its order. A refused or dry-run request changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    apply, event,
    object::{Managers, Object, finalizers, meta, remove, set_meta, time},
    patch::{self, Patch},
    registry::{NAMESPACES, ResourceKind, Rules},
    service::AllocationError,
    status::{ApiStatus, Cause},
    store::{Store, key},
    strategy,
};

/// The object that a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a ResourceKind,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Whether its `/status` is meant.
    pub(crate) status: bool,
}

impl Target<'_> {
    fn key(&self) -> String {
        key(self.namespace, self.name)
    }

    fn not_found(&self) -> ApiStatus {
        ApiStatus::not_found(&self.kind.resource, self.name)
    }
}

/// How a write is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) now: Timestamp,
    /// Check and answer, but store nothing.
    pub(crate) dry_run: bool,
}

/// `metav1.DeleteOptions`, as far as they matter here.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    /// `None`: as the object's finalizers say.
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What a delete did.
#[derive(Debug)]
pub(crate) enum Deleted {
    Gone(Arc<Object>),
    /// Finalizers hold it.
    Terminating(Arc<Object>),
}

const GENERATED_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Store {
    /// The object, or 404.
    pub(crate) fn read(&self, target: &Target<'_>) -> Result<Arc<Object>, ApiStatus> {
        let found = self.get(target.kind.table, &target.key()).cloned();
        found.ok_or_else(|| target.not_found())
    }

    /// POST.
    pub(crate) fn create(
        &mut self,
        kind: &ResourceKind,
        namespace: &str,
        body: Value,
        options: WriteOptions,
    ) -> Result<Arc<Object>, ApiStatus> {
        let mut value = strategy::decode(kind, namespace, body)?;
        self.check_namespace(kind, namespace, true)?;
        let generate = meta(&value, "generateName").to_owned();
        if meta(&value, "name").is_empty() && !generate.is_empty() {
            // The real server, too, tries again when a generated name is taken.
            let free = (0..8)
                .map(|_| generated_name(&generate))
                .find(|name| self.get(kind.table, &key(namespace, name)).is_none());
            set_meta(&mut value, "name", json!(free.unwrap_or(generate)));
        }
        if !meta(&value, "resourceVersion").is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(ApiStatus::storage(message));
        }
        self.insert(kind, namespace, value, Managers::new(), options)
    }

    fn insert(
        &mut self,
        kind: &ResourceKind,
        namespace: &str,
        mut value: Value,
        managers: Managers,
        options: WriteOptions,
    ) -> Result<Arc<Object>, ApiStatus> {
        let name = meta(&value, "name").to_owned();
        let key = key(namespace, &name);
        let exists = self.get(kind.table, &key).is_some();
        strategy::prepare_create(kind, &mut value, options.now)?;
        if exists {
            return Err(ApiStatus::already_exists(&kind.resource, &name));
        }
        self.allocate(kind, &mut value, &Value::Null, options.dry_run)?;
        if options.dry_run {
            return Ok(Arc::new(Object::new(value, 0, managers)));
        }
        let stored = self.commit(kind.table, &key, Some((value, managers)));
        stored.ok_or_else(|| ApiStatus::storage("nothing was stored"))
    }

    /// PUT. The flag says whether the object was made by it.
    pub(crate) fn update(
        &mut self,
        target: &Target<'_>,
        body: Value,
        options: WriteOptions,
    ) -> Result<(Arc<Object>, bool), ApiStatus> {
        let kind = target.kind;
        let value = strategy::decode(kind, target.namespace, body)?;
        let name = meta(&value, "name");
        if name != target.name {
            return Err(ApiStatus::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        self.check_namespace(kind, target.namespace, false)?;
        let uid = meta(&value, "uid").to_owned();
        let Some(current) = self.get(kind.table, &target.key()).cloned() else {
            if !kind.create_on_update || target.status {
                return Err(target.not_found());
            }
            // As the real server: only a uid keeps a PUT from making the object anew, a
            // resourceVersion does not.
            self.check_uid(target, &uid, "")?;
            self.check_namespace(kind, target.namespace, true)?;
            return Ok((
                self.insert(kind, target.namespace, value, Managers::new(), options)?,
                true,
            ));
        };
        self.check_uid(target, &uid, current.uid())?;
        let managers = current.managers.clone();
        Ok((self.replace(target, &current, value, managers, options)?, false))
    }

    /// PATCH. The flag says whether the object was made by it (server-side apply only).
    pub(crate) fn patch(
        &mut self,
        target: &Target<'_>,
        patch: Patch,
        options: WriteOptions,
    ) -> Result<(Arc<Object>, bool), ApiStatus> {
        let kind = target.kind;
        let current = self.get(kind.table, &target.key()).cloned();
        self.check_namespace(kind, target.namespace, false)?;
        if let Patch::Apply { config, manager, force } = patch {
            return self.apply(target, current, &config, &manager, force, options);
        }
        let current = current.ok_or_else(|| target.not_found())?;
        let mut value = current.value.clone();
        if kind.rules == Rules::EventsV1 {
            event::to_events_v1(&mut value);
        }
        match patch {
            Patch::Merge(patch) => patch::merge(&mut value, &patch),
            Patch::Strategic(_) if kind.rules == Rules::Custom => {
                let accepted = "application/json-patch+json, application/merge-patch+json, \
                                application/apply-patch+yaml";
                return Err(ApiStatus::unsupported_media_type(accepted));
            }
            Patch::Strategic(patch) => patch::strategic_merge(&mut value, &patch),
            Patch::Json(operations) => {
                patch::json_patch(&mut value, &operations).map_err(|error| {
                    let cause = Cause::invalid("patch", &operations, &error);
                    ApiStatus::invalid(kind, target.name, vec![cause])
                })?;
            }
            Patch::Apply { .. } => {}
        }
        let value = strategy::decode(kind, target.namespace, value)?;
        self.check_uid(target, meta(&value, "uid"), current.uid())?;
        let managers = current.managers.clone();
        Ok((self.replace(target, &current, value, managers, options)?, false))
    }

    fn apply(
        &mut self,
        target: &Target<'_>,
        current: Option<Arc<Object>>,
        config: &Value,
        manager: &str,
        force: bool,
        options: WriteOptions,
    ) -> Result<(Arc<Object>, bool), ApiStatus> {
        let kind = target.kind;
        let mut checked = strategy::decode(kind, target.namespace, config.clone())?;
        match meta(&checked, "name") {
            "" => set_meta(&mut checked, "name", json!(target.name)),
            name if name == target.name => {}
            name => {
                return Err(ApiStatus::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
        }
        let mut managers = current.as_ref().map(|c| c.managers.clone()).unwrap_or_default();
        let Some(current) = current else {
            if target.status {
                return Err(target.not_found());
            }
            self.check_uid(target, meta(&checked, "uid"), "")?;
            self.check_namespace(kind, target.namespace, true)?;
            let mut value = json!({});
            apply::apply(&mut value, &mut managers, config, manager, force)?;
            return Ok((self.insert(kind, target.namespace, checked, managers, options)?, true));
        };
        self.check_uid(target, meta(&checked, "uid"), current.uid())?;
        let mut value = current.value.clone();
        if kind.rules == Rules::EventsV1 {
            event::to_events_v1(&mut value);
        }
        apply::apply(&mut value, &mut managers, config, manager, force)?;
        if !meta(config, "resourceVersion").is_empty() {
            set_meta(&mut value, "resourceVersion", config["metadata"]["resourceVersion"].clone());
        }
        let value = strategy::decode(kind, target.namespace, value)?;
        Ok((self.replace(target, &current, value, managers, options)?, false))
    }

    /// Stores a new version under the optimistic lock; one that changes nothing is not stored.
    fn replace(
        &mut self,
        target: &Target<'_>,
        current: &Arc<Object>,
        mut value: Value,
        managers: Managers,
        options: WriteOptions,
    ) -> Result<Arc<Object>, ApiStatus> {
        let kind = target.kind;
        match meta(&value, "resourceVersion") {
            "" | "0" if kind.unconditional_update => {}
            "" | "0" => {
                let field = "metadata.resourceVersion";
                let cause = Cause::invalid(field, 0, "must be specified for an update");
                let (group, resource) = (kind.resource.group(), kind.resource.plural());
                return Err(ApiStatus::invalid_kind(group, resource, target.name, vec![cause]));
            }
            sent if sent == meta(&current.value, "resourceVersion") => {}
            _ => return Err(ApiStatus::modified(&kind.resource, target.name)),
        }
        strategy::prepare_update(kind, &mut value, &current.value, target.status)?;
        if !target.status {
            self.allocate(kind, &mut value, &current.value, options.dry_run)?;
        }
        let version = current.value["metadata"]["resourceVersion"].clone();
        set_meta(&mut value, "resourceVersion", version);
        let terminating = !meta(&current.value, "deletionTimestamp").is_empty();
        if terminating && finalizers(&value).is_empty() && kind.rules != Rules::Namespace {
            if !options.dry_run {
                self.ranges.release(&value);
                self.commit(kind.table, &target.key(), None);
            }
            return Ok(Arc::new(Object::new(value, current.version, managers)));
        }
        let unchanged = value == current.value && managers == current.managers;
        if unchanged {
            return Ok(Arc::clone(current));
        }
        if options.dry_run {
            return Ok(Arc::new(Object::new(value, current.version, managers)));
        }
        let stored = self.commit(kind.table, &target.key(), Some((value, managers)));
        stored.ok_or_else(|| ApiStatus::storage("nothing was stored"))
    }

    /// DELETE.
    pub(crate) fn delete(
        &mut self,
        target: &Target<'_>,
        delete: &DeleteOptions,
        options: WriteOptions,
    ) -> Result<Deleted, ApiStatus> {
        let kind = target.kind;
        let immortal = ["default", "kube-system", "kube-public"];
        if kind.rules == Rules::Namespace && immortal.contains(&target.name) {
            let why = "this namespace may not be deleted";
            return Err(ApiStatus::forbidden(&kind.resource, target.name, why));
        }
        let current = self.read(target)?;
        self.check_uid(target, delete.uid.as_deref().unwrap_or_default(), current.uid())?;
        let version = meta(&current.value, "resourceVersion");
        if let Some(sent) = &delete.resource_version
            && sent != version
        {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {sent}, ResourceVersion \
                 in object meta: {version}"
            );
            return Err(ApiStatus::conflict(&kind.resource, target.name, &why));
        }
        let mut value = current.value.clone();
        if let Some(propagation) = delete.propagation {
            set_deletion_finalizers(kind, &mut value, propagation);
        }
        let held = kind.rules == Rules::Namespace || !finalizers(&value).is_empty();
        if !held {
            if options.dry_run || delete.dry_run {
                return Ok(Deleted::Gone(current));
            }
            self.ranges.release(&current.value);
            let removed = self.commit(kind.table, &target.key(), None);
            return Ok(Deleted::Gone(removed.unwrap_or(current)));
        }
        if meta(&value, "deletionTimestamp").is_empty() {
            if let Some(generation) = value["metadata"]["generation"].as_u64() {
                set_meta(&mut value, "generation", json!(generation + 1));
            }
            set_meta(&mut value, "deletionTimestamp", time(options.now));
            if kind.rules == Rules::Namespace {
                value["status"]["phase"] = json!("Terminating");
            } else {
                set_meta(&mut value, "deletionGracePeriodSeconds", json!(0));
            }
        }
        if value == current.value || options.dry_run || delete.dry_run {
            return Ok(Deleted::Terminating(current));
        }
        let managers = current.managers.clone();
        let stored = self.commit(kind.table, &target.key(), Some((value, managers)));
        Ok(Deleted::Terminating(stored.unwrap_or(current)))
    }

    /// Cluster addresses and node ports, for Services. The last check before the commit.
    fn allocate(
        &mut self,
        kind: &ResourceKind,
        value: &mut Value,
        old: &Value,
        dry_run: bool,
    ) -> Result<(), ApiStatus> {
        if kind.rules != Rules::Service {
            return Ok(());
        }
        let result = if dry_run {
            self.ranges.clone().allocate(value, old)
        } else {
            self.ranges.allocate(value, old)
        };
        match result {
            Ok(()) => Ok(()),
            Err(AllocationError::Taken(cause)) => strategy::refuse(kind, value, vec![cause]),
            Err(AllocationError::Full(why)) => Err(ApiStatus::internal(why)),
        }
    }

    /// 404 where the namespace does not exist, 403 where it takes no new objects.
    fn check_namespace(
        &self,
        kind: &ResourceKind,
        namespace: &str,
        creating: bool,
    ) -> Result<(), ApiStatus> {
        if !kind.namespaced {
            return Ok(());
        }
        let table = self.registry.resource(&NAMESPACES).map_or(0, |kind| kind.table);
        let Some(found) = self.get(table, namespace) else {
            return Err(ApiStatus::not_found(&NAMESPACES, namespace));
        };
        let phase = found.value.pointer("/status/phase").and_then(Value::as_str);
        if creating && phase == Some("Terminating") {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being \
                 terminated"
            );
            return Err(ApiStatus::forbidden(&kind.resource, "", &why));
        }
        Ok(())
    }

    /// 409 where a uid was sent and the object has another one, or is absent.
    fn check_uid(&self, target: &Target<'_>, sent: &str, found: &str) -> Result<(), ApiStatus> {
        if sent.is_empty() || sent == found {
            return Ok(());
        }
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {sent}, UID in object \
             meta: {found}",
            target.kind.resource.plural(),
            target.key(),
        );
        Err(ApiStatus::conflict(&target.kind.resource, target.name, &why))
    }
}

/// Foreground and orphaning deletion are the garbage collector's business: the server only marks
/// the object for it. (There is none here, nor beside a bare kube-apiserver.)
fn set_deletion_finalizers(kind: &ResourceKind, value: &mut Value, propagation: Propagation) {
    let collected = !matches!(kind.rules, Rules::Event | Rules::EventsV1 | Rules::Namespace);
    let mark = match propagation {
        Propagation::Foreground if collected => Some("foregroundDeletion"),
        Propagation::Orphan if collected => Some("orphan"),
        _ => None,
    };
    let mut list: Vec<Value> = finalizers(value)
        .into_iter()
        .filter(|name| !matches!(*name, "foregroundDeletion" | "orphan"))
        .map(|name| json!(name))
        .collect();
    list.extend(mark.map(|mark| json!(mark)));
    if list.is_empty() {
        remove(&mut value["metadata"], "finalizers");
    } else {
        value["metadata"]["finalizers"] = Value::Array(list);
    }
}

fn generated_name(base: &str) -> String {
    let base: String = base.chars().take(58).collect();
    let random = uuid::Uuid::new_v4();
    let suffix = random.as_bytes()[..5].iter().map(|byte| {
        let at = usize::from(*byte) % GENERATED_ALPHABET.len();
        char::from(GENERATED_ALPHABET[at])
    });
    base.chars().chain(suffix).collect()
}

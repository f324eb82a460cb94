//! The versioned store: tables of objects, one global revision, a bounded history per table.
//!
//! Synchronous and without I/O; the rules of kinds live in `strategy`, the verbs in `verbs`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};

use crate::{
    object::{self, Object, set_meta},
    registry::{CustomResource, Registry, ResourceKind},
    selector::Selection,
    service::ServiceRanges,
    status::ApiStatus,
};

/// One committed write.
#[derive(Debug)]
pub(crate) struct Change {
    /// The revision it made.
    pub(crate) version: u64,
    pub(crate) table: usize,
    pub(crate) key: String,
    pub(crate) previous: Option<Arc<Object>>,
    pub(crate) current: Option<Arc<Object>>,
    tombstone: OnceLock<Arc<Object>>,
}

/// What a watcher is told about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl Change {
    /// What a watcher of `selection` is told: entering it is ADDED, leaving it DELETED.
    pub(crate) fn seen_by(&self, selection: &Selection) -> Option<EventType> {
        let matches = |object: &Option<Arc<Object>>| {
            object.as_ref().is_some_and(|object| selection.matches(&object.value))
        };
        match (matches(&self.previous), matches(&self.current)) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    /// The object that goes with the event: for DELETED the last matching state, with the
    /// resourceVersion of the event.
    pub(crate) fn object(&self, event: EventType) -> Option<Arc<Object>> {
        match event {
            EventType::Added | EventType::Modified => self.current.clone(),
            EventType::Deleted => {
                let previous = self.previous.as_ref()?;
                let tombstone = self.tombstone.get_or_init(|| {
                    let mut value = previous.value.clone();
                    set_meta(&mut value, "resourceVersion", json!(self.version.to_string()));
                    Arc::new(Object::new(value, self.version, previous.managers.clone()))
                });
                Some(Arc::clone(tombstone))
            }
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<String, Arc<Object>>,
    history: VecDeque<Arc<Change>>,
    /// Changes up to this revision are no longer in the history.
    compacted: u64,
}

/// Everything the server stores.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) registry: Registry,
    pub(crate) ranges: ServiceRanges,
    tables: Vec<Table>,
    version: u64,
    history_limit: usize,
    /// Changes not yet handed to the watchers.
    fresh: Vec<Arc<Change>>,
}

impl Store {
    /// An empty store that remembers up to `history_limit` changes per table.
    pub(crate) fn new(history_limit: usize) -> Self {
        let registry = Registry::builtin();
        let tables = (0..registry.tables()).map(|_| Table::default()).collect();
        let ranges = ServiceRanges::default();
        Self { registry, ranges, tables, version: 1, history_limit, fresh: Vec::new() }
    }

    pub(crate) fn register(&mut self, custom: CustomResource) -> Arc<ResourceKind> {
        let kind = self.registry.register(custom);
        let version = self.version;
        self.tables.resize_with(self.registry.tables(), || Table {
            compacted: version,
            ..Table::default()
        });
        kind
    }

    /// The revision of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, table: usize, key: &str) -> Option<&Arc<Object>> {
        self.tables[table].objects.get(key)
    }

    /// Objects of a selection in the order of their keys, from `after` (exclusive) on.
    pub(crate) fn select<'a>(
        &'a self,
        table: usize,
        selection: &'a Selection,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Object>)> {
        select_in(&self.tables[table].objects, selection, after)
    }

    /// The table as it was at an earlier revision.
    pub(crate) fn snapshot(
        &self,
        table: usize,
        version: u64,
    ) -> Result<BTreeMap<String, Arc<Object>>, ApiStatus> {
        let table = &self.tables[table];
        if version < table.compacted {
            let message = "The resourceVersion for the provided list is too old.";
            return Err(ApiStatus::expired(message));
        }
        let mut objects = table.objects.clone();
        for change in table.history.iter().rev().take_while(|change| change.version > version) {
            match &change.previous {
                Some(object) => drop(objects.insert(change.key.clone(), Arc::clone(object))),
                None => drop(objects.remove(&change.key)),
            }
        }
        Ok(objects)
    }

    /// Changes after a revision, oldest first; refused where the history does not reach back.
    pub(crate) fn changes_since(
        &self,
        table: usize,
        version: u64,
    ) -> Result<impl Iterator<Item = &Arc<Change>>, ApiStatus> {
        let table = &self.tables[table];
        if version < table.compacted {
            let compacted = table.compacted;
            let message = format!("too old resource version: {version} ({compacted})");
            return Err(ApiStatus::expired(message));
        }
        let start = table.history.partition_point(|change| change.version <= version);
        Ok(table.history.range(start..))
    }

    /// Forgets the history: watches and exact lists from before now are answered with 410.
    pub(crate) fn compact(&mut self) {
        for table in &mut self.tables {
            table.history.clear();
            table.compacted = self.version;
        }
    }

    /// Writes a new version of an object, or removes it. Returns what is stored now, or, for a
    /// removal, what was removed, at the revision of the removal.
    pub(crate) fn commit(
        &mut self,
        table: usize,
        key: &str,
        next: Option<(Value, object::Managers)>,
    ) -> Option<Arc<Object>> {
        self.version += 1;
        let version = self.version;
        let current = next.map(|(mut value, managers)| {
            set_meta(&mut value, "resourceVersion", json!(version.to_string()));
            Arc::new(Object::new(value, version, managers))
        });
        let slot = &mut self.tables[table];
        let previous = match &current {
            Some(object) => slot.objects.insert(key.to_owned(), Arc::clone(object)),
            None => slot.objects.remove(key),
        };
        let change = Arc::new(Change {
            version,
            table,
            key: key.to_owned(),
            previous,
            current: current.clone(),
            tombstone: OnceLock::new(),
        });
        if slot.history.len() >= self.history_limit
            && let Some(oldest) = slot.history.pop_front()
        {
            slot.compacted = oldest.version;
        }
        slot.history.push_back(Arc::clone(&change));
        let result = current.or_else(|| change.object(EventType::Deleted));
        self.fresh.push(change);
        result
    }

    /// Takes the changes that no watcher has been told of.
    pub(crate) fn take_fresh(&mut self) -> Vec<Arc<Change>> {
        std::mem::take(&mut self.fresh)
    }
}

/// Key of an object: `namespace/name`, or its name where it has no namespace. Lists are in the
/// order of these keys, as those of etcd are.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// See [`Store::select`].
pub(crate) fn select_in<'a>(
    objects: &'a BTreeMap<String, Arc<Object>>,
    selection: &'a Selection,
    after: Option<&str>,
) -> impl Iterator<Item = (&'a str, &'a Arc<Object>)> + use<'a> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let prefix = match (&selection.namespace, selection.name()) {
        (Some(namespace), Some(name)) => key(namespace, name),
        (Some(namespace), None) => format!("{namespace}/"),
        _ => String::new(),
    };
    let start = match after {
        Some(after) if *after >= *prefix => Excluded(after.to_owned()),
        _ => Included(prefix.clone()),
    };
    objects
        .range::<String, _>((start, Unbounded))
        .take_while(move |(key, _)| key.starts_with(&prefix))
        .filter(|(_, object)| selection.matches(&object.value))
        .map(|(key, object)| (key.as_str(), object))
}

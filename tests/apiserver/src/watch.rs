//! Who watches what, and what each watcher is told, in the order of the writes.
//!
//! A write evaluates each distinct selection once, and looks up those by name by the object's
//! key, so that thousands of watchers of other names cost nothing.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    object::Object,
    selector::Selection,
    status::ApiStatus,
    store::{Change, EventType, Store, key},
};

/// What a watch stream is handed. Streams apply freezing and encoding.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// An object of the state that the watch starts with.
    Initial(Arc<Object>),
    /// Everything up to this revision was delivered.
    Bookmark {
        version: u64,
        /// The end of a streaming list.
        initial_end: bool,
    },
    Event(EventType, Arc<Change>),
    /// An ERROR event; the stream ends after it.
    Error(ApiStatus),
    /// The stream ends, as after its timeout.
    Close,
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The state as it is now as ADDED events, then changes.
    Now {
        /// Close the initial events with a bookmark (`sendInitialEvents`).
        bookmark: bool,
    },
    /// Changes after this revision.
    After(u64),
}

#[derive(Debug)]
struct Subscriber {
    id: u64,
    sender: mpsc::UnboundedSender<Delivery>,
}

/// All watchers, grouped by what they watch.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// By table and key of the one object that can match.
    named: HashMap<(usize, String), HashMap<Selection, Vec<Subscriber>>>,
    /// By table; the others.
    broad: HashMap<usize, HashMap<Selection, Vec<Subscriber>>>,
    next_id: u64,
}

/// A registered watch; the stream that owns it deregisters it by its id.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) table: usize,
    pub(crate) selection: Selection,
    pub(crate) sender: mpsc::UnboundedSender<Delivery>,
    pub(crate) receiver: mpsc::UnboundedReceiver<Delivery>,
}

/// Groups of one table that were emptied are removed, so that renamed selections don't pile up.
fn prune(groups: &mut HashMap<Selection, Vec<Subscriber>>, selection: &Selection, id: u64) {
    if let Some(group) = groups.get_mut(selection) {
        group.retain(|subscriber| subscriber.id != id);
        if group.is_empty() {
            groups.remove(selection);
        }
    }
}

/// The key of the one object that a selection can match.
fn only_key(selection: &Selection, namespaced: bool) -> Option<String> {
    let name = selection.name()?;
    match &selection.namespace {
        Some(namespace) => Some(key(namespace, name)),
        None if namespaced => None,
        None => Some(name.to_owned()),
    }
}

impl Watchers {
    /// Registers a watch. Its channel is filled with what came before, under the same lock that
    /// writes hold, so that nothing is missed and nothing comes twice.
    pub(crate) fn subscribe(
        &mut self,
        store: &Store,
        table: usize,
        namespaced: bool,
        selection: Selection,
        start: Start,
    ) -> Subscription {
        let (sender, receiver) = mpsc::unbounded_channel();
        // Nothing below can fail: this function holds the receiver.
        let send = |delivery| drop(sender.send(delivery));
        let mut open = true;
        match start {
            Start::Now { bookmark } => {
                for (_, object) in store.select(table, &selection, None) {
                    send(Delivery::Initial(Arc::clone(object)));
                }
                if bookmark {
                    send(Delivery::Bookmark { version: store.version(), initial_end: true });
                }
            }
            Start::After(version) => match store.changes_since(table, version) {
                Ok(changes) => {
                    for change in changes {
                        if let Some(event) = change.seen_by(&selection) {
                            send(Delivery::Event(event, Arc::clone(change)));
                        }
                    }
                }
                Err(status) => {
                    send(Delivery::Error(status));
                    open = false;
                }
            },
        }
        self.next_id += 1;
        let id = self.next_id;
        if open {
            let groups = match only_key(&selection, namespaced) {
                Some(key) => self.named.entry((table, key)).or_default(),
                None => self.broad.entry(table).or_default(),
            };
            let subscriber = Subscriber { id, sender: sender.clone() };
            groups.entry(selection.clone()).or_default().push(subscriber);
        }
        Subscription { id, table, selection, sender, receiver }
    }

    /// Forgets a watch whose stream has ended.
    pub(crate) fn unsubscribe(&mut self, table: usize, selection: &Selection, id: u64) {
        if let Some(groups) = self.broad.get_mut(&table) {
            prune(groups, selection, id);
        }
        for namespaced in [true, false] {
            let Some(key) = only_key(selection, namespaced) else { continue };
            let slot = (table, key);
            if let Some(groups) = self.named.get_mut(&slot) {
                prune(groups, selection, id);
                if groups.is_empty() {
                    self.named.remove(&slot);
                }
            }
        }
    }

    /// Hands a change to everyone who watches the object.
    pub(crate) fn dispatch(&self, change: &Arc<Change>) {
        let named = self.named.get(&(change.table, change.key.clone()));
        let broad = self.broad.get(&change.table);
        for (selection, group) in [named, broad].into_iter().flatten().flatten() {
            let Some(event) = change.seen_by(selection) else { continue };
            for subscriber in group {
                // A stream that has just ended is no reason to stop.
                drop(subscriber.sender.send(Delivery::Event(event, Arc::clone(change))));
            }
        }
    }

    /// How many watches are open.
    pub(crate) fn count(&self) -> usize {
        let groups = self.named.values().chain(self.broad.values());
        groups.flat_map(HashMap::values).map(Vec::len).sum()
    }
}

//! The body of a watch: one JSON event per line, until its timeout.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    audit::Audit,
    faults::Faults,
    object::{Object, encode},
    objects::{Objects, view, view_json},
    registry::ResourceKind,
    request::{Match, RequestInfo},
    signal::Signal,
    status::ApiStatus,
    store::EventType,
    table,
    watch::{Delivery, Subscription},
};

/// One chunk is not made larger than this by collecting events that are ready.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
struct OpenWatch {
    request: RequestInfo,
    sender: mpsc::UnboundedSender<Delivery>,
    bookmarks: bool,
}

/// The open watch streams: a handle that can be cloned and sent.
#[derive(Clone, Debug)]
pub struct Watches {
    objects: Objects,
    open: Arc<Mutex<HashMap<u64, OpenWatch>>>,
    changed: Arc<Signal>,
}

impl Watches {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, open: Arc::default(), changed: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, OpenWatch>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a stream until it is dropped.
    pub(crate) fn opened(&self, stream: &WatchStream) {
        let open = OpenWatch {
            request: stream.request.clone(),
            sender: stream.subscription.sender.clone(),
            bookmarks: stream.bookmarks.is_some(),
        };
        self.lock().insert(stream.subscription.id, open);
        self.changed.notify();
    }

    /// How many matching streams are open.
    pub fn count(&self, of: &Match) -> usize {
        self.lock().values().filter(|watch| of.matches(&watch.request)).count()
    }

    /// Blocks until exactly `count` matching streams are open; whether that came true in time.
    pub fn wait_for(&self, of: &Match, count: usize, within: Duration) -> bool {
        self.changed.wait(within, || self.count(of) == count)
    }

    /// The same for async code; needs a tokio runtime with time.
    pub async fn until(&self, of: &Match, count: usize, within: Duration) -> bool {
        self.changed.until_within(within, || self.count(of) == count).await
    }

    /// Ends matching streams behind what they have been handed, as their timeout would.
    pub fn close(&self, of: &Match) -> usize {
        self.send(of, &Delivery::Close)
    }

    /// Ends matching streams with an ERROR event of code 410, so that their clients list anew.
    pub fn expire(&self, of: &Match) -> usize {
        let status = ApiStatus::expired("The resourceVersion for the provided watch is too old.");
        self.send(of, &Delivery::Error(status))
    }

    /// Sends a bookmark at once to matching streams that asked for bookmarks.
    pub fn bookmark(&self, of: &Match) -> usize {
        self.objects.with(|state| {
            let version = state.store.version();
            let bookmark = Delivery::Bookmark { version, initial_end: false };
            self.send_where(of, &bookmark, |watch| watch.bookmarks)
        })
    }

    fn send(&self, of: &Match, delivery: &Delivery) -> usize {
        self.send_where(of, delivery, |_| true)
    }

    fn send_where(
        &self,
        of: &Match,
        delivery: &Delivery,
        also: impl Fn(&OpenWatch) -> bool,
    ) -> usize {
        let open = self.lock();
        let matching = open.values().filter(|watch| of.matches(&watch.request) && also(watch));
        matching.filter(|watch| watch.sender.send(delivery.clone()).is_ok()).count()
    }
}

/// How a watch is served.
#[derive(Debug)]
pub(crate) struct WatchStream {
    pub(crate) subscription: Subscription,
    pub(crate) kind: Arc<ResourceKind>,
    pub(crate) request: RequestInfo,
    pub(crate) objects: Objects,
    pub(crate) faults: Faults,
    pub(crate) audit: Audit,
    pub(crate) watches: Watches,
    /// When the stream ends by itself.
    pub(crate) deadline: Instant,
    /// Time between bookmarks; `None` where the client does not want them.
    pub(crate) bookmarks: Option<Duration>,
    /// Objects as rows, for `kubectl get --watch`.
    pub(crate) as_table: bool,
}

/// Deregisters the watch when its stream goes, however it goes.
impl Drop for WatchStream {
    fn drop(&mut self) {
        let Subscription { id, table, selection, .. } = &self.subscription;
        self.objects.with(|state| state.watchers.unsubscribe(*table, selection, *id));
        self.watches.lock().remove(id);
        self.watches.changed.notify();
    }
}

enum Next {
    Delivery(Option<Delivery>),
    Bookmark,
    Timeout,
}

struct Run {
    watch: WatchStream,
    next_bookmark: Option<Instant>,
    /// The first row of a table stream carries the columns.
    columns_sent: bool,
    ended: bool,
}

impl WatchStream {
    /// The chunks of the body.
    pub(crate) fn frames(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        let next_bookmark = self.next_bookmark();
        let run = Run { watch: self, next_bookmark, columns_sent: false, ended: false };
        stream::unfold(run, |mut run| async move {
            let chunk = run.chunk().await?;
            Some((Ok(Frame::data(chunk)), run))
        })
    }

    /// In an interval from now, or two seconds before the end, whichever is sooner.
    fn next_bookmark(&self) -> Option<Instant> {
        let now = Instant::now();
        let regular = now + self.bookmarks?;
        let last = self.deadline.checked_sub(Duration::from_secs(2));
        Some(last.filter(|last| *last > now).map_or(regular, |last| last.min(regular)))
    }
}

impl Run {
    /// The next events, as many as are ready; `None` at the end.
    async fn chunk(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        let mut events = 0;
        while chunk.is_empty() {
            if self.ended {
                return None;
            }
            let next = self.next().await;
            // Whatever it is, it is held back while the watch is frozen.
            self.watch.faults.while_frozen(&self.watch.request).await;
            match next {
                Next::Delivery(Some(delivery)) => self.write(delivery, &mut chunk, &mut events),
                Next::Delivery(None) => self.ended = true,
                Next::Bookmark => self.request_bookmark(),
                Next::Timeout => {
                    // What was held back while the stream was frozen comes before its end.
                    self.drain(&mut chunk, &mut events, usize::MAX);
                    self.ended = true;
                }
            }
        }
        self.drain(&mut chunk, &mut events, CHUNK);
        self.watch.audit.delivered(&self.watch.request, events);
        Some(chunk.freeze())
    }

    fn drain(&mut self, chunk: &mut BytesMut, events: &mut u64, limit: usize) {
        while chunk.len() < limit && !self.ended {
            let Ok(delivery) = self.watch.subscription.receiver.try_recv() else { break };
            self.write(delivery, chunk, events);
        }
    }

    async fn next(&mut self) -> Next {
        let receiver = &mut self.watch.subscription.receiver;
        let bookmark = self.next_bookmark.unwrap_or(self.watch.deadline);
        tokio::select! {
            biased;
            delivery = receiver.recv() => Next::Delivery(delivery),
            () = sleep_until(bookmark), if self.next_bookmark.is_some() => Next::Bookmark,
            () = sleep_until(self.watch.deadline) => Next::Timeout,
        }
    }

    /// Queues a bookmark behind all events up to its revision.
    fn request_bookmark(&mut self) {
        let sender = &self.watch.subscription.sender;
        self.watch.objects.with(|state| {
            let version = state.store.version();
            drop(sender.send(Delivery::Bookmark { version, initial_end: false }));
        });
        self.next_bookmark = self.watch.next_bookmark();
    }

    fn write(&mut self, delivery: Delivery, chunk: &mut BytesMut, events: &mut u64) {
        let (event, object) = match delivery {
            Delivery::Initial(object) => ("ADDED", self.show(&object)),
            Delivery::Event(event, change) => {
                let Some(object) = change.object(event) else { return };
                let name = match event {
                    EventType::Added => "ADDED",
                    EventType::Modified => "MODIFIED",
                    EventType::Deleted => "DELETED",
                };
                (name, self.show(&object))
            }
            Delivery::Bookmark { version, initial_end } => {
                ("BOOKMARK", encode(&self.bookmark(version, initial_end)))
            }
            Delivery::Error(status) => {
                self.ended = true;
                ("ERROR", encode(&status.to_value()))
            }
            Delivery::Close => {
                self.ended = true;
                return;
            }
        };
        *events += 1;
        for part in [b"{\"type\":\"", event.as_bytes(), b"\",\"object\":", &object, b"}\n"] {
            chunk.extend_from_slice(part);
        }
    }

    fn show(&mut self, object: &Object) -> Bytes {
        let kind = &self.watch.kind;
        if !self.watch.as_table {
            return view_json(kind, object);
        }
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        let version = object.version;
        encode(&table::table(kind, &[view(kind, object)], &version.to_string(), with_columns))
    }

    fn bookmark(&self, version: u64, initial_end: bool) -> Value {
        let kind = &self.watch.kind;
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.watch.as_table {
            let mut table = table::table(kind, &[], &version.to_string(), false);
            table["metadata"] = metadata;
            return table;
        }
        metadata["creationTimestamp"] = Value::Null;
        json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata})
    }
}

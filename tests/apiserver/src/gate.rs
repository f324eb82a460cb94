//! Outages of the whole server: it refuses connections, or swallows everything like a black hole.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc as blocking,
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};

/// How the server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// As if its process had been killed: open connections are closed at once, new ones are
    /// refused by the kernel (RST). Requests that had been received in full are still processed,
    /// but not answered. Afterwards it listens again on the same address.
    Refuse,
    /// As if its network were gone: nothing is read or written, on open connections or new ones
    /// (which the kernel still accepts, as many as the backlog holds). Afterwards everything goes
    /// on where it stopped, as TCP retransmission would have it: requests that were sent meanwhile
    /// are processed late, even those that clients have given up, and held watch events arrive.
    BlackHole,
}

/// What the accept loop is to do; it acknowledges when it is in effect.
#[derive(Debug)]
pub(crate) struct NetworkChange {
    pub(crate) outage: Option<Outage>,
    pub(crate) done: blocking::Sender<()>,
}

/// The outages that are under way.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    active: Arc<Mutex<Active>>,
    changes: mpsc::UnboundedSender<NetworkChange>,
}

#[derive(Debug, Default)]
struct Active {
    outages: Vec<(u64, Outage)>,
    next_id: u64,
}

impl Active {
    fn effective(&self) -> Option<Outage> {
        let is = |outage: Outage| self.outages.iter().any(|(_, active)| *active == outage);
        [Outage::Refuse, Outage::BlackHole].into_iter().find(|outage| is(*outage))
    }
}

impl Network {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<NetworkChange>) {
        let (changes, receiver) = mpsc::unbounded_channel();
        (Self { active: Arc::default(), changes }, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, outage: Outage) -> OutageGuard {
        let mut active = self.lock();
        active.next_id += 1;
        let id = active.next_id;
        active.outages.push((id, outage));
        self.put_in_effect(active);
        OutageGuard { network: self.clone(), id }
    }

    fn end(&self, id: u64) {
        let mut active = self.lock();
        active.outages.retain(|(other, _)| *other != id);
        self.put_in_effect(active);
    }

    /// Waits for the accept loop, under the lock so that changes arrive in their order.
    fn put_in_effect(&self, active: MutexGuard<'_, Active>) {
        let (done, acknowledged) = blocking::channel();
        let change = NetworkChange { outage: active.effective(), done };
        // An error means that the server has been shut down: nothing is left to take away.
        if self.changes.send(change).is_ok() {
            let _ = acknowledged.recv();
        }
    }
}

/// An outage under way; dropping it ends the outage, in effect when the drop returns.
#[derive(Debug)]
pub struct OutageGuard {
    network: Network,
    id: u64,
}

impl OutageGuard {
    /// Ends the outage, as dropping does.
    pub fn end(self) {}
}

impl Drop for OutageGuard {
    fn drop(&mut self) {
        self.network.end(self.id);
    }
}

/// Lets the bytes of all connections through, or holds them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    /// One task per connection reads and writes: its last waker is enough.
    waiting: Mutex<HashMap<u64, Waker>>,
    next_id: AtomicU64,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.lock());
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, id: u64, context: &Context<'_>) -> Poll<()> {
        if !self.closed.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.lock().insert(id, context.waker().clone());
        // It may have been opened between the look and the insertion.
        if self.closed.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// A connection behind the gate.
#[derive(Debug)]
pub(crate) struct GatedStream {
    stream: TcpStream,
    gate: Arc<Gate>,
    id: u64,
}

impl GatedStream {
    pub(crate) fn new(stream: TcpStream, gate: Arc<Gate>) -> Self {
        let id = gate.next_id.fetch_add(1, Ordering::Relaxed);
        Self { stream, gate, id }
    }
}

impl Drop for GatedStream {
    fn drop(&mut self) {
        self.gate.lock().remove(&self.id);
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.gate.poll(self.id, context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.gate.poll(self.id, context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.gate.poll(self.id, context));
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gate.poll(self.id, context));
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

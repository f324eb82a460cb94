//! The only writer of the BPF maps and the only sender of gratuitous ARP and probes.
//!
//! It follows the desired [`WireState`]: maps first, then frames, so that whoever
//! hears an announcement gets an answer. What to write is decided by
//! [`datapath::plan`](crate::datapath::plan), what to announce by `announcing`;
//! here is the loop and the I/O.

mod announcing;
mod port;

use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use self::port::Port;
use crate::{
    announce::{self, GratuitousSender},
    datapath::{DatapathError, EffectiveHook, Interface},
    observe::{
        health::{Health, Loop, TICK},
        metrics::Metrics,
    },
    types::{BootTime, IfIndex, MacAddr},
    uplink::Uplink,
    wire_state::{Heard, WireState},
};

/// After a write that failed, the next attempt; a new state comes sooner.
const RETRY: Duration = Duration::from_secs(1);

/// What becomes of the data plane when the desired state ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Programs, maps and pins are removed.
    #[default]
    Detach,
    /// The program stays for the next daemon, and all VIPs are silent for so long: this
    /// host's kernel, which may have them as addresses, answers for none meanwhile.
    LeaveSilent(Duration),
    /// Everything stays pinned for the next daemon; each VIP ends with its time.
    LeavePinned,
}

/// What happens to the interfaces while the responder runs.
#[derive(Debug)]
pub enum UplinkChange {
    /// There is one more. It is written at once, and announced on.
    Attached(Box<Interface>, Uplink),
    /// What is known of it has changed.
    Changed(IfIndex, Uplink),
    /// It is not to be served any more: it is taken down, and then the sender is told.
    Gone(IfIndex, oneshot::Sender<()>),
}

/// What the responder does, for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponderStatus {
    /// One for each interface, in the order in which they came.
    pub interfaces: Vec<InterfaceStatus>,
    /// Desired states that were written. A state that is replaced before its turn
    /// is never written.
    pub states_followed: u64,
    /// Foreign claims that nobody fetched in time.
    pub claims_dropped: u64,
}

/// One interface of [`ResponderStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: IfIndex,
    /// The MAC that it answers with.
    pub mac: MacAddr,
    /// The hook in use.
    pub hook: EffectiveHook,
    /// VIPs in the maps that are held.
    pub held: usize,
    /// VIPs in the maps that are silent.
    pub silent: usize,
    /// VIPs that the maps have no room for: the kernel gets their frames.
    pub unplaced: usize,
    /// Gratuitous ARP frames sent, both forms counted.
    pub gratuitous_sent: u64,
    /// Rounds of gratuitous ARP that could not be sent.
    pub gratuitous_failed: u64,
    /// ARP Probes sent before first claims.
    pub probes_sent: u64,
    /// Map writes that failed; each is tried again.
    pub write_failures: u64,
}

/// The task that makes the wire follow the desired state.
#[derive(Debug)]
pub struct Responder {
    ports: Vec<Port>,
    announce: announce::Settings,
    states: watch::Receiver<Option<Arc<WireState>>>,
    changes: mpsc::Receiver<UplinkChange>,
    claims: mpsc::Sender<Heard>,
    states_followed: u64,
    claims_dropped: u64,
    status: watch::Sender<ResponderStatus>,
    on_stop: OnStop,
    metrics: Metrics,
    health: Health,
}

impl Responder {
    /// Takes over the interfaces.
    ///
    /// While `states` says `None`, adopted VIPs stay as they are. The first state
    /// replaces them; those that stay answered are announced again, as nobody
    /// knows how far their former announcements got.
    ///
    /// `claims` should have room for a second's worth. When it is full the newest
    /// claim is dropped and counted: a station that means its claim repeats it,
    /// and a full queue already tells of trouble.
    ///
    /// # Errors
    /// No packet socket (CAP_NET_RAW), or an interface is gone. The interfaces are
    /// abandoned then.
    ///
    /// `changes` may end; the interfaces stay as they are then.
    pub fn new(
        interfaces: Vec<(Interface, Uplink)>,
        changes: mpsc::Receiver<UplinkChange>,
        announce: announce::Settings,
        states: watch::Receiver<Option<Arc<WireState>>>,
        claims: mpsc::Sender<Heard>,
        on_stop: OnStop,
    ) -> Result<(Self, watch::Receiver<ResponderStatus>), DatapathError> {
        let open = |(interface, _): &(Interface, _)| GratuitousSender::open(interface.index());
        let senders = match interfaces.iter().map(open).collect::<io::Result<Vec<_>>>() {
            Ok(senders) => senders,
            Err(error) => {
                interfaces.into_iter().for_each(|(interface, _)| interface.abandon());
                return Err(DatapathError::system("opening a packet socket", error));
            }
        };
        let ports = interfaces
            .into_iter()
            .zip(senders)
            .map(|((interface, uplink), sender)| Port::new(interface, uplink, sender, announce))
            .collect();
        let (status, status_receiver) = watch::channel(ResponderStatus::default());
        let responder = Self {
            ports,
            announce,
            states,
            changes,
            claims,
            states_followed: 0,
            claims_dropped: 0,
            status,
            on_stop,
            metrics: Metrics::default(),
            health: Health::default(),
        };
        responder.publish();
        Ok((responder, status_receiver))
    }

    /// Counts here, and says here that it turns.
    #[must_use]
    pub fn observed(self, metrics: Metrics, health: Health) -> Self {
        Self { metrics, health, ..self }
    }

    /// Runs until the sender of `states` is dropped, then stops as [`OnStop`] says.
    ///
    /// Cancelled (dropped) instead, it leaves everything pinned.
    ///
    /// # Errors
    /// The first error of taking the interfaces down; all of them are tried.
    pub async fn run(mut self) -> Result<(), DatapathError> {
        let mut retry_at = self.follow();
        loop {
            self.publish();
            self.health.turns(Loop::Responder);
            let tick = BootTime::now() + TICK;
            let deadline = self.next_deadline().into_iter().chain(retry_at).fold(tick, Ord::min);
            tokio::select! {
                // A new state first: it may withdraw.
                biased;
                changed = self.states.changed() => match changed {
                    Ok(()) => retry_at = self.follow(),
                    Err(_) => break,
                },
                Some(change) = self.changes.recv() => {
                    self.uplink_changed(change);
                    retry_at = self.follow();
                },
                () = sleep_until(deadline) => {
                    let now = BootTime::now();
                    if retry_at.is_some_and(|at| at <= now) {
                        retry_at = self.follow();
                    }
                    self.announce();
                },
                claim = next_claim(&mut self.ports) => self.forward(claim),
            }
        }
        self.stop()
    }

    /// Writes the newest state, then announces what is newly answered. Says when
    /// to try again, if not everything could be written.
    fn follow(&mut self) -> Option<BootTime> {
        let mut complete = true;
        for port in &mut self.ports {
            complete &= port.settle();
        }
        let state = self.states.borrow_and_update().clone();
        if let Some(state) = state {
            // Every interface is written before the first frame goes out: a
            // withdrawal does not wait for announcements.
            for port in &mut self.ports {
                complete &= port.write(&state);
            }
            self.announce();
            self.states_followed += 1;
        }
        (!complete).then(|| BootTime::now() + RETRY)
    }

    fn uplink_changed(&mut self, change: UplinkChange) {
        match change {
            UplinkChange::Attached(interface, uplink) => {
                match GratuitousSender::open(interface.index()) {
                    Ok(sender) => {
                        self.ports.push(Port::new(*interface, uplink, sender, self.announce));
                    }
                    // It went as fast as it came, which the next change says.
                    Err(error) => {
                        tracing::warn!(interface = uplink.name, %error, "no packet socket");
                        interface.abandon();
                    }
                }
            }
            UplinkChange::Changed(index, uplink) => {
                if let Some(port) = self.ports.iter_mut().find(|port| port.index() == index) {
                    port.update(uplink, BootTime::now());
                }
            }
            UplinkChange::Gone(index, done) => {
                if let Some(at) = self.ports.iter().position(|port| port.index() == index)
                    && let Err(error) = self.ports.remove(at).detach()
                {
                    tracing::warn!(ifindex = index.get(), %error, "could not be taken down");
                }
                // Nobody waits if the daemon is ending.
                let _ = done.send(());
            }
        }
    }

    fn announce(&mut self) {
        for port in &mut self.ports {
            for vip in port.announce() {
                self.metrics.announced(BootTime::now(), vip);
            }
        }
    }

    fn next_deadline(&self) -> Option<BootTime> {
        self.ports.iter().filter_map(Port::next_deadline).min()
    }

    fn forward(&mut self, claim: Heard) {
        if self.claims.try_send(claim).is_err() {
            self.claims_dropped += 1;
        }
    }

    fn publish(&self) {
        let status = ResponderStatus {
            interfaces: self.ports.iter().map(Port::status).collect(),
            states_followed: self.states_followed,
            claims_dropped: self.claims_dropped,
        };
        self.status.send_if_modified(|current| {
            let modified = *current != status;
            *current = status;
            modified
        });
    }

    fn stop(mut self) -> Result<(), DatapathError> {
        // One that was attached at the last moment is not forgotten.
        while let Ok(change) = self.changes.try_recv() {
            self.uplink_changed(change);
        }
        let mut result = Ok(());
        for port in self.ports {
            // `and` evaluates its argument in any case: no port is forgotten.
            result = result.and(match self.on_stop {
                OnStop::Detach => port.detach(),
                OnStop::LeaveSilent(time) => port.leave_silent(BootTime::now() + time),
                OnStop::LeavePinned => Ok(()),
            });
        }
        result
    }
}

async fn sleep_until(deadline: BootTime) {
    tokio::time::sleep(deadline.since(BootTime::now())).await;
}

/// The next claim on any interface; cancel-safe, as a claim is taken out of its
/// ring buffer only when it is returned.
async fn next_claim(ports: &mut [Port]) -> Heard {
    poll_fn(|cx| {
        for port in ports.iter_mut() {
            if let Poll::Ready(claim) = port.poll_claim(cx) {
                return Poll::Ready(claim);
            }
        }
        Poll::Pending
    })
    .await
}

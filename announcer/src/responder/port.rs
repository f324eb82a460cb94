//! One interface as the responder sees it: maps, announcements, socket.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use super::{InterfaceStatus, announcing::Announcing};
use crate::{
    announce::{self, GratuitousSender},
    datapath::{DatapathError, Interface, Written, plan::MapOp},
    types::{BootTime, Vip},
    wire_state::{Heard, WireEntry, WireState},
};

/// More failures of one state than this are counted, not listed.
const FAILURES_LOGGED: usize = 5;

#[derive(Debug)]
pub(super) struct Port {
    interface: Interface,
    sender: GratuitousSender,
    announcing: Announcing,
    unplaced: Vec<Vip>,
    gratuitous_sent: u64,
    gratuitous_failed: u64,
    probes_sent: u64,
    write_failures: u64,
    /// The last round could not be sent: that was logged already.
    is_failing: bool,
}

impl Port {
    pub(super) fn new(
        interface: Interface,
        sender: GratuitousSender,
        settings: announce::Settings,
    ) -> Self {
        Self {
            interface,
            sender,
            announcing: Announcing::new(settings),
            unplaced: Vec::new(),
            gratuitous_sent: 0,
            gratuitous_failed: 0,
            probes_sent: 0,
            write_failures: 0,
            is_failing: false,
        }
    }

    /// Makes the maps say `state`; false if not everything could be written.
    pub(super) fn write(&mut self, state: &WireState) -> bool {
        let state = state.on(self.interface.name());
        let before = self.interface.answering(BootTime::now());
        let Written { failures, unplaced } = self.interface.write(&state);
        let now = BootTime::now();
        let mut after = self.interface.answering(now);
        // What could not be withdrawn is answered still, but not announced.
        after.retain(|vip| matches!(state.vips.get(vip), Some(WireEntry::Answer { .. })));
        self.announcing.follow(&before, &after, now);
        self.announcing.follow_claims(&state, now);

        let name = self.interface.name();
        for (op, error) in failures.iter().take(FAILURES_LOGGED) {
            let vip = match op {
                MapOp::Put { vip, .. } | MapOp::Remove { vip } => Some(vip.to_string()),
                _ => None,
            };
            let error = error as &(dyn std::error::Error + 'static);
            tracing::error!(interface = name, vip, ?op, error, "map write failed; trying again");
        }
        if failures.len() > FAILURES_LOGGED {
            tracing::error!(interface = name, failures = failures.len(), "map writes failed");
        }
        if unplaced != self.unplaced && !unplaced.is_empty() {
            tracing::error!(
                interface = name,
                ?unplaced,
                "no room for these VIPs; raise --max-vips"
            );
        }
        self.write_failures += u64::try_from(failures.len()).unwrap_or(u64::MAX);
        self.unplaced = unplaced;
        failures.is_empty()
    }

    /// Sends the gratuitous ARP and the probes that are due.
    pub(super) fn announce(&mut self) {
        let now = BootTime::now();
        if self.announcing.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        for vip in self.announcing.probes_due(now) {
            match self.sender.probe(vip, self.interface.mac()) {
                Ok(()) => {
                    self.probes_sent += 1;
                    self.is_failing = false;
                    tracing::debug!(interface = self.interface.name(), %vip, "probed");
                }
                Err(error) => self.note_failure(vip, &error),
            }
        }
        let answering = self.interface.answering(now);
        for announcement in self.announcing.due(&answering, now) {
            match self.sender.send(announcement, self.interface.mac()) {
                Ok(()) => {
                    self.gratuitous_sent += u64::from(announcement.kind.frames());
                    self.is_failing = false;
                    tracing::debug!(interface = self.interface.name(), vip = %announcement.vip,
                        kind = ?announcement.kind, "announced");
                }
                Err(error) => self.note_failure(announcement.vip, &error),
            }
        }
    }

    /// The round is lost; the next one comes by itself.
    fn note_failure(&mut self, vip: Vip, error: &io::Error) {
        self.gratuitous_failed += 1;
        if !self.is_failing {
            tracing::warn!(interface = self.interface.name(), %vip, %error,
                "gratuitous ARP could not be sent");
        }
        self.is_failing = true;
    }

    pub(super) fn next_deadline(&self) -> Option<BootTime> {
        self.announcing.next_deadline()
    }

    pub(super) fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if let Some(logs) = self.interface.logs() {
            // Ready only when the event loop shuts down.
            let _ = logs.poll_forward(cx);
        }
        match self.interface.claims().poll_next(cx) {
            Poll::Ready(Ok(claim)) => {
                Poll::Ready(Heard { claim, interface: Arc::from(self.interface.name()) })
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn status(&self) -> InterfaceStatus {
        let (held, silent) = self.interface.occupancy();
        InterfaceStatus {
            name: self.interface.name().to_owned(),
            index: self.interface.index(),
            mac: self.interface.mac(),
            hook: self.interface.hook(),
            held,
            silent,
            unplaced: self.unplaced.len(),
            gratuitous_sent: self.gratuitous_sent,
            gratuitous_failed: self.gratuitous_failed,
            probes_sent: self.probes_sent,
            write_failures: self.write_failures,
        }
    }

    pub(super) fn detach(self) -> Result<(), DatapathError> {
        self.interface.detach()
    }
}

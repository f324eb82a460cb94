//! One interface as the responder sees it: maps, announcements, socket.

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use super::{InterfaceStatus, announcing::Announcing};
use crate::{
    announce::{self, GratuitousSender, Kind},
    datapath::{DatapathError, Interface, Silence, Written, plan::MapOp},
    intent::eligibility::LinkState,
    types::{BootTime, IfIndex, Vip},
    uplink::Uplink,
    wire_state::{Heard, WireEntry, WireState},
};

/// More failures of one state than this are counted, not listed.
const FAILURES_LOGGED: usize = 5;

#[derive(Debug)]
pub(super) struct Port {
    interface: Interface,
    uplink: Uplink,
    sender: GratuitousSender,
    announcing: Announcing,
    /// The program has been told what the interface is like.
    is_configured: bool,
    unplaced: Vec<Vip>,
    /// VIPs that no host of the interface's networks asks for here, of which it was told.
    off_link: BTreeSet<Vip>,
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
        uplink: Uplink,
        sender: GratuitousSender,
        settings: announce::Settings,
    ) -> Self {
        let mut port = Self {
            interface,
            uplink,
            sender,
            announcing: Announcing::new(settings),
            is_configured: false,
            unplaced: Vec::new(),
            off_link: BTreeSet::new(),
            gratuitous_sent: 0,
            gratuitous_failed: 0,
            probes_sent: 0,
            write_failures: 0,
            is_failing: false,
        };
        port.configure();
        port
    }

    pub(super) const fn index(&self) -> IfIndex {
        self.interface.index()
    }

    /// Takes in what has changed about the interface. After a link that came back, or
    /// with another MAC, everything is announced anew.
    pub(super) fn update(&mut self, uplink: Uplink, now: BootTime) {
        let before = std::mem::replace(&mut self.uplink, uplink);
        let after = &self.uplink;
        let has_new_mac = before.mac != after.mac;
        let is_back = before.carrier_ups != after.carrier_ups
            || before.link != after.link && after.link == LinkState::Fit;
        if has_new_mac || before.sharing != after.sharing {
            self.configure();
        }
        if has_new_mac || is_back {
            self.announcing.restart(now);
        }
    }

    /// Tells the data plane what it must know of the interface.
    fn configure(&mut self) {
        let Uplink { name, mac, sharing, .. } = &self.uplink;
        if let Some(sharing) = sharing
            && self.interface.silence() == Silence::Auto
        {
            tracing::warn!(
                interface = name,
                "{sharing}: requests for VIPs held elsewhere pass to them, so this host's kernel \
                 sees them too and answers for such a VIP if it has it as an address"
            );
        }
        let mac = mac.unwrap_or(self.interface.mac());
        if mac != self.interface.mac() {
            tracing::info!(interface = name, from = %self.interface.mac(), to = %mac, "MAC changed");
        }
        self.is_configured = false;
        self.settle();
    }

    /// Writes what the data plane must know of the interface, unless it is written; false if
    /// that failed: until it succeeds the data plane answers with the former MAC.
    pub(super) fn settle(&mut self) -> bool {
        let Uplink { name, mac, sharing, .. } = &self.uplink;
        if !self.is_configured {
            let mac = mac.unwrap_or(self.interface.mac());
            let written = self.interface.configure(mac, sharing.is_some());
            if let Err(error) = &written {
                self.write_failures += 1;
                tracing::error!(
                    interface = name, %error,
                    "the interface's MAC and settings could not be written; trying again"
                );
            }
            self.is_configured = written.is_ok();
        }
        self.is_configured
    }

    /// Makes the maps say `state`; false if not everything could be written.
    pub(super) fn write(&mut self, state: &WireState) -> bool {
        let state = state.on(&self.uplink.name);
        let before = self.interface.answering(BootTime::now());
        let Written { failures, unplaced } = self.interface.write(&state);
        let now = BootTime::now();
        let mut after = self.interface.answering(now);
        // What could not be withdrawn is answered still, but not announced.
        after.retain(|vip| matches!(state.vips.get(vip), Some(WireEntry::Answer { .. })));
        self.announcing.follow(&before, &after, now);
        self.announcing.follow_claims(&state, now);
        self.warn_off_link(&after);

        let name = &*self.uplink.name;
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
                "no room for these VIPs; raise --max-vips (ANNOUNCER_MAX_VIPS)"
            );
        }
        self.write_failures += u64::try_from(failures.len()).unwrap_or(u64::MAX);
        self.unplaced = unplaced;
        failures.is_empty()
    }

    /// Says of each VIP once that hosts have no reason to ask for it here.
    fn warn_off_link(&mut self, answering: &BTreeSet<Vip>) {
        let off_link = answering.iter().filter(|vip| !self.uplink.is_on_link(**vip));
        let new: Vec<Vip> = off_link.filter(|vip| self.off_link.insert(**vip)).copied().collect();
        let Some(vip) = new.first() else { return };
        tracing::warn!(
            interface = self.uplink.name, %vip, more = new.len() - 1,
            networks = ?self.uplink.networks,
            "the VIP is in none of the interface's networks: only hosts with a route of \
             their own ask for it here"
        );
    }

    /// Sends the gratuitous ARP and the probes that are due. Returns the VIPs whose first
    /// announcement after a takeover has been sent.
    pub(super) fn announce(&mut self) -> Vec<Vip> {
        let now = BootTime::now();
        let mut begun = Vec::new();
        if self.announcing.next_deadline().is_none_or(|deadline| now < deadline) {
            return begun;
        }
        for vip in self.announcing.probes_due(now) {
            match self.sender.probe(vip, self.interface.mac()) {
                Ok(()) => {
                    self.probes_sent += 1;
                    self.is_failing = false;
                    tracing::debug!(interface = self.uplink.name, %vip, "probed");
                }
                Err(error) => self.note_failure(vip, &error),
            }
        }
        let answering = self.interface.answering(now);
        for announcement in self.announcing.due(&answering, now) {
            match self.sender.send(announcement, self.interface.mac()) {
                Ok(()) => {
                    self.gratuitous_sent += u64::from(announcement.kind.frames());
                    if announcement.kind == Kind::Takeover(1) {
                        begun.push(announcement.vip);
                    }
                    self.is_failing = false;
                    tracing::debug!(interface = self.uplink.name, vip = %announcement.vip,
                        kind = ?announcement.kind, "announced");
                }
                Err(error) => self.note_failure(announcement.vip, &error),
            }
        }
        begun
    }

    /// The round is lost; the next one comes by itself.
    fn note_failure(&mut self, vip: Vip, error: &io::Error) {
        self.gratuitous_failed += 1;
        if !self.is_failing {
            tracing::warn!(interface = self.uplink.name, %vip, %error,
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
                Poll::Ready(Heard { claim, interface: Arc::from(&*self.uplink.name) })
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn status(&self) -> InterfaceStatus {
        let (held, silent) = self.interface.occupancy();
        InterfaceStatus {
            name: self.uplink.name.clone(),
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

    pub(super) fn leave_silent(self, until: BootTime) -> Result<(), DatapathError> {
        self.interface.leave_silent(until)
    }

    pub(super) fn detach(self) -> Result<(), DatapathError> {
        self.interface.detach()
    }
}

//! The ownership state machine: the protocol's rules over all VIPs. Pure.
//!
//! It starts no timer and opens no socket. A driver feeds it [`Input`]s with
//! the time, sends the [`Request`]s that [`Machine::poll`] returns, hands back
//! their answers, and calls again at [`Machine::next_deadline`]. What happens to
//! one VIP is in `rules`.

mod describe;
mod handover;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub use self::describe::{State, Takeover, Wait, WithoutApi};
use super::{
    heartbeat::{Heartbeat, OnApiLoss},
    lease::{Answer, Claim, NodeLease, Reply, Request, Seen, VipLease},
    peers::Peers,
    placement,
    timing::Timing,
    vip::Slot,
};
pub use crate::intent::desired::{Candidacy, Intent, VipIntent};
use crate::{
    intent::desired::InterfaceScope,
    types::{BootTime, NodeName, Vip},
    wire_state::{Adopted, WireEntry, WireState},
};

/// Everything that can happen to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// The whole intent, replacing the former.
    Intent(Arc<Intent>),
    /// A watch event or list entry about a node lease.
    NodeLease(NodeName, Seen<NodeLease>),
    /// A node lease has left the selection of those that are over.
    NodeOpened(NodeName, NodeLease),
    /// A watch event or list entry about a VIP lease.
    VipLease(Vip, Seen<VipLease>),
    /// Every node lease that exists has been fed in.
    NodesListed,
    /// Every VIP lease that exists has been fed in, and what is gone as absent.
    VipsListed,
    /// What became of a request.
    Answered(Request, Answer),
    /// Another station claims this VIP on the wire.
    Rival {
        /// Which.
        vip: Vip,
        /// Whether that is the successor's gratuitous ARP: the station is known as another
        /// announcer, and announces. One that answers somebody's question only may be an
        /// old holder.
        takes_over: bool,
    },
    /// Hand everything over, then close the session.
    Drain,
}

/// Settings of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// This node.
    pub me: NodeName,
    /// The protocol's clocks.
    pub timing: Timing,
    /// What to do when the API server does not answer.
    pub on_api_loss: OnApiLoss,
    /// How long an offered VIP waits for a successor before it is dropped.
    pub handover_timeout: Duration,
    /// Least time between two VIPs that are given to nodes where they belong
    /// rather; `None`: VIPs stay where they are.
    pub rebalance: Option<Duration>,
    /// Whether VIPs that nobody held before are to be told apart (see
    /// [`Machine::take_first_claims`]).
    pub probing: bool,
}

impl Settings {
    /// How long to wait after so many setbacks with this VIP: half a renew interval,
    /// doubled each time up to eight times that, less up to a half of it, so that
    /// nodes and VIPs that failed together do not come back together.
    fn pause(&self, vip: Vip, setbacks: u32) -> Duration {
        let longest = self.timing.renew_interval() / 2 * 2_u32.pow(setbacks.min(3));
        longest.mul_f64(1.0 - placement::jitter(vip, &self.me, setbacks) / 2.0)
    }
}

/// The ownership state machine of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    settings: Settings,
    heartbeat: Heartbeat,
    peers: Peers,
    slots: BTreeMap<Vip, Slot>,
    intent: Option<Arc<Intent>>,
    nodes_listed: bool,
    vips_listed: bool,
    /// What happened to leases before that was not seen event by event, and who may
    /// hold a VIP without our knowing has not had the time to show it.
    blind_until: Option<BootTime>,
    adopted: BTreeMap<Vip, BootTime>,
    draining: bool,
    /// VIPs held here that belong rather to another node.
    misplaced: BTreeMap<Vip, NodeName>,
    /// Not before then is the next of them offered.
    next_move: BootTime,
    /// VIPs that came to this node from nobody since they were last asked for.
    first_claims: BTreeSet<Vip>,
    /// Slots to look at in the next poll; a change of sessions or intent marks all.
    dirty: BTreeSet<Vip>,
    timers: BTreeSet<(BootTime, Vip)>,
}

impl Machine {
    /// Starts knowing nothing, but for what a killed predecessor left in the maps.
    pub fn new(settings: Settings, adopted: Option<Adopted>) -> Self {
        let (session, answering) = match adopted {
            Some(Adopted { session: Some(session), answering }) => (Some(session), answering),
            Some(Adopted { session: None, .. }) | None => (None, BTreeMap::new()),
        };
        let until = answering.values().copied().max().unwrap_or(BootTime::ZERO);
        let heartbeat = Heartbeat::new(
            settings.me.clone(),
            settings.timing,
            settings.on_api_loss,
            session.map(|s| (s, until)),
        );
        let peers = Peers::new(settings.me.clone(), settings.timing);
        Self {
            settings,
            heartbeat,
            peers,
            slots: BTreeMap::new(),
            intent: None,
            nodes_listed: false,
            vips_listed: false,
            blind_until: None,
            adopted: answering,
            draining: false,
            misplaced: BTreeMap::new(),
            next_move: BootTime::ZERO,
            first_claims: BTreeSet::new(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
        }
    }

    /// Takes in one input.
    pub fn input(&mut self, now: BootTime, input: Input) {
        match input {
            Input::Intent(intent) => self.intend(now, intent),
            Input::NodeLease(node, seen) => self.node_seen(now, &node, seen),
            Input::VipLease(vip, seen) => self.vip_seen(now, vip, seen),
            Input::NodesListed => {
                self.nodes_listed = true;
                self.mark_all();
            }
            Input::VipsListed => {
                self.vips_listed = true;
                self.blind_until = Some(now);
                self.mark_all();
            }
            Input::Answered(request, answer) => self.answered(now, request, answer),
            Input::NodeOpened(node, lease) if node == self.settings.me => {
                self.node_seen(now, &node, Seen::Present(lease));
            }
            Input::NodeOpened(node, lease) => {
                if self.peers.opened(now, &node, lease) {
                    self.peers_changed();
                }
            }
            Input::Rival { vip, takes_over } => {
                // A valid holder knows better than the rival; who answers on trust does not.
                let on_trust = !self.heartbeat.valid(now);
                if on_trust {
                    self.adopted.remove(&vip);
                }
                if let Some(slot) = self.slots.get_mut(&vip) {
                    slot.rival(takes_over, on_trust);
                    self.dirty.insert(vip);
                }
            }
            Input::Drain => {
                self.draining = true;
                self.mark_all();
            }
        }
    }

    /// Decides; returns what to send. Call after inputs and at `next_deadline`.
    pub fn poll(&mut self, now: BootTime) -> Vec<Request> {
        let mut out = Vec::new();
        let connected = self.heartbeat.connected_since();
        self.blind_until = self.blind_until.filter(|since| now < self.duration_after(now, *since));
        while let Some((at, vip)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            self.dirty.insert(vip);
        }
        for vip in std::mem::take(&mut self.dirty) {
            out.extend(self.look(now, vip));
        }
        out.extend(self.rebalance(now));
        out.extend(self.peers.poll(now, self.may_fence(now), connected));
        if let Some(wanted) = self.wants_session(now) {
            self.heartbeat.want(now, wanted);
        }
        out.extend(self.heartbeat.poll(now));
        out
    }

    /// When `poll` must be called next, whatever else happens.
    pub fn next_deadline(&self, now: BootTime) -> BootTime {
        // Who is not valid fences nobody, and gives nothing away unasked; its next
        // renewal brings the next look.
        let fence = |t: &BootTime| self.may_fence(now) || *t > now;
        let give = |t: &BootTime| self.heartbeat.valid(now) || *t > now;
        [
            Some(self.heartbeat.next_deadline(now)),
            self.peers.next_deadline(self.heartbeat.connected_since()).filter(fence),
            self.next_move().filter(give),
            self.timers.first().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now)
        .max(now)
    }

    /// What to do on the wire; `None` until there is an intent to act on.
    pub fn wire(&self, now: BootTime) -> Option<WireState> {
        let intent = self.intent.as_ref()?;
        let session = self.heartbeat.session();
        let until = self.heartbeat.answer_until(now);
        let Settings { me, timing, .. } = &self.settings;
        let unlinked = intent.candidacy == Candidacy::Unlinked;
        let entry = |vip: &Vip| {
            if unlinked {
                return WireEntry::Silent;
            }
            let adopted = self.adopted.get(vip).copied();
            match (session, until) {
                (Some(session), Some(until)) => {
                    let slot = self.slots.get(vip).filter(|s| s.lease.is_some());
                    match (slot, adopted) {
                        // Where it is known when to stop, the data plane knows, too.
                        (Some(slot), _) => match slot.answers_until(me, session, *timing) {
                            None => WireEntry::Answer { until },
                            Some(ends) if now < ends => {
                                WireEntry::Answer { until: ends.min(until) }
                            }
                            Some(_) => WireEntry::Silent,
                        },
                        (None, Some(until)) if !self.vips_listed => WireEntry::Answer { until },
                        _ => WireEntry::Silent,
                    }
                }
                // Not compared yet with what the predecessor left.
                _ if self.heartbeat.inherited().is_some() => {
                    adopted.map_or(WireEntry::Silent, |until| WireEntry::Answer { until })
                }
                _ => WireEntry::Silent,
            }
        };
        let vips = intent.vips.keys().map(|vip| (*vip, entry(vip))).collect();
        let restricted =
            |(_, wanted): &(&Vip, &VipIntent)| wanted.interfaces != InterfaceScope::All;
        let scopes = intent.vips.iter().filter(restricted);
        let scopes = scopes.map(|(vip, wanted)| (*vip, wanted.interfaces.clone())).collect();
        let regained = self.slots.iter().filter_map(|(vip, slot)| Some((*vip, slot.regained(me)?)));
        let regained = regained.filter(|(vip, _)| intent.vips.contains_key(vip)).collect();
        // Killed before that comparison, we leave to the next what was left to us.
        let session = session.or(self.heartbeat.inherited()).cloned();
        Some(WireState { vips, scopes, regained, session, ..WireState::default() })
    }

    /// Whether a drain has come to its end.
    pub fn finished(&self) -> bool {
        self.draining && self.heartbeat.closed()
    }

    /// The nodes whose renewals are to be watched by name. Who is in no session
    /// fences nobody, and watches nobody.
    pub fn monitored(&self) -> BTreeSet<NodeName> {
        if self.heartbeat.session().is_none() {
            return BTreeSet::new();
        }
        self.peers.monitored()
    }

    /// The heartbeat, for status and logs.
    pub const fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Whether this node may end the session of one that it does not hear: not while
    /// a renewal of its own is overdue, and the API server perhaps silent to all.
    fn may_fence(&self, now: BootTime) -> bool {
        self.heartbeat.valid(now) && !self.heartbeat.overdue(now)
    }

    /// The VIPs that this node holds by their leases, and has not given up.
    pub fn held(&self) -> impl Iterator<Item = Vip> + '_ {
        self.slots
            .iter()
            .filter(|(_, slot)| !slot.given_away() && self.leased(slot))
            .map(|(vip, _)| *vip)
    }

    /// Whether the lease, as far as seen, names this node in its session in force.
    fn leased(&self, slot: &Slot) -> bool {
        match (self.heartbeat.session(), slot.claim()) {
            (Some(session), Some(Claim::Held { node, session: s })) => {
                *node == self.settings.me && s == session
            }
            _ => false,
        }
    }

    fn mark_all(&mut self) {
        self.dirty.extend(self.slots.keys());
        if let Some(intent) = &self.intent {
            self.dirty.extend(intent.vips.keys());
        }
    }

    fn node_seen(&mut self, now: BootTime, node: &NodeName, seen: Seen<NodeLease>) {
        let me = *node == self.settings.me;
        let changed = if me {
            self.heartbeat.observe(now, seen)
        } else {
            self.peers.observe(now, node, seen)
        };
        match (changed, me) {
            (true, true) => {
                self.session_changed();
                self.mark_all();
            }
            (true, false) => self.peers_changed(),
            (false, _) => {}
        }
    }

    /// A session has begun or ended: offers that were in vain need not be now.
    fn peers_changed(&mut self) {
        self.slots.values_mut().for_each(Slot::hope);
        self.mark_all();
    }

    /// Takes in a new intent, and marks what it says anew.
    fn intend(&mut self, now: BootTime, new: Arc<Intent>) {
        let Some(old) = self.intent.replace(new.clone()) else { return self.mark_all() };
        if old.candidacy == Candidacy::Unlinked && new.candidacy != Candidacy::Unlinked {
            self.heartbeat.distrust(now);
            // Who took what this node offered may have announced it when nothing was
            // heard here; an offer still under way may be taken before we know of it.
            for slot in self.slots.values_mut() {
                slot.dropping |= slot.offering.take().is_some();
                slot.offer_ends = None;
                slot.overlap_ends = None;
            }
        }
        let changed = |vip: &&Vip| old.vips.get(*vip) != new.vips.get(*vip);
        for vip in old.vips.keys().chain(new.vips.keys()).filter(changed) {
            self.slots.entry(*vip).and_modify(Slot::hope);
            self.dirty.insert(*vip);
        }
    }

    /// Whether this node is to be in a session; `None` while that is not known.
    fn wants_session(&self, now: BootTime) -> Option<bool> {
        let known = self.intent.as_ref().filter(|_| self.vips_listed);
        let leaving = match known {
            Some(intent) => self.draining || intent.candidacy != Candidacy::Candidate,
            // What the predecessor held may still be answered, and nothing is known of it.
            None if self.adopted.values().any(|until| now < *until) => return None,
            None if self.draining => true,
            None => return None,
        };
        Some(!leaving || !self.handed_over(now))
    }

    /// What was promised under one session binds no other.
    fn session_changed(&mut self) {
        for slot in self.slots.values_mut() {
            slot.offering = None;
            slot.offer_ends = None;
            slot.overlap_ends = None;
            slot.yielded = false;
            slot.dropping = false;
        }
    }

    fn vip_seen(&mut self, now: BootTime, vip: Vip, seen: Seen<VipLease>) {
        let slot = self.slots.entry(vip).or_default();
        if slot.observe(now, &self.settings.me, seen) {
            self.dirty.insert(vip);
            match slot.claim().cloned() {
                Some(Claim::Held { node, session }) => {
                    let mine = node == self.settings.me;
                    let from_nobody = std::mem::take(&mut slot.from_nobody);
                    // A predecessor that was killed while it probed, or had left the address
                    // to a stranger, held the lease and answered for nothing.
                    let in_force = self.heartbeat.session().or(self.heartbeat.inherited());
                    let unanswered = self.settings.probing
                        && !self.vips_listed
                        && !self.adopted.contains_key(&vip)
                        && in_force == Some(&session);
                    if mine && (from_nobody || unanswered) {
                        self.first_claims.insert(vip);
                    }
                }
                Some(Claim::Released { offered_by: Some(node), offered_to: None }) => {
                    self.note_leaving(now, &node);
                }
                Some(Claim::Released { .. } | Claim::Unclear) | None => {}
            }
        }
    }

    /// Whether this node holds a VIP and is not giving it away: then nobody else is to claim
    /// it. In a handover it may be a successor whose MAC this node has not heard of yet.
    pub fn holds(&self, vip: Vip) -> bool {
        self.slots.get(&vip).is_some_and(|slot| {
            let is_mine = |(node, ..): &(NodeName, _, _)| *node == self.settings.me;
            let gives = slot.dropping
                || slot.offering.is_some()
                || slot.offer_ends.is_some()
                || slot.overlap_ends.is_some();
            slot.holder.as_ref().is_some_and(is_mine) && !gives
        })
    }

    /// VIPs that this node has taken since the last call and that no node is known to
    /// have held before: a stranger may have the address (RFC 5227 section 2.1). Whoever
    /// takes over from a known holder need not ask, and has no time to.
    pub fn take_first_claims(&mut self) -> BTreeSet<Vip> {
        std::mem::take(&mut self.first_claims)
    }

    fn answered(&mut self, now: BootTime, request: Request, answer: Answer) {
        match (request, answer) {
            (Request::ReadNode(node) | Request::WriteNode { node, .. }, Answer::Node(reply)) => {
                let me = node == self.settings.me;
                if !me {
                    if self.peers.answered(now, &node, reply) {
                        self.peers_changed();
                    }
                    return;
                }
                let cut_off = |h: &Heartbeat| !h.valid(now) || h.connected_since().is_none();
                let was_cut_off = cut_off(&self.heartbeat);
                let changed = self.heartbeat.answered(now, reply);
                if changed {
                    self.session_changed();
                }
                if self.heartbeat.valid(now) {
                    // Nobody fenced us, so no rival can hold what we yielded.
                    self.slots.values_mut().for_each(|slot| slot.yielded = false);
                }
                // What was not to be decided while no answer came can be now.
                if changed || (was_cut_off && !cut_off(&self.heartbeat)) {
                    self.mark_all();
                }
            }
            (Request::ReadVip(vip), Answer::Vip(reply)) => {
                self.vip_answered(now, vip, reply, None);
            }
            (Request::WriteVip { vip, claim, .. }, Answer::Vip(reply)) => {
                self.vip_answered(now, vip, reply, Some(&claim));
            }
            // The driver pairs answers with requests by kind.
            _ => {}
        }
    }

    fn vip_answered(
        &mut self,
        now: BootTime,
        vip: Vip,
        reply: Reply<VipLease>,
        wrote: Option<&Claim>,
    ) {
        let slot = self.slots.entry(vip).or_default();
        slot.pending = false;
        self.dirty.insert(vip);
        match reply {
            Reply::Ok(lease) => {
                slot.must_read = false;
                if wrote.is_some() {
                    slot.setbacks = 0;
                }
                self.vip_seen(now, vip, Seen::Present(lease));
            }
            Reply::NotFound => {
                slot.must_read = false;
                self.vip_seen(now, vip, Seen::Absent(None));
            }
            // A write that may have been applied is looked at before the next. One
            // conflict is how it goes when two want the same.
            Reply::Conflict | Reply::Failed => {
                slot.must_read = true;
                slot.release_in_doubt |=
                    reply == Reply::Failed && matches!(wrote, Some(Claim::Released { .. }));
                if reply == Reply::Failed || slot.setbacks > 0 {
                    // Whose lease was edited by hand has to write it anew before
                    // others may take the VIP.
                    let setbacks = if slot.missing_since.is_some() { 0 } else { slot.setbacks };
                    slot.retry_at = now + self.settings.pause(vip, setbacks);
                }
                slot.setbacks = slot.setbacks.saturating_add(1);
            }
        }
    }

    /// Nothing is held, offered or under way any more.
    fn handed_over(&self, now: BootTime) -> bool {
        let Some(session) = self.heartbeat.session() else {
            return self.heartbeat.inherited().is_none();
        };
        let Settings { me, timing, .. } = &self.settings;
        let done = |slot: &Slot| {
            let answering = slot.answers_until(me, session, *timing).is_none_or(|ends| now < ends);
            !slot.pending && !answering && !self.leased(slot)
        };
        self.slots.values().all(done)
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;

//! What a person reads of the protocol.

use std::{fmt, time::Duration};

use tracing::{debug, info, warn};

use super::{
    super::{
        heartbeat::OnApiLoss,
        lease::{Answer, Claim, Reply, Request},
        machine::{Candidacy, Machine, WithoutApi},
        report::VipState,
        store,
    },
    validity::{Change, Validity},
    witness::verb,
};
use crate::{
    client,
    phrase::list,
    types::{BootTime, NodeName, Session, Vip},
    wire_state::{WireEntry, WireState},
};

/// So many VIPs are named in one line.
const VIPS_NAMED: usize = 10;

/// Sessions, takeovers, fences, and the API server's
/// silence once, not at every attempt.
#[derive(Debug, Default)]
pub(super) struct Log {
    session: Option<Session>,
    /// Since when requests fail, and how the last one did.
    failing: Option<(BootTime, String)>,
    candidacy: Candidacy,
    validity: Validity,
}

impl Log {
    /// Returns whether there is a session that was not there before.
    pub(super) fn session(&mut self, session: Option<&Session>, ending: bool) -> bool {
        if self.session.as_ref() == session {
            return false;
        }
        match session {
            Some(session) => info!(%session, "session open"),
            None if ending => info!("session closed"),
            None => warn!(
                "session over: another node ended it, having heard nothing of this one for a lease \
                 duration, or its lease was deleted; answering for nothing until a new one is open"
            ),
        }
        self.session = session.cloned();
        session.is_some()
    }

    /// Since when requests to the API server fail, and how the last one did.
    pub(super) const fn failing(&self) -> Option<&(BootTime, String)> {
        self.failing.as_ref()
    }

    pub(super) fn candidacy(&mut self, candidacy: Candidacy) {
        if candidacy == std::mem::replace(&mut self.candidacy, candidacy) {
            return;
        }
        match candidacy {
            Candidacy::Candidate => info!("this node is a candidate for VIPs"),
            Candidacy::Unselected => info!(
                "this node is no candidate for any VIP (not ready, excluded, or selected by no \
                 rule for interfaces that it has): it gives up its VIPs and its session"
            ),
            Candidacy::Unlinked => warn!(
                "none of this node's interfaces works: it answers nothing, and gives up its \
                 VIPs and its session"
            ),
        }
    }

    /// A request failed; `machine` has taken that in.
    pub(super) fn failed(
        &mut self,
        now: BootTime,
        machine: &Machine,
        request: &Request,
        error: Option<&kube::Error>,
    ) {
        let error = error.map_or_else(|| "no answer in time".to_owned(), client::reason);
        let since = self.failing.take().map(|(since, _)| since);
        let what = Told { request, me: &machine.settings().me };
        if since.is_none() {
            let again = rounded(machine.next_attempt(now, request).since(now));
            let means = meaning(machine.without_api(now));
            warn!(
                "a request to the API server failed: {what}: {error}; {means}; next attempt in \
                 {again:?}"
            );
        } else {
            debug!("still no answer from the API server: {what}: {error}");
        }
        self.failing = Some((since.unwrap_or(now), error));
    }

    /// A request did not fail.
    pub(super) fn request(&mut self, now: BootTime, request: &Request, answer: &Answer) {
        if let Some((since, _)) = self.failing.take() {
            let gap = now.since(since);
            info!(after = ?rounded(gap), "requests to the API server succeed again");
        }
        match (request, answer) {
            (Request::WriteNode { node, open: false, .. }, Answer::Node(Reply::Ok(_))) => {
                info!(%node, "session ended by fence or hand-over");
            }
            (Request::WriteVip { vip, claim, .. }, Answer::Vip(Reply::Ok(_))) => match claim {
                Claim::Held { .. } => info!(%vip, "taken"),
                Claim::Released { offered_to: Some(to), .. } => {
                    info!(%vip, %to, "offered to the node where it belongs");
                }
                Claim::Released { offered_by: Some(_), .. } => {
                    info!(%vip, "offered to other nodes");
                }
                Claim::Released { offered_by: None, .. } | Claim::Unclear => {
                    info!(%vip, "released");
                }
            },
            (_, answer) => debug!(?request, ?answer, "answer"),
        }
    }

    /// VIPs whose time runs out: nobody says so but the clock, and what is on the wire does
    /// not change by it.
    pub(super) fn validity(&mut self, now: BootTime, machine: &Machine, state: &WireState) {
        // Who gives everything up ends its session itself, which is told.
        if machine.is_draining() || machine.candidacy() != Some(Candidacy::Candidate) {
            self.validity = Validity::default();
            return;
        }
        match self.validity.follow(now, state) {
            None => {}
            Some(Change::Over(vips)) => {
                let since = self.failing.as_ref().map(|(since, error)| {
                    format!(" (requests have failed for {:?}: {error})", rounded(now.since(*since)))
                });
                let so = match machine.settings().on_api_loss {
                    OnApiLoss::Withdraw => ", as --on-api-loss withdraw wants it",
                    OnApiLoss::Hold => "",
                };
                warn!(
                    "no longer answering for {}{so}: the API server has not confirmed this node's \
                     session in time{}; a renewal that succeeds ends it, unless another node has \
                     taken them over by then",
                    list(vips, VIPS_NAMED),
                    since.unwrap_or_default()
                );
            }
            Some(Change::Again(vips)) => {
                info!("answering for {} again", list(vips, VIPS_NAMED));
            }
        }
    }

    /// What changes on the wire; `why` says of a VIP why it is silent.
    pub(super) fn wire(
        &self,
        old: Option<&WireState>,
        new: Option<&WireState>,
        why: impl Fn(Vip) -> String,
    ) {
        let Some(new) = new else { return };
        let answers = |state: Option<&WireState>, vip| {
            matches!(state.and_then(|s| s.vips.get(vip)), Some(WireEntry::Answer { .. }))
        };
        let probes = |state: Option<&WireState>, vip| {
            matches!(state.and_then(|s| s.vips.get(vip)), Some(WireEntry::Probe { .. }))
        };
        for vip in new.vips.keys() {
            if !probes(old, vip) && probes(Some(new), vip) {
                info!(%vip, "probing before it is answered");
            }
            match (answers(old, vip), answers(Some(new), vip)) {
                (false, true) => info!(%vip, "answering"),
                (true, false) => info!(%vip, why = why(*vip), "silent"),
                _ => {}
            }
        }
        for vip in old.into_iter().flat_map(|o| o.vips.keys()) {
            if !new.vips.contains_key(vip) {
                info!(%vip, "no longer announced by any Service");
            }
        }
    }
}

/// A request as a person would say it.
struct Told<'a> {
    request: &'a Request,
    me: &'a NodeName,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, me } = self;
        let name = match request {
            Request::ReadNode(node) | Request::WriteNode { node, .. } => {
                store::node_lease_name(node)
            }
            Request::ReadVip(vip) | Request::WriteVip { vip, .. } => store::vip_lease_name(*vip),
        };
        write!(f, "{} leases/{name} ", verb(request))?;
        match request {
            Request::ReadNode(node) if node == *me => f.write_str("(this node's session)"),
            Request::ReadNode(node) => write!(f, "({node}'s session)"),
            Request::WriteNode { node, open, .. } => match (node == *me, open) {
                (true, true) => f.write_str("(this node's session, to renew it)"),
                (true, false) => {
                    f.write_str("(this node's session, before it is opened or at its end)")
                }
                (false, _) => write!(f, "({node}'s session, to end it: it is silent)"),
            },
            Request::ReadVip(vip) => write!(f, "({vip})"),
            Request::WriteVip { vip, claim: Claim::Held { .. }, .. } => {
                write!(f, "({vip}, to take it)")
            }
            Request::WriteVip { vip, claim: Claim::Released { .. } | Claim::Unclear, .. } => {
                write!(f, "({vip}, to give it away)")
            }
        }
    }
}

fn meaning(without_api: WithoutApi) -> String {
    match without_api {
        WithoutApi::Nothing => "this node holds no VIPs until it has a session".to_owned(),
        WithoutApi::AnsweredOn => {
            "VIPs held here stay up, unless another node takes them over".to_owned()
        }
        WithoutApi::AnsweredFor(left) => {
            format!("VIPs held here stay up for {:?} at most without a renewal", rounded(left))
        }
    }
}

/// Why a VIP that was answered is not any more.
pub(super) fn why_silent(state: &VipState, holder: Option<&NodeName>) -> String {
    match (state.what_next(), holder) {
        ((Some(next), _), _) => format!("{}: {next}", state.name()),
        ((None, _), Some(holder)) => format!("{holder} holds it"),
        ((None, _), None) => state.name().to_owned(),
    }
}

fn rounded(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

//! What a person reads of the protocol.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::{
    lease::{Answer, Claim, Reply, Request},
    machine::Candidacy,
};
use crate::{
    causes::with_sources,
    types::{BootTime, Session},
    wire_state::{WireEntry, WireState},
};

/// Sessions, takeovers, fences, and the API server's
/// silence once, not at every attempt.
#[derive(Debug, Default)]
pub(super) struct Log {
    session: Option<Session>,
    /// Since when requests fail, and how the last one did.
    failing: Option<(BootTime, String)>,
    candidacy: Candidacy,
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
            None => warn!("session over: answering for nothing until a new one is open"),
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

    pub(super) fn request(
        &mut self,
        request: &Request,
        answer: &Answer,
        error: Option<&kube::Error>,
    ) {
        let now = BootTime::now();
        let failed = matches!(answer, Answer::Node(Reply::Failed) | Answer::Vip(Reply::Failed));
        if failed {
            // Of a TLS handshake that failed kube itself says no more than that nobody could
            // be connected to.
            let error =
                error.map_or_else(|| "no answer in time".to_owned(), |error| with_sources(error));
            if self.failing.is_none() {
                warn!(error, ?request, "a request to the API server failed; trying again");
            } else {
                debug!(error, ?request, "still no answer from the API server");
            }
            let since = self.failing.take().map_or(now, |(since, _)| since);
            self.failing = Some((since, error));
            return;
        }
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

    pub(super) fn wire(&self, old: Option<&WireState>, new: Option<&WireState>) {
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
                (true, false) => info!(%vip, "silent"),
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

fn rounded(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

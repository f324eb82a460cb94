//! What a daemon without a cluster runs: the VIPs of the command line, held always, as
//! long as this loop turns.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::{
    config,
    conflict::{self, Claims, Stranger, What},
    intent::{eligibility::LinkState, index::Links},
    observe::{Ask, health::Loop},
    ownership::{
        driver::Witness,
        machine::State,
        report::{Report, VipReport, VipState},
        timing::Timing,
    },
    phrase::list,
    types::{BootTime, MacAddr, NodeName, Vip},
    wire_state::{Adopted, ClaimKind, Heard, WireEntry, WireState},
};

/// What is heard is taken in up to so much at a time.
const BATCH: usize = 256;

/// What is so at first, and need not be said.
const NOTHING: &str = "answering for no VIP now";

/// So many VIPs are named in a line of the log, and others counted.
const VIPS_NAMED: usize = 10;

/// What the task needs.
pub(super) struct Fixed {
    pub(super) vips: BTreeSet<Vip>,
    pub(super) timing: Timing,
    pub(super) conflict: conflict::Settings,
    /// Those that this daemon announces with.
    pub(super) macs: watch::Receiver<BTreeSet<MacAddr>>,
    pub(super) adopted: Option<Adopted>,
    /// Which interfaces can carry frames.
    pub(super) links: watch::Receiver<Option<Links>>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) witness: Witness,
}

impl Fixed {
    /// Says "answer until now + validity" three times in that span, but for what is being
    /// probed for, or left to somebody else.
    pub(super) async fn run(
        self,
        wire: watch::Sender<Option<Arc<WireState>>>,
        mut claims: mpsc::Receiver<Heard>,
        mut draining: watch::Receiver<bool>,
    ) {
        let Self { vips, timing, conflict, macs, adopted, mut links, mut asks, witness } = self;
        let mut told = NOTHING.to_owned();
        witness.health.set_synced(true);
        let mut ours = Claims::new(conflict, station());
        let now = BootTime::now();
        let since = now;
        let answered = adopted.map(|adopted| adopted.answering).unwrap_or_default();
        for vip in &vips {
            // A predecessor's that are still answered have been claimed long ago.
            if answered.get(vip).is_none_or(|until| *until <= now) {
                ours.claim_first(now, *vip);
            }
        }
        if ours.next_deadline().is_some() {
            info!("probing before the VIPs are answered");
        }
        let (mut until, mut renew_at) = (now, now);
        loop {
            let now = BootTime::now();
            if renew_at <= now {
                (until, renew_at) = (now + timing.validity(), now + timing.validity() / 3);
            }
            let entries = vips.iter().map(|vip| (*vip, WireEntry::Answer { until })).collect();
            let mut state = WireState { vips: entries, ..WireState::default() };
            ours.follow(now, &mut state);
            for notice in ours.take_notices() {
                notice.log();
                if notice.what == What::Began {
                    witness.metrics.conflict_began();
                }
            }
            witness.health.turns(Loop::Ownership);
            let said = answered_on(&state, links.borrow_and_update().as_ref());
            if let Some(said) = said.filter(|said| *said != told) {
                info!("{said}");
                told = said;
            }
            let state = Some(Arc::new(state));
            // Each is a write for each VIP: not for every frame that is heard.
            wire.send_if_modified(|current| {
                let modified = *current != state;
                *current = state;
                modified
            });
            let next = ours.next_deadline().into_iter().chain([renew_at]).min();
            tokio::select! {
                () = tokio::time::sleep(next.unwrap_or(now).since(BootTime::now())) => {}
                Some(heard) = claims.recv() => {
                    let more = std::iter::from_fn(|| claims.try_recv().ok()).take(BATCH);
                    for Heard { claim, interface } in [heard].into_iter().chain(more) {
                        // Two of our interfaces on one segment hear each other.
                        if !macs.borrow().contains(&claim.mac) {
                            let probes = claim.kind == ClaimKind::Probe;
                            let stranger = Stranger { mac: claim.mac, interface, probes };
                            ours.heard(BootTime::now(), claim.vip, stranger);
                        }
                    }
                }
                Some(ask) = asks.recv() => {
                    // Who asked may have lost patience.
                    let _ = ask.send(report(BootTime::now(), since, &vips, &ours, until));
                }
                Ok(()) = links.changed() => {}
                _ = draining.changed() => return,
            }
        }
    }
}

/// Which VIPs are answered where; `None` until it is known what there is to answer on.
fn answered_on(state: &WireState, links: Option<&Links>) -> Option<String> {
    let fit = links?.iter().filter(|(_, state)| **state == LinkState::Fit);
    let interfaces: Vec<&str> = fit.map(|(name, _)| name.as_str()).collect();
    let is_answered = |(_, entry): &(&Vip, &WireEntry)| matches!(entry, WireEntry::Answer { .. });
    let vips = list(state.vips.iter().filter(is_answered).map(|(vip, _)| vip), VIPS_NAMED);
    Some(match (&*vips, &interfaces[..]) {
        ("", _) => NOTHING.to_owned(),
        (vips, []) => {
            format!("answering for {vips} on no interface: none can carry frames")
        }
        (vips, _) => format!("answering for {vips} on {}", interfaces.join(", ")),
    })
}

/// What is known of each VIP, as of now.
fn report(
    now: BootTime,
    since: BootTime,
    vips: &BTreeSet<Vip>,
    claims: &Claims,
    until: BootTime,
) -> Report {
    let entry = Some(WireEntry::Answer { until });
    let vip = |vip: &Vip| {
        let report = VipReport {
            state: VipState::new(now, State::Held, claims.hindrance(*vip), entry),
            holder: None,
            since: Some(since),
            services: Arc::default(),
            conflict: claims.last_claim(*vip),
        };
        (*vip, report)
    };
    let vips = vips.iter().map(vip).collect();
    Report { at: now, cluster: None, vips, conflicts: claims.conflicts() }
}

/// What tells this machine's jitter from others'.
fn station() -> NodeName {
    config::host_name().ok().unwrap_or_else(NodeName::nameless)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_which_vips_are_answered_where() {
        let vip = |last: u8| -> Vip { format!("192.0.2.{last}").parse().expect("a VIP") };
        let answer = WireEntry::Answer { until: BootTime::ZERO };
        let state = |answered: u8| WireState {
            vips: (0..answered)
                .map(|n| (vip(n + 1), answer))
                .chain([(vip(99), WireEntry::Silent)])
                .collect(),
            ..WireState::default()
        };
        let links =
            |fit| Links::from([("ens18".to_owned(), LinkState::Fit), ("ens19".to_owned(), fit)]);
        let said = |answered, links: &Links| answered_on(&state(answered), Some(links));
        let (both, one) = (links(LinkState::Fit), links(LinkState::NoCarrier));
        let none = Links::from([("ens19".to_owned(), LinkState::Down)]);
        for (said, expected) in [
            (said(2, &both), "answering for 192.0.2.1, 192.0.2.2 on ens18, ens19"),
            (said(1, &one), "answering for 192.0.2.1 on ens18"),
            (said(0, &both), NOTHING),
            (said(1, &none), "answering for 192.0.2.1 on no interface: none can carry frames"),
        ] {
            assert_eq!(said.as_deref(), Some(expected));
        }
        assert!(
            said(12, &one).is_some_and(|said| said.ends_with("192.0.2.10 and 2 more on ens18"))
        );
        assert_eq!(answered_on(&state(1), None), None, "nothing is known yet");
    }
}

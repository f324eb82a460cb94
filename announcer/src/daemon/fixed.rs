//! What a daemon without a cluster runs: the VIPs of the command line, held always, as
//! long as this loop turns.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::{
    config,
    conflict::{self, Claims, Stranger, What},
    observe::{Ask, health::Loop},
    ownership::{
        driver::Witness,
        machine::State,
        report::{Report, VipReport, VipState},
        timing::Timing,
    },
    types::{BootTime, MacAddr, NodeName, Vip},
    wire_state::{Adopted, ClaimKind, Heard, WireEntry, WireState},
};

/// What is heard is taken in up to so much at a time.
const BATCH: usize = 256;

/// What the task needs.
pub(super) struct Fixed {
    pub(super) vips: BTreeSet<Vip>,
    pub(super) timing: Timing,
    pub(super) conflict: conflict::Settings,
    /// Those that this daemon announces with.
    pub(super) macs: watch::Receiver<BTreeSet<MacAddr>>,
    pub(super) adopted: Option<Adopted>,
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
        let Self { vips, timing, conflict, macs, adopted, mut asks, witness } = self;
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
                _ = draining.changed() => return,
            }
        }
    }
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

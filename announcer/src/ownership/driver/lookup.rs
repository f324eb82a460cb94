//! Whose a MAC is that no node lease is known to name.
//!
//! A node's lease tells the MACs that it announces with, and who does not monitor that node
//! hears of a change only when its session begins anew. So before such a MAC is called a
//! stranger's all node leases are read. Whoever is in none of them is remembered for a while,
//! so that a station that goes on claiming does not have them read again and again.

use std::{collections::BTreeMap, future::pending, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::super::watch::{self as leases, LeaseEvent};
use crate::{
    types::{BootTime, MacAddr},
    wire_state::Heard,
};

/// Least time between two lists. What is claimed meanwhile by other MACs is a stranger's.
const INTERVAL: Duration = Duration::from_secs(10);
/// A MAC that was looked for and not found is a stranger's for so long; then it may have
/// become a node's.
const STRANGER_FOR: Duration = Duration::from_secs(180);
/// So many strangers are remembered at most: who makes up MACs has node leases listed once in
/// [`INTERVAL`], no more often.
const STRANGERS: usize = 256;
/// So many claims wait for a list at most.
const WAITING: usize = 64;

/// Claims by MACs that are being looked for.
#[derive(Default)]
pub(super) struct Lookup {
    asked_at: Option<BootTime>,
    waiting: Vec<Heard>,
    list: Option<BoxFuture<'static, Option<Vec<LeaseEvent>>>>,
    /// MACs in no node lease, and when these were read.
    strangers: BTreeMap<MacAddr, BootTime>,
}

impl Lookup {
    /// Takes a claim whose MAC is to be looked for first; gives it back if there is nothing
    /// to wait for.
    pub(super) fn defer(
        &mut self,
        now: BootTime,
        api: &Api<Lease>,
        patience: Duration,
        claim: Heard,
    ) -> Option<Heard> {
        self.strangers.retain(|_, read_at| now < *read_at + STRANGER_FOR);
        if self.strangers.contains_key(&claim.claim.mac) {
            return Some(claim);
        }
        if self.list.is_none() {
            if self.asked_at.is_some_and(|at| now < at + INTERVAL) {
                return Some(claim);
            }
            self.asked_at = Some(now);
            self.list = Some(leases::macs(api.clone(), patience).boxed());
        }
        if self.waiting.len() >= WAITING {
            return Some(claim);
        }
        self.waiting.push(claim);
        None
    }

    /// What the list says of MACs, and the claims that waited for it. Never, if nothing is
    /// being looked for; cancel-safe.
    pub(super) async fn found(&mut self) -> (Vec<LeaseEvent>, Vec<Heard>) {
        let Some(list) = &mut self.list else { return pending().await };
        let events = list.await;
        self.list = None;
        let waiting = std::mem::take(&mut self.waiting);
        // No answer says nothing of anybody.
        if let (Some(events), Some(read_at)) = (&events, self.asked_at) {
            self.note_strangers(read_at, events, &waiting);
        }
        (events.unwrap_or_default(), waiting)
    }

    fn note_strangers(&mut self, read_at: BootTime, events: &[LeaseEvent], waiting: &[Heard]) {
        let is_named = |mac: &MacAddr| {
            events
                .iter()
                .any(|event| matches!(event, LeaseEvent::Macs(_, macs) if macs.contains(mac)))
        };
        for mac in waiting.iter().map(|heard| heard.claim.mac) {
            if self.strangers.len() < STRANGERS && !is_named(&mac) {
                self.strangers.insert(mac, read_at);
            }
        }
    }
}

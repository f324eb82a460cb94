//! Whose a MAC is that no node lease is known to name.
//!
//! A node's lease tells the MACs that it announces with, and who does not monitor that node
//! hears of a change only when its session begins anew. So before such a MAC is called a
//! stranger's all node leases are read, once.

use std::{future::pending, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::super::watch::{self as leases, LeaseEvent};
use crate::{types::BootTime, wire_state::Heard};

/// Least time between two lists. A stranger that was looked for and not found is told from
/// the first frame on what it deserves.
const INTERVAL: Duration = Duration::from_secs(10);
/// So many claims wait for a list at most.
const WAITING: usize = 64;

/// Claims by MACs that are being looked for.
#[derive(Default)]
pub(super) struct Lookup {
    asked_at: Option<BootTime>,
    waiting: Vec<Heard>,
    list: Option<BoxFuture<'static, Vec<LeaseEvent>>>,
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
        (events, std::mem::take(&mut self.waiting))
    }
}

//! Watches the Leases, and turns what happens into the machine's inputs.

use std::{collections::BTreeSet, time::Duration};

use futures::{Stream, StreamExt, future, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};

use super::{
    lease::Seen,
    machine::Input,
    store::{self, Known, LEASE_LABEL, Subject},
};
use crate::{
    backoff::watch_backoff,
    types::{MacAddr, NodeName},
};

/// What the watch has to say.
#[derive(Clone, Debug)]
pub enum LeaseEvent {
    /// Something for the machine.
    Input(Input),
    /// The MAC addresses with which a node announces.
    Macs(NodeName, Vec<MacAddr>),
    /// The watch broke; it resumes by itself.
    Broken(String),
}

/// How long the API server keeps one watch request open; a connection that
/// died silently is noticed a few seconds after.
const WATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// All events about Leases of ours in the API's namespace, for ever.
pub fn leases(api: Api<Lease>) -> impl Stream<Item = LeaseEvent> + Send + 'static {
    let timeout = u32::try_from(WATCH_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
    let config = watcher::Config::default().labels(LEASE_LABEL).timeout(timeout);
    let mut known = BTreeSet::new();
    let mut listing = None;
    watcher(api, config)
        .backoff(watch_backoff())
        .map(move |event| match event {
            Ok(event) => translate(event, &mut known, &mut listing),
            Err(error) => vec![LeaseEvent::Broken(error.to_string())],
        })
        .flat_map(stream::iter)
        .filter(|event| {
            let empty = matches!(event, LeaseEvent::Macs(_, macs) if macs.is_empty());
            future::ready(!empty)
        })
}

fn translate(
    event: watcher::Event<Lease>,
    known: &mut BTreeSet<String>,
    listing: &mut Option<BTreeSet<String>>,
) -> Vec<LeaseEvent> {
    match event {
        watcher::Event::Init => {
            *listing = Some(BTreeSet::new());
            Vec::new()
        }
        watcher::Event::InitApply(lease) => {
            listing.get_or_insert_default().insert(lease.name_any());
            present(&lease)
        }
        watcher::Event::InitDone => {
            let listed = listing.take().unwrap_or_default();
            let gone = known.difference(&listed).filter_map(|name| absent(name, None));
            let events = gone.chain([LeaseEvent::Input(Input::Listed)]).collect();
            *known = listed;
            events
        }
        watcher::Event::Apply(lease) => {
            known.insert(lease.name_any());
            present(&lease)
        }
        watcher::Event::Delete(lease) => {
            let name = lease.name_any();
            known.remove(&name);
            absent(&name, store::version(&lease).ok()).into_iter().collect()
        }
    }
}

fn present(lease: &Lease) -> Vec<LeaseEvent> {
    match store::understand(lease) {
        Ok(Known::Node(node, lease, macs)) => vec![
            LeaseEvent::Macs(node.clone(), macs),
            LeaseEvent::Input(Input::NodeLease(node, Seen::Present(lease))),
        ],
        Ok(Known::Vip(vip, lease)) => {
            vec![LeaseEvent::Input(Input::VipLease(vip, Seen::Present(lease)))]
        }
        Err(error) => vec![LeaseEvent::Broken(error.to_string())],
    }
}

fn absent(name: &str, version: Option<super::lease::Version>) -> Option<LeaseEvent> {
    let input = match store::subject(name)? {
        Subject::Node(node) => Input::NodeLease(node, Seen::Absent(version)),
        Subject::Vip(vip) => Input::VipLease(vip, Seen::Absent(version)),
    };
    Some(LeaseEvent::Input(input))
}

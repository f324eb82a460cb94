//! Watches the Leases, and turns what happens into the machine's inputs.

use std::{collections::BTreeSet, time::Duration};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt, api::ListParams, runtime::watcher};

use tracing::warn;

use super::{
    lease::Seen,
    machine::Input,
    store::{self, Known, LEASE_LABEL, SESSION_LABEL, Subject},
};
use crate::{
    backoff::{Progress, WATCH_TIMEOUT_SECONDS, paced, watch_backoff},
    client,
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

/// How long a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// All events about VIP leases: there is one only when a VIP changes hands.
pub fn vip_leases(api: Api<Lease>) -> impl Stream<Item = LeaseEvent> + Send + 'static {
    let mut listing = Listing::default();
    watch(api, config().labels(&format!("{LEASE_LABEL}=vip")))
        .map(move |event| match event {
            Ok(event) => listing.vips(event),
            Err(error) => vec![LeaseEvent::Broken(error.to_string())],
        })
        .flat_map(stream::iter)
}

/// Where and when sessions begin and end, of all nodes, without the renewals in
/// between: a watch of the node leases that are *over*. The API server tells of
/// an object that enters or leaves a selection, and is silent while it is outside.
pub fn sessions(api: Api<Lease>) -> impl Stream<Item = LeaseEvent> + Send + 'static {
    let over = format!("{LEASE_LABEL}=node,{SESSION_LABEL}=over");
    watch(api.clone(), config().labels(&over))
        .then(move |event| {
            let api = api.clone();
            async move {
                match event {
                    Ok(watcher::Event::Init) => Vec::new(),
                    // The list that follows has them all.
                    Ok(watcher::Event::InitApply(_)) => Vec::new(),
                    Ok(watcher::Event::InitDone) => all_node_leases(&api).await,
                    Ok(watcher::Event::Apply(lease)) => present(&lease),
                    Ok(watcher::Event::Delete(lease)) => opened(&lease),
                    Err(error) => vec![LeaseEvent::Broken(error.to_string())],
                }
            }
        })
        .flat_map(stream::iter)
}

/// All events about one node's lease, renewals included.
pub fn node_lease(api: Api<Lease>, node: NodeName) -> impl Stream<Item = LeaseEvent> + Send {
    let name = store::node_lease_name(&node);
    let mut found = false;
    watch(api, config().fields(&format!("metadata.name={name}")))
        .map(move |event| match event {
            Ok(watcher::Event::Init) => {
                found = false;
                Vec::new()
            }
            Ok(watcher::Event::InitApply(lease)) => {
                found = true;
                present(&lease)
            }
            Ok(watcher::Event::InitDone) if found => Vec::new(),
            Ok(watcher::Event::InitDone) => absent(&name, None).into_iter().collect(),
            Ok(watcher::Event::Apply(lease)) => present(&lease),
            Ok(watcher::Event::Delete(lease)) => deleted(&lease),
            Err(error) => vec![LeaseEvent::Broken(error.to_string())],
        })
        .flat_map(stream::iter)
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT_SECONDS)
}

fn watch(
    api: Api<Lease>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<Lease>>> + Send {
    let begin = move || watcher(api.clone(), config.clone()).boxed();
    paced(begin, |event| {
        let progress = match event {
            Ok(watcher::Event::Init) => Progress::None,
            Ok(_) => Progress::Made,
            Err(_) => Progress::Interrupted,
        };
        (event, progress)
    })
}

/// Every node lease there is; asks until it gets an answer.
async fn all_node_leases(api: &Api<Lease>) -> Vec<LeaseEvent> {
    let selection = ListParams::default().labels(&format!("{LEASE_LABEL}=node"));
    let mut pauses = watch_backoff();
    loop {
        match tokio::time::timeout(LIST_TIMEOUT, api.list(&selection)).await {
            Ok(Ok(leases)) => {
                let events = leases.items.iter().flat_map(present);
                return events.chain([LeaseEvent::Input(Input::NodesListed)]).collect();
            }
            Ok(Err(error)) => {
                let error = client::reason(&error);
                warn!(error, "cannot list the node leases; trying again");
            }
            Err(_elapsed) => warn!("no answer to the list of node leases; trying again"),
        }
        tokio::time::sleep(pauses.next().unwrap_or(LIST_TIMEOUT)).await;
    }
}

/// The MAC addresses that nodes announce with, by all node leases there are, as the API
/// server's cache has them; `None` if there is no answer in time.
pub async fn macs(api: Api<Lease>, patience: Duration) -> Option<Vec<LeaseEvent>> {
    let selection = ListParams::default().labels(&format!("{LEASE_LABEL}=node")).match_any();
    let listed = tokio::time::timeout(patience, api.list(&selection)).await;
    let leases = listed.ok()?.ok()?;
    let known = leases.items.iter().filter_map(|lease| match store::understand(lease) {
        Ok(Known::Node(node, _, macs)) => Some(macs_of(&node, macs)),
        Ok(Known::Vip(..)) | Err(_) => None,
    });
    Some(known.flatten().collect())
}

/// Which VIP leases are known, to tell after a new list which are gone.
#[derive(Default)]
struct Listing {
    known: BTreeSet<String>,
    listed: BTreeSet<String>,
}

impl Listing {
    fn vips(&mut self, event: watcher::Event<Lease>) -> Vec<LeaseEvent> {
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(lease) => {
                self.listed.insert(lease.name_any());
                present(&lease)
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = self.known.difference(&listed).filter_map(|name| absent(name, None));
                let events = gone.chain([LeaseEvent::Input(Input::VipsListed)]).collect();
                self.known = listed;
                events
            }
            watcher::Event::Apply(lease) => {
                self.known.insert(lease.name_any());
                present(&lease)
            }
            watcher::Event::Delete(lease) => {
                self.known.remove(&lease.name_any());
                deleted(&lease)
            }
        }
    }
}

/// A node lease that has left the selection of those that are over. Should it
/// have been deleted instead, its monitors will find out.
fn opened(lease: &Lease) -> Vec<LeaseEvent> {
    match store::understand(lease) {
        Ok(Known::Node(node, lease, macs)) => {
            let opened = lease.opened(lease.version);
            macs_of(&node, macs)
                .chain([LeaseEvent::Input(Input::NodeOpened(node, opened))])
                .collect()
        }
        Ok(Known::Vip(..)) => Vec::new(),
        Err(error) => vec![LeaseEvent::Broken(error.to_string())],
    }
}

fn deleted(lease: &Lease) -> Vec<LeaseEvent> {
    absent(&lease.name_any(), store::version(lease).ok()).into_iter().collect()
}

/// The closed lease that a monitor puts in the place of one that was deleted names no
/// MAC addresses; those known before still count.
fn macs_of(node: &NodeName, macs: Vec<MacAddr>) -> impl Iterator<Item = LeaseEvent> + use<> {
    let known = (!macs.is_empty()).then(|| LeaseEvent::Macs(node.clone(), macs));
    known.into_iter()
}

fn present(lease: &Lease) -> Vec<LeaseEvent> {
    match store::understand(lease) {
        Ok(Known::Node(node, lease, macs)) => macs_of(&node, macs)
            .chain([LeaseEvent::Input(Input::NodeLease(node, Seen::Present(lease)))])
            .collect(),
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

//! Finds the interfaces that are meant, and attaches to them.

use std::time::Duration;

use tracing::{info, warn};

use super::DaemonError;
use crate::{
    config::InterfacePattern,
    datapath::{Datapath, DatapathError, Interface, netlink::Snapshot},
    types::IfIndex,
    wire_state::Adopted,
};

/// Attaches to every interface that is meant, waiting for those to come.
pub(super) async fn attach(
    datapath: &Datapath,
    patterns: &[InterfacePattern],
) -> Result<(Vec<Interface>, Option<Adopted>), DaemonError> {
    loop {
        match attach_once(datapath, patterns).await {
            Err(DaemonError::Datapath(error)) if error.is_transient() => {
                warn!(%error, "attaching again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            result => return result,
        }
    }
}

async fn attach_once(
    datapath: &Datapath,
    patterns: &[InterfacePattern],
) -> Result<(Vec<Interface>, Option<Adopted>), DaemonError> {
    let mut told = false;
    let indices = datapath
        .netlink()
        .wait_until(|snapshot| match resolve(snapshot, patterns) {
            Ok(indices) => Some(indices),
            Err(missing) => {
                if !std::mem::replace(&mut told, true) {
                    info!("waiting for {missing}");
                }
                None
            }
        })
        .await
        .map_err(DatapathError::from)?;
    let mut interfaces = Vec::new();
    match attach_all(datapath, &indices, &mut interfaces).await {
        Ok(adopted) => Ok((interfaces, adopted)),
        Err(error) => {
            interfaces.into_iter().for_each(Interface::abandon);
            Err(error)
        }
    }
}

async fn attach_all(
    datapath: &Datapath,
    indices: &[IfIndex],
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Adopted>, DaemonError> {
    let mut adopted: Option<Adopted> = None;
    for index in indices {
        let (interface, left) = datapath.attach(*index).await?;
        info!(
            interface = interface.name(), mac = %interface.mac(), hook = %interface.hook(),
            why = interface.reason().to_string(), cost = interface.hook().known_cost(),
            adopted = left.is_some(), "attached"
        );
        interfaces.push(interface);
        merge(&mut adopted, left);
    }
    for index in datapath.detach_others(indices)? {
        info!(ifindex = index.get(), "removed what a former daemon left on another interface");
    }
    Ok(adopted)
}

/// Interfaces of one daemon were written together; should they differ all the
/// same, a VIP counts until the earliest of its times.
fn merge(adopted: &mut Option<Adopted>, more: Option<Adopted>) {
    let Some(more) = more else { return };
    let Some(all) = adopted else {
        *adopted = Some(more);
        return;
    };
    if all.session != more.session {
        return;
    }
    for (vip, until) in more.answering {
        all.answering.entry(vip).and_modify(|u| *u = until.min(*u)).or_insert(until);
    }
}

/// The interfaces that are meant, or what is missing.
fn resolve(snapshot: &Snapshot, patterns: &[InterfacePattern]) -> Result<Vec<IfIndex>, String> {
    if patterns.is_empty() {
        return snapshot
            .default_route
            .map(|index| vec![index])
            .ok_or_else(|| "a default route (or give --interface)".to_owned());
    }
    let mut indices = Vec::new();
    for pattern in patterns {
        let before = indices.len();
        for facts in &snapshot.interfaces {
            if pattern.matches(&facts.name) {
                indices.push(facts.index);
            }
        }
        if indices.len() == before {
            return Err(format!("interface {pattern}"));
        }
    }
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

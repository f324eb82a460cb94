//! Finds the interfaces that are meant, and attaches to them.

use std::{collections::BTreeMap, time::Duration};

use tracing::{info, warn};

use super::DaemonError;
use crate::{
    config::InterfacePattern,
    datapath::{Datapath, DatapathError, Interface},
    types::IfIndex,
    uplink::{self, Uplink},
    wire_state::Adopted,
};

/// What a daemon starts with: its interfaces, and what a former one left on them.
type Start = (Vec<(Interface, Uplink)>, Option<Adopted>);

/// Attaches to every interface that is meant, waiting for those to come.
pub(super) async fn attach(
    datapath: &Datapath,
    patterns: &[InterfacePattern],
) -> Result<Start, DaemonError> {
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
) -> Result<Start, DaemonError> {
    let mut told = false;
    let uplinks = datapath
        .netlink()
        .wait_until(|snapshot| match uplink::resolve(snapshot, patterns) {
            Ok(uplinks) => Some(uplinks),
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
    match attach_all(datapath, uplinks, &mut interfaces).await {
        Ok(adopted) => Ok((interfaces, adopted)),
        Err(error) => {
            interfaces.into_iter().for_each(|(interface, _)| interface.abandon());
            Err(error)
        }
    }
}

async fn attach_all(
    datapath: &Datapath,
    uplinks: BTreeMap<IfIndex, Uplink>,
    interfaces: &mut Vec<(Interface, Uplink)>,
) -> Result<Option<Adopted>, DaemonError> {
    let mut adopted: Option<Adopted> = None;
    let indices: Vec<_> = uplinks.keys().copied().collect();
    for (index, uplink) in uplinks {
        let (interface, left) = attach_to(datapath, index).await?;
        interfaces.push((interface, uplink));
        merge(&mut adopted, left);
    }
    for index in datapath.detach_others(&indices)? {
        info!(ifindex = index.get(), "removed what a former daemon left on another interface");
    }
    Ok(adopted)
}

/// Attaches to one interface, at the start or later, and says how.
pub(super) async fn attach_to(
    datapath: &Datapath,
    index: IfIndex,
) -> Result<(Interface, Option<Adopted>), DatapathError> {
    let (interface, left) = datapath.attach(index).await?;
    info!(
        interface = interface.name(), mac = %interface.mac(), hook = %interface.hook(),
        why = interface.reason().to_string(), cost = interface.hook().known_cost(),
        adopted = left.is_some(), "attached"
    );
    Ok((interface, left))
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

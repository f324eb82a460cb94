//! Tells the index which of the daemon's interfaces can carry frames, as that changes.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    datapath::netlink::{InterfaceFacts, Netlink, NetlinkError},
    intent::{eligibility::LinkState, index::Links},
    types::IfIndex,
};

/// Before a lost connection to the kernel is made anew.
const RECONNECT: Duration = Duration::from_millis(500);

/// Follows the interfaces, for ever. What was said last stands while the kernel
/// cannot be asked.
pub async fn follow(
    interfaces: BTreeMap<IfIndex, String>,
    links: watch::Sender<Option<Links>>,
) -> Infallible {
    loop {
        let Err(error) = follow_once(&interfaces, &links).await;
        warn!(%error, "cannot follow the state of the interfaces; trying again");
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn follow_once(
    interfaces: &BTreeMap<IfIndex, String>,
    links: &watch::Sender<Option<Links>>,
) -> Result<Infallible, NetlinkError> {
    let mut changes = Netlink::changes()?;
    loop {
        let mut now = Links::new();
        for (index, name) in interfaces {
            now.insert(name.clone(), state(changes.netlink().interface(*index).await?.as_ref()));
        }
        links.send_if_modified(|said| {
            if said.as_ref() == Some(&now) {
                return false;
            }
            tell(said.as_ref(), &now);
            *said = Some(now);
            true
        });
        changes.of_any(|index| interfaces.contains_key(&index)).await?;
    }
}

const fn state(facts: Option<&InterfaceFacts>) -> LinkState {
    match facts {
        None => LinkState::Missing,
        Some(facts) if !facts.is_up => LinkState::Down,
        Some(facts) if !facts.has_carrier => LinkState::NoCarrier,
        Some(_) => LinkState::Fit,
    }
}

fn tell(before: Option<&Links>, now: &Links) {
    for (interface, state) in now {
        match (before.and_then(|links| links.get(interface)), state) {
            (None, LinkState::Fit) => {}
            (Some(before), state) if before == state => {}
            (_, LinkState::Fit) => info!(interface, "link is up again"),
            (_, state) => warn!(interface, "{state}: its VIPs go to other nodes"),
        }
    }
}

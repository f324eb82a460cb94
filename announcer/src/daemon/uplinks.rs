//! Keeps the daemon attached to the interfaces that are meant, as they come, change
//! and go, and says what they are like: to the responder, to intent, to node leases.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tracing::{error, info, warn};

use super::attach::attach_to;
use crate::{
    config::InterfacePattern,
    datapath::{
        Datapath, DatapathError, EffectiveHook,
        netlink::{Netlink, NetlinkError, Snapshot},
    },
    intent::{eligibility::LinkState, index::Links},
    observe::health::{Health, Loop},
    ownership::profile::{InterfaceProfile, Profile},
    responder::UplinkChange,
    types::{IfIndex, MacAddr},
    uplink::{Uplink, uplinks},
};

/// Before a lost connection to the kernel is made anew.
const RECONNECT: Duration = Duration::from_millis(500);

/// Before an interface that could not be attached to is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How often to look whether the program is still attached: the kernel tells nobody
/// when somebody detaches it.
const LOOK: Duration = Duration::from_secs(5);

/// Who hears of changes.
#[derive(Debug)]
pub(super) struct Told {
    /// The responder, of everything.
    pub(super) responder: mpsc::Sender<UplinkChange>,
    /// Intent, of which interfaces can carry frames.
    pub(super) links: watch::Sender<Option<Links>>,
    /// Whoever publishes them, of the MACs that this node announces with.
    pub(super) macs: watch::Sender<BTreeSet<MacAddr>>,
    /// Whoever publishes it, of what this node's interfaces are.
    pub(super) profile: watch::Sender<Profile>,
}

/// The interfaces that the daemon serves.
#[derive(Debug)]
pub(super) struct Uplinks {
    datapath: Datapath,
    patterns: Vec<InterfacePattern>,
    /// Those that it is attached to.
    attached: BTreeMap<IfIndex, Uplink>,
    /// Where on each of them.
    hooks: BTreeMap<IfIndex, EffectiveHook>,
    /// Those that it could not be attached to, and when to try again.
    refused: BTreeMap<IfIndex, Refused>,
    /// Of whatever was attached once, and is still there or asked for by name: of those that
    /// an expression matches, new ones may come and go for ever.
    names: BTreeSet<String>,
    told: Told,
    health: Health,
}

/// An interface that is meant and was not to be had.
#[derive(Debug)]
struct Refused {
    name: String,
    again: Instant,
}

impl Uplinks {
    pub(super) fn new(
        datapath: Datapath,
        patterns: Vec<InterfacePattern>,
        attached: BTreeMap<IfIndex, Uplink>,
        hooks: BTreeMap<IfIndex, EffectiveHook>,
        told: Told,
        health: Health,
    ) -> Self {
        let names = attached.values().map(|uplink| uplink.name.clone()).collect();
        let refused = BTreeMap::new();
        let uplinks = Self { datapath, patterns, attached, hooks, refused, names, told, health };
        // The first node lease says it already.
        uplinks.publish_profiles(uplinks.profiles());
        uplinks
    }

    /// Follows the interfaces until `ending` says so. What was said last stands while the
    /// kernel cannot be asked.
    ///
    /// To be ended so, not dropped: an interface that is being attached at that moment is
    /// given to the responder first, which takes it down with the others.
    pub(super) async fn follow(mut self, mut ending: watch::Receiver<bool>) {
        loop {
            self.health.turns(Loop::Uplinks);
            let Err(error) = self.follow_once(&mut ending).await else { return };
            warn!(%error, "cannot follow the interfaces; trying again");
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return,
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn follow_once(
        &mut self,
        ending: &mut watch::Receiver<bool>,
    ) -> Result<(), NetlinkError> {
        let mut changes = Netlink::changes()?;
        let mut lost = Vec::new();
        loop {
            let now = changes.netlink().snapshot().await?;
            self.take_in(&now, &lost).await;
            self.publish();
            let served = self.attached.keys().filter_map(|index| now.by_index(*index));
            let masters: BTreeSet<_> =
                served.flat_map(|facts| now.masters(facts)).map(|master| master.index).collect();
            let concerns = |index, name: Option<&str>| {
                self.attached.contains_key(&index)
                    || self.refused.contains_key(&index)
                    || masters.contains(&index)
                    || name.is_some_and(|name| self.patterns.iter().any(|p| p.matches(name)))
            };
            lost = tokio::select! {
                change = changes.of_any(concerns) => {
                    change?;
                    Vec::new()
                }
                lost = self.until_detached_or_retry() => lost,
                // Whoever could say so is gone: so is the daemon.
                _ = ending.wait_for(|ending| *ending) => return Ok(()),
            };
        }
    }

    /// Waits until somebody has detached the program, and says where; or until a refused
    /// interface is to be tried again.
    async fn until_detached_or_retry(&self) -> Vec<IfIndex> {
        let retry = self.refused.values().map(|refused| refused.again).min();
        loop {
            self.health.turns(Loop::Uplinks);
            let look = Instant::now() + LOOK;
            tokio::time::sleep_until(retry.map_or(look, |retry| retry.min(look))).await;
            let mut lost = Vec::new();
            for index in self.attached.keys() {
                if !self.datapath.is_attached(*index).await {
                    lost.push(*index);
                }
            }
            if !lost.is_empty() || retry.is_some_and(|retry| retry <= Instant::now()) {
                return lost;
            }
        }
    }

    async fn take_in(&mut self, now: &Snapshot, lost: &[IfIndex]) {
        let wanted = uplinks(now, &self.patterns);
        for index in self.attached.keys().copied().collect::<Vec<_>>() {
            if !wanted.contains_key(&index) {
                warn!(interface = self.attached[&index].name, "is gone, or has another name now");
            } else if lost.contains(&index) {
                error!(
                    interface = self.attached[&index].name,
                    "somebody detached the program: attaching again"
                );
            } else {
                continue;
            }
            if let Some(gone) = self.attached.remove(&index)
                && !is_asked_for(&self.patterns, &gone.name)
            {
                self.names.remove(&gone.name);
            }
            self.hooks.remove(&index);
            self.close(index).await;
        }
        self.refused.retain(|index, _| wanted.contains_key(index));
        for (index, uplink) in wanted {
            match self.attached.get(&index) {
                Some(known) if *known == uplink => {}
                Some(_) => {
                    self.attached.insert(index, uplink.clone());
                    self.tell(UplinkChange::Changed(index, uplink)).await;
                }
                None => self.open(index, uplink).await,
            }
        }
    }

    async fn open(&mut self, index: IfIndex, uplink: Uplink) {
        if self.refused.get(&index).is_some_and(|refused| refused.again > Instant::now()) {
            return;
        }
        match attach_to(&self.datapath, index).await {
            Ok((interface, _)) => {
                self.refused.remove(&index);
                self.names.insert(uplink.name.clone());
                self.attached.insert(index, uplink.clone());
                self.hooks.insert(index, interface.hook());
                self.tell(UplinkChange::Attached(Box::new(interface), uplink)).await;
            }
            Err(error) => self.note_refusal(index, uplink.name, &error),
        }
    }

    fn note_refusal(&mut self, index: IfIndex, name: String, error: &DatapathError) {
        let refused = Refused { name: name.clone(), again: Instant::now() + RETRY };
        if self.refused.insert(index, refused).is_none() {
            error!(interface = name, %error, "cannot be attached to; trying again now and then");
        }
    }

    async fn close(&self, index: IfIndex) {
        let (done, closed) = oneshot::channel();
        self.tell(UplinkChange::Gone(index, done)).await;
        // The responder has ended: so will this.
        let _ = closed.await;
    }

    async fn tell(&self, change: UplinkChange) {
        // As above.
        let _ = self.told.responder.send(change).await;
    }

    /// What each interface is like that is served, or should be.
    fn profiles(&self) -> BTreeMap<String, InterfaceProfile> {
        let missing = InterfaceProfile::without_program(LinkState::Missing);
        let missing = self.names.iter().map(|name| (name.clone(), missing.clone()));
        let refused = self.refused.values().map(|refused| {
            (refused.name.clone(), InterfaceProfile::without_program(LinkState::Unattached))
        });
        let attached = self.attached.iter().map(|(index, uplink)| {
            let Uplink { name, link, mac, networks, .. } = uplink;
            let profile = match self.hooks.get(index) {
                Some(hook) => {
                    let networks = networks.iter().copied().map(Into::into);
                    InterfaceProfile::attached(*link, hook, *mac).with_networks(networks)
                }
                None => InterfaceProfile::without_program(*link),
            };
            (name.clone(), profile)
        });
        // What comes later has the say.
        missing.chain(refused).chain(attached).collect()
    }

    fn publish_profiles(&self, profiles: BTreeMap<String, InterfaceProfile>) {
        self.told.profile.send_if_modified(|said| {
            let modified = said.interfaces.as_ref() != Some(&profiles);
            said.interfaces = Some(profiles);
            modified
        });
    }

    fn publish(&self) {
        let profiles = self.profiles();
        let links: Links =
            profiles.iter().map(|(name, profile)| (name.clone(), profile.link)).collect();
        // Before intent knows: a session that ends for it ends with a lease that says why.
        self.publish_profiles(profiles);
        self.told.links.send_if_modified(|said| {
            if said.as_ref() == Some(&links) {
                return false;
            }
            tell(said.as_ref(), &links);
            *said = Some(links);
            true
        });
        let macs: BTreeSet<_> = self.attached.values().filter_map(|uplink| uplink.mac).collect();
        self.told.macs.send_if_modified(|said| {
            let modified = *said != macs;
            *said = macs;
            modified
        });
    }
}

fn is_asked_for(patterns: &[InterfacePattern], name: &str) -> bool {
    patterns.iter().any(|pattern| matches!(pattern, InterfacePattern::Name(asked) if asked == name))
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

//! What a node says of itself in its lease, for people elsewhere: the interfaces that it
//! answers on, the settings that bear on which VIPs there are, and strangers that use its
//! VIPs. Other announcers read nothing of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    conflict::{Claims, Stranger},
    intent::{
        eligibility::LinkState,
        index::{Links, Selection},
    },
    types::{MacAddr, Vip},
};

/// Of more networks an interface tells none: a part of them would mislead.
const NETWORKS: usize = 16;
/// Of more conflicts a node tells these, some 3 kB: whoever watches its lease gets them.
const CONFLICTS: usize = 32;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The settings; `None`: unknown (another version wrote the lease).
    pub settings: Option<Settings>,
    /// Its interfaces, by name; `None`: unknown.
    pub interfaces: Option<BTreeMap<String, InterfaceProfile>>,
    /// The conflicts about VIPs of this node that last.
    pub conflicts: Conflicts,
}

/// By VIP.
pub type Conflicts = BTreeMap<Vip, ConflictProfile>;

/// A station that is no announcer, and uses a VIP of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictProfile {
    /// Its MAC.
    pub mac: MacAddr,
    /// The interface on which it was heard.
    pub interface: String,
    /// Whether this node answers for the VIP all the same.
    pub answered: bool,
}

/// The settings of a daemon that bear on which VIPs there are, and on whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The announcer's version.
    pub version: String,
    /// `--service-selector`.
    pub service_selector: String,
    /// `--load-balancer-class`.
    pub load_balancer_class: String,
    /// `--require-class`.
    pub require_class: bool,
    /// `--external-ips`.
    #[serde(rename = "externalIPs")]
    pub external_ips: bool,
    /// `--exclude-cordoned`.
    pub exclude_cordoned: bool,
}

/// An interface that a daemon answers on, or should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceProfile {
    /// Whether it can carry frames.
    pub link: LinkState,
    /// Where the program is attached, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The MAC that is answered with, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The networks whose hosts ask for each other's addresses here; `None`: unknown, or too
    /// many to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeSet<IpNet>>,
}

impl InterfaceProfile {
    /// One with a program attached to it.
    pub fn attached(link: LinkState, hook: impl ToString, mac: Option<MacAddr>) -> Self {
        let mac = mac.map(|mac| mac.to_string());
        Self { link, hook: Some(hook.to_string()), mac, networks: None }
    }

    /// The same with its networks, if they are not too many.
    #[must_use]
    pub fn with_networks(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        let networks = Some(networks.into_iter().collect());
        Self { networks: networks.filter(|it: &BTreeSet<_>| it.len() <= NETWORKS), ..self }
    }

    /// One without.
    pub const fn without_program(link: LinkState) -> Self {
        Self { link, hook: None, mac: None, networks: None }
    }

    /// Whether hosts of its networks ask for this VIP here, if its networks are known.
    pub fn is_on_link(&self, vip: Vip) -> Option<bool> {
        let address = IpAddr::from(vip.ip());
        Some(self.networks.as_ref()?.iter().any(|network| network.contains(&address)))
    }

    fn is_sound(&self) -> bool {
        self.hook.as_ref().is_none_or(|hook| is_word(hook))
            && self.mac.as_ref().is_none_or(|mac| mac.parse::<MacAddr>().is_ok())
            && self.networks.as_ref().is_none_or(|networks| networks.len() <= NETWORKS)
    }
}

/// What is told of conflicts: where they are too many, of those first in which this node is
/// silent.
pub fn conflicts(claims: &Claims) -> Conflicts {
    let mut all: Vec<_> = claims.contested().collect();
    all.sort_by_key(|(_, _, answered)| *answered);
    let told = all.into_iter().take(CONFLICTS).map(|(vip, stranger, answered)| {
        let Stranger { mac, interface, probes: _ } = stranger;
        (vip, ConflictProfile { mac: *mac, interface: interface.to_string(), answered })
    });
    told.collect()
}

impl Settings {
    /// Those of this version with a selection.
    pub fn of(selection: &Selection) -> Self {
        let Selection { services, class, classless, external_ips, exclude_cordoned } = selection;
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            service_selector: services.to_string(),
            load_balancer_class: class.clone(),
            require_class: !classless,
            external_ips: *external_ips,
            exclude_cordoned: *exclude_cordoned,
        }
    }

    fn is_sound(&self) -> bool {
        is_word(&self.version)
            && self.load_balancer_class.split('/').all(is_word)
            && self.service_selector.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    }

    /// As the index wants them; `None`: the selector is none (a later version's syntax).
    pub fn selection(&self) -> Option<Selection> {
        Some(Selection {
            services: self.service_selector.parse().ok()?,
            class: self.load_balancer_class.clone(),
            classless: !self.require_class,
            external_ips: self.external_ips,
            exclude_cordoned: self.exclude_cordoned,
        })
    }
}

impl Profile {
    /// What the interfaces are like, as intent wants it; `None`: unknown.
    pub fn links(&self) -> Option<Links> {
        let interfaces = self.interfaces.as_ref()?.iter();
        Some(interfaces.map(|(name, interface)| (name.clone(), interface.link)).collect())
    }

    /// The texts of the annotations: settings, interfaces, conflicts. Equal profiles have
    /// equal texts: keys are sorted.
    pub(super) fn to_texts(&self) -> [Option<String>; 3] {
        let conflicts = Some(&self.conflicts).filter(|conflicts| !conflicts.is_empty());
        [text(self.settings.as_ref()), text(self.interfaces.as_ref()), text(conflicts)]
    }

    /// From such texts; what cannot be read is unknown. Whoever may write leases may write
    /// anything: what no announcer says is not repeated to people, or into commands.
    pub(super) fn from_texts([settings, interfaces, conflicts]: [Option<&str>; 3]) -> Self {
        let settings = settings.and_then(|text| serde_json::from_str::<Settings>(text).ok());
        let interfaces = interfaces.and_then(|text| serde_json::from_str(text).ok());
        let are_sound = |interfaces: &BTreeMap<String, InterfaceProfile>| {
            interfaces.iter().all(|(name, it)| is_interface_name(name) && it.is_sound())
        };
        let conflicts = conflicts.and_then(|text| serde_json::from_str::<Conflicts>(text).ok());
        let are_ours = |conflicts: &Conflicts| {
            conflicts.len() <= CONFLICTS
                && conflicts.values().all(|it| is_interface_name(&it.interface))
        };
        Self {
            settings: settings.filter(Settings::is_sound),
            interfaces: interfaces.filter(are_sound),
            conflicts: conflicts.filter(are_ours).unwrap_or_default(),
        }
    }
}

/// `None` in place of an error: nothing here has a key that is no text, or a number that is
/// none.
fn text(value: Option<&impl Serialize>) -> Option<String> {
    serde_json::to_string(value?).ok()
}

/// Letters, digits, and what stands between them in names of labels, hooks and versions.
fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+');
    (1..=253).contains(&text.len()) && text.chars().all(fits)
}

/// What can be printed of what dev_valid_name() of the kernel allows.
fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && c != '/')
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{
        conflict::{OnConflict, Settings},
        types::BootTime,
    };

    #[test]
    fn of_too_many_conflicts_those_are_told_that_keep_a_vip_silent() {
        let settings = Settings {
            on_conflict: OnConflict::Defend,
            probe_interval: Some(Settings::DEFAULT_PROBE_INTERVAL),
            frames_per_second: NonZeroU32::MIN,
        };
        let mut claims = Claims::new(settings, "node-1".parse().expect("a node name"));
        let mac = "52:54:00:00:00:07".parse().expect("a MAC");
        let stranger = Stranger { mac, interface: "ens18".into(), probes: false };
        let vip = |n: u8| -> Vip { format!("192.0.2.{n}").parse().expect("a VIP") };
        // The last one meets the stranger when it is probed for.
        claims.claim_first(BootTime::ZERO, vip(99));
        for n in 1..=99 {
            claims.heard(BootTime::ZERO, vip(n), stranger.clone());
        }
        let told = conflicts(&claims);
        assert_eq!(told.len(), CONFLICTS);
        assert!(told[&vip(1)].answered && !told[&vip(99)].answered);
    }
}

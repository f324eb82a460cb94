//! One interface: what is attached to it, and what its maps say.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    causes::with_causes,
    datapath::{EffectiveHook, Inspection, PinnedMaps, PinnedVip},
    types::{BootTime, MacAddr, Vip},
    uplink::Uplink,
    wire_state::WireEntry,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct InterfaceStatus {
    /// Null when the interface is gone.
    interface: Option<String>,
    ifindex: u32,
    /// Null when no program is attached.
    hook: Option<String>,
    /// What the hook itself costs.
    hook_cost: Option<String>,
    #[serde(flatten)]
    maps: MapsStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum MapsStatus {
    Readable(Box<Readable>),
    Unreadable { error: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Readable {
    /// The one that is answered with.
    mac: String,
    /// The one that should be, by what the interface is now; null when it is the same.
    mac_now: Option<String>,
    /// Why the hook is the one it is.
    hook_reason: String,
    session: Option<String>,
    silence: Silence,
    /// Whether pings to held VIPs are answered.
    answer_ping: bool,
    /// Those of the interface; null when it is gone.
    networks: Option<Vec<String>>,
    vips: Vec<PinnedStatus>,
    /// All of them, by name.
    counters: BTreeMap<String, u64>,
}

/// What becomes of requests for VIPs that are not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Silence {
    action: Action,
    /// Who else gets frames through the interface now; null when nobody is seen.
    shared_with: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Drop,
    Pass,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PinnedStatus {
    vip: String,
    /// Whether it lies in one of the interface's networks; null when that is gone.
    on_link: Option<bool>,
    #[serde(flatten)]
    state: State,
    /// Requests answered since the VIP was added.
    answered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum State {
    Answering {
        /// From now, to the millisecond.
        remaining_seconds: f64,
    },
    /// Held, and not answered any more: nobody has prolonged it.
    Expired {
        /// Until now, to the millisecond.
        expired_seconds: f64,
    },
    Silent,
}

impl InterfaceStatus {
    pub(super) fn new(found: &Inspection, now: BootTime) -> Self {
        Self {
            interface: found.uplink.as_ref().map(|uplink| uplink.name.clone()),
            ifindex: found.index.get(),
            hook: found.hook.map(|hook| hook.to_string()),
            hook_cost: found.hook.map(EffectiveHook::known_cost).map(str::to_owned),
            maps: match &found.maps {
                Ok(maps) => readable(maps, found.uplink.as_ref(), now),
                Err(error) => MapsStatus::Unreadable { error: with_causes(error) },
            },
        }
    }
}

fn readable(maps: &PinnedMaps, uplink: Option<&Uplink>, now: BootTime) -> MapsStatus {
    let vip = |(vip, pinned): (&Vip, &PinnedVip)| PinnedStatus {
        vip: vip.to_string(),
        on_link: uplink.map(|uplink| uplink.is_on_link(*vip)),
        state: match pinned.entry {
            WireEntry::Silent | WireEntry::Probe { .. } => State::Silent,
            WireEntry::Answer { until } if now < until => {
                State::Answering { remaining_seconds: seconds(until.since(now)) }
            }
            WireEntry::Answer { until } => {
                State::Expired { expired_seconds: seconds(now.since(until)) }
            }
        },
        answered: pinned.answered,
    };
    let shared_with = uplink.and_then(|uplink| uplink.sharing.as_ref());
    let mac_now = uplink.and_then(|uplink| uplink.mac).filter(|mac| *mac != maps.mac);
    let networks = |uplink: &Uplink| uplink.networks.iter().map(ToString::to_string).collect();
    MapsStatus::Readable(Box::new(Readable {
        mac: maps.mac.to_string(),
        mac_now: mac_now.as_ref().map(MacAddr::to_string),
        hook_reason: maps.reason.to_string(),
        session: maps.session.as_ref().map(ToString::to_string),
        silence: Silence {
            action: if maps.shared { Action::Pass } else { Action::Drop },
            shared_with: shared_with.map(ToString::to_string),
        },
        answer_ping: maps.answer_ping,
        networks: uplink.map(networks),
        vips: maps.vips.iter().map(vip).collect(),
        counters: maps
            .totals
            .iter()
            .map(|(counter, total)| (counter.name().to_owned(), total))
            .collect(),
    }))
}

pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

impl InterfaceStatus {
    /// With the VIPs in its maps, or without where they are told of elsewhere.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, with_vips: bool) -> fmt::Result {
        let name = self.interface.as_deref().unwrap_or("(gone)");
        write!(f, "{name}  ifindex {}  ", self.ifindex)?;
        match &self.hook {
            Some(hook) => write!(f, "hook {hook}")?,
            None => write!(f, "not attached")?,
        }
        let maps = match &self.maps {
            MapsStatus::Unreadable { error } => return writeln!(f, "\n  {error}"),
            MapsStatus::Readable(maps) => maps,
        };
        write!(f, "  mac {}", maps.mac)?;
        if let Some(now) = &maps.mac_now {
            write!(f, " (not {now}, as it is now)")?;
        }
        writeln!(f, "  session {}", maps.session.as_deref().unwrap_or("none"))?;
        if let (Some(hook), Some(cost)) = (&self.hook, &self.hook_cost) {
            writeln!(f, "  {hook}: {cost}; {}", maps.hook_reason)?;
        }
        writeln!(f, "  silence: {}", maps.silence)?;
        let pings = if maps.answer_ping { "answered" } else { "left to the kernel" };
        write!(f, "  pings to held VIPs: {pings}")?;
        match &maps.networks {
            Some(networks) if networks.is_empty() => writeln!(f, "; no networks")?,
            Some(networks) => writeln!(f, "; networks: {}", networks.join(", "))?,
            None => writeln!(f)?,
        }
        if with_vips {
            maps.write_vips(f)?;
        } else {
            maps.write_off_link(f)?;
        }
        let counters = &maps.counters;
        let counted = counters.iter().filter(|(_, total)| **total > 0);
        let counted: Vec<_> = counted.map(|(name, total)| format!("{name} {total}")).collect();
        if !counted.is_empty() {
            writeln!(f, "  counters: {}", counted.join(", "))?;
        }
        Ok(())
    }
}

impl Readable {
    fn write_off_link(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answering = |vip: &&PinnedStatus| matches!(vip.state, State::Answering { .. });
        let off_link = self.vips.iter().filter(answering).filter(|vip| vip.on_link == Some(false));
        let off_link: Vec<&str> = off_link.map(|vip| &*vip.vip).collect();
        if off_link.is_empty() {
            return Ok(());
        }
        writeln!(f, "  in none of the networks: {}", off_link.join(", "))
    }

    fn write_vips(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vips.is_empty() {
            return writeln!(f, "  no VIPs");
        }
        writeln!(f, "  {:<15}  {:<28}  {:>10}", "VIP", "STATE", "ANSWERED")?;
        for PinnedStatus { vip, on_link, state, answered } in &self.vips {
            write!(f, "  {vip:<15}  {:<28}  {answered:>10}", state.to_string())?;
            let mark = if *on_link == Some(false) { "  in none of the networks" } else { "" };
            writeln!(f, "{mark}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action, &self.shared_with) {
            (Action::Drop, None) => f.write_str("requests for VIPs held elsewhere are dropped"),
            (Action::Drop, Some(others)) => {
                write!(f, "requests for VIPs held elsewhere are dropped, although {others}")
            }
            (Action::Pass, Some(others)) => {
                write!(f, "requests for VIPs held elsewhere pass: {others}")
            }
            (Action::Pass, None) => f.write_str(
                "requests for VIPs held elsewhere pass: --silence pass, or others got frames \
                 through the interface when a daemon looked last",
            ),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answering { remaining_seconds: s } => write!(f, "answering until +{s:.1} s"),
            Self::Expired { expired_seconds: s } => write!(f, "expired {s:.1} s ago"),
            Self::Silent => f.write_str("silent"),
        }
    }
}

//! What `announcer status` says: rendered from what is pinned, as of one instant.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use serde::Serialize;

use crate::{
    datapath::{EffectiveHook, Inspection, PinnedMaps, PinnedVip},
    types::{BootTime, Vip},
    wire_state::WireEntry,
};

/// One network namespace. Serialised it is the output of `--output json`; displayed,
/// that of `--output table`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    interfaces: Vec<InterfaceStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct InterfaceStatus {
    /// Null when the interface is gone.
    interface: Option<String>,
    ifindex: u32,
    /// Null when no program is attached.
    hook: Option<String>,
    /// What the hook itself costs.
    hook_cost: Option<&'static str>,
    #[serde(flatten)]
    maps: MapsStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum MapsStatus {
    Readable {
        mac: String,
        /// Why the hook is the one it is.
        hook_reason: String,
        session: Option<String>,
        vips: Vec<VipStatus>,
        /// All of them, by name.
        counters: BTreeMap<&'static str, u64>,
    },
    Unreadable {
        error: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct VipStatus {
    vip: String,
    #[serde(flatten)]
    state: State,
    /// Requests answered since the VIP was added.
    answered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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

impl Status {
    /// As of `now`.
    pub fn new(found: &[Inspection], now: BootTime) -> Self {
        let interface = |found: &Inspection| InterfaceStatus {
            interface: found.name.clone(),
            ifindex: found.index.get(),
            hook: found.hook.map(|hook| hook.to_string()),
            hook_cost: found.hook.map(EffectiveHook::known_cost),
            maps: match &found.maps {
                Ok(maps) => readable(maps, now),
                Err(error) => MapsStatus::Unreadable { error: with_sources(error) },
            },
        };
        Self { interfaces: found.iter().map(interface).collect() }
    }
}

fn readable(maps: &PinnedMaps, now: BootTime) -> MapsStatus {
    let vip = |(vip, pinned): (&Vip, &PinnedVip)| VipStatus {
        vip: vip.to_string(),
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
    MapsStatus::Readable {
        mac: maps.mac.to_string(),
        hook_reason: maps.reason.to_string(),
        session: maps.session.as_ref().map(ToString::to_string),
        vips: maps.vips.iter().map(vip).collect(),
        counters: maps.totals.iter().map(|(counter, total)| (counter.name(), total)).collect(),
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

fn with_sources(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interfaces.is_empty() {
            return writeln!(f, "nothing is attached in this network namespace");
        }
        for (i, interface) in self.interfaces.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            interface.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for InterfaceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.interface.as_deref().unwrap_or("(gone)");
        write!(f, "{name}  ifindex {}  ", self.ifindex)?;
        match &self.hook {
            Some(hook) => write!(f, "hook {hook}")?,
            None => write!(f, "not attached")?,
        }
        let (mac, hook_reason, session, vips, counters) = match &self.maps {
            MapsStatus::Unreadable { error } => return writeln!(f, "\n  {error}"),
            MapsStatus::Readable { mac, hook_reason, session, vips, counters } => {
                (mac, hook_reason, session, vips, counters)
            }
        };
        writeln!(f, "  mac {mac}  session {}", session.as_deref().unwrap_or("none"))?;
        if let (Some(hook), Some(cost)) = (&self.hook, self.hook_cost) {
            writeln!(f, "  {hook}: {cost}; {hook_reason}")?;
        }
        if vips.is_empty() {
            writeln!(f, "  no VIPs")?;
        } else {
            writeln!(f, "  {:<15}  {:<28}  {:>10}", "VIP", "STATE", "ANSWERED")?;
        }
        for VipStatus { vip, state, answered } in vips {
            writeln!(f, "  {vip:<15}  {:<28}  {answered:>10}", state.to_string())?;
        }
        let counted = counters.iter().filter(|(_, total)| **total > 0);
        let counted: Vec<_> = counted.map(|(name, total)| format!("{name} {total}")).collect();
        if !counted.is_empty() {
            writeln!(f, "  counters: {}", counted.join(", "))?;
        }
        Ok(())
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

#[cfg(test)]
mod tests;

//! From what the maps of one interface say to what they should say: pure.
//!
//! The order of the operations makes every prefix of them safe, as the process
//! may be killed after any:
//!
//! 1. *Withdraw*: what is no longer answered, or less long, comes first. Another
//!    node may hold such a VIP already, and two answers do more harm than an
//!    answer some microseconds later. It also makes room.
//! 2. *Session*: after nothing of the old session is answered that the new one
//!    does not hold, before anything is answered under the new one. Whoever
//!    adopts the maps in between finds no VIP answered that their session does
//!    not cover.
//! 3. *Filter*, then *fill*: takeovers, then longer validity, then silent VIPs. An
//!    entry without its filter bit would not be seen; a bit without entry only
//!    costs a lookup. Hence the bits of removed entries go last.

use std::collections::{BTreeMap, BTreeSet};

use announcer_ebpf::abi::{self, HELD, SILENT, VipEntry};

use crate::{
    types::{BootTime, Session, Vip},
    wire_state::{WireEntry, WireState},
};

/// What the maps of one interface say, as far as their only writer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapImage {
    /// VIPS.
    pub entries: BTreeMap<Vip, VipEntry>,
    /// VIP_FILTER: the words that are not zero.
    pub filter: BTreeMap<u32, u64>,
    /// SESSION.
    pub session: Option<Session>,
}

/// One write to one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// VIPS: insert or replace.
    Put {
        /// Key.
        vip: Vip,
        /// Value.
        entry: VipEntry,
    },
    /// VIPS: remove.
    Remove {
        /// Key.
        vip: Vip,
    },
    /// VIP_ANSWERED and VIP_CLAIMED: zero, for a slot that changes hands.
    ResetSlot {
        /// Index.
        slot: u32,
    },
    /// VIP_CLAIMED: zero, for a VIP that is answered from now on. Who claimed it before
    /// may take it back within the interval of the rate limit, and is to be heard then.
    ForgetClaim {
        /// Index.
        slot: u32,
    },
    /// VIP_FILTER.
    SetFilter {
        /// Index.
        word: u32,
        /// Value.
        bits: u64,
    },
    /// SESSION.
    SetSession {
        /// Value.
        session: Option<Session>,
    },
}

/// What to write, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The writes.
    pub ops: Vec<MapOp>,
    /// VIPs that the maps have no room for.
    pub unplaced: Vec<Vip>,
}

impl MapImage {
    /// Notes a write that succeeded.
    pub fn apply(&mut self, op: &MapOp) {
        match op {
            MapOp::Put { vip, entry } => {
                self.entries.insert(*vip, *entry);
            }
            MapOp::Remove { vip } => {
                self.entries.remove(vip);
            }
            MapOp::ResetSlot { .. } | MapOp::ForgetClaim { .. } => {}
            MapOp::SetFilter { word, bits: 0 } => {
                self.filter.remove(word);
            }
            MapOp::SetFilter { word, bits } => {
                self.filter.insert(*word, *bits);
            }
            MapOp::SetSession { session } => self.session.clone_from(session),
        }
    }

    /// The VIPs that the data plane answers at `now`.
    pub fn answering(&self, now: BootTime) -> BTreeSet<Vip> {
        let answers = |(vip, entry): (&Vip, &VipEntry)| {
            (is_held(entry) && now < until(entry) && self.in_filter(*vip)).then_some(*vip)
        };
        self.entries.iter().filter_map(answers).collect()
    }

    /// The held VIPs, each with the instant from which it is not answered any more.
    pub fn held(&self) -> impl Iterator<Item = (Vip, BootTime)> + '_ {
        let held = self.entries.iter().filter(|(_, entry)| is_held(entry));
        held.map(|(vip, entry)| (*vip, until(entry)))
    }

    /// What to write so that every VIP is silent before `until` and the kernel's from then
    /// on, without anybody to look after it: for a daemon that ends in order.
    pub fn leave_silent(&self, until: BootTime) -> Vec<MapOp> {
        let silent = |entry: &VipEntry| VipEntry {
            valid_until_ns: until.as_nanos(),
            slot: entry.slot,
            flags: SILENT,
        };
        let puts = self.entries.iter().map(|(vip, entry)| (*vip, silent(entry)));
        let puts = puts.map(|(vip, entry)| MapOp::Put { vip, entry });
        puts.chain([MapOp::SetSession { session: None }]).collect()
    }

    /// What to write so that what a former daemon left silent for a time stays silent: there
    /// is a daemon again.
    pub fn keep_silent(&self) -> Vec<MapOp> {
        let left = |entry: &VipEntry| !is_held(entry) && entry.valid_until_ns != 0;
        let left = self.entries.iter().filter(|(_, entry)| left(entry));
        left.map(|(vip, entry)| MapOp::Put {
            vip: *vip,
            entry: VipEntry { valid_until_ns: 0, ..*entry },
        })
        .collect()
    }

    fn in_filter(&self, vip: Vip) -> bool {
        let (word, bit) = abi::filter_bit(vip.octets());
        self.filter.get(&word).is_some_and(|bits| bits & bit != 0)
    }

    /// What to write so that the maps say `desired`; `capacity` is the number of
    /// entries that VIPS holds.
    pub fn plan(&self, desired: &WireState, capacity: u32) -> Plan {
        let mut plan = Plan::default();
        let ops = &mut plan.ops;

        let mut slots = Slots::of(self.entries.values(), capacity);
        for (vip, current) in &self.entries {
            match desired.vips.get(vip) {
                None => {
                    ops.push(MapOp::Remove { vip: *vip });
                    slots.release(current.slot);
                }
                Some(wanted) => {
                    let entry = with_slot(*wanted, current.slot);
                    if is_withdrawal(current, &entry) {
                        ops.push(MapOp::Put { vip: *vip, entry });
                    }
                }
            }
        }

        if self.session != desired.session {
            ops.push(MapOp::SetSession { session: desired.session.clone() });
        }

        let wanted_filter = filter_of(desired.vips.keys());
        for (&word, &bits) in &wanted_filter {
            let present = self.filter.get(&word).copied().unwrap_or(0);
            if present | bits != present {
                ops.push(MapOp::SetFilter { word, bits: present | bits });
            }
        }

        let (mut takeovers, mut renewals, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for (vip, wanted) in &desired.vips {
            let group = match (self.entries.get(vip), wanted) {
                (Some(current), WireEntry::Answer { .. }) if is_held(current) => &mut renewals,
                (_, WireEntry::Answer { .. }) => &mut takeovers,
                (_, WireEntry::Silent | WireEntry::Probe { .. }) => &mut silent,
            };
            group.push((*vip, *wanted));
        }
        for (vip, wanted) in takeovers.into_iter().chain(renewals).chain(silent) {
            if let Some(current) = self.entries.get(&vip) {
                let entry = with_slot(wanted, current.slot);
                if is_held(&entry) && !is_held(current) {
                    ops.push(MapOp::ForgetClaim { slot: current.slot });
                }
                if *current != entry && !is_withdrawal(current, &entry) {
                    ops.push(MapOp::Put { vip, entry });
                }
            } else if let Some(slot) = slots.take() {
                ops.push(MapOp::ResetSlot { slot });
                ops.push(MapOp::Put { vip, entry: with_slot(wanted, slot) });
            } else {
                plan.unplaced.push(vip);
            }
        }

        for &word in self.filter.keys() {
            let bits = wanted_filter.get(&word).copied().unwrap_or(0);
            let present = self.filter.get(&word).copied().unwrap_or(0) | bits;
            if present != bits {
                ops.push(MapOp::SetFilter { word, bits });
            }
        }
        plan
    }
}

/// Whether going from `current` to `next` ends or shortens an answer.
fn is_withdrawal(current: &VipEntry, next: &VipEntry) -> bool {
    is_held(current) && (!is_held(next) || until(next) < until(current))
}

fn is_held(entry: &VipEntry) -> bool {
    entry.flags & HELD != 0
}

fn until(entry: &VipEntry) -> BootTime {
    BootTime::from_nanos(entry.valid_until_ns)
}

fn with_slot(wanted: WireEntry, slot: u32) -> VipEntry {
    match wanted {
        WireEntry::Answer { until } => {
            VipEntry { valid_until_ns: until.as_nanos(), slot, flags: HELD }
        }
        WireEntry::Silent | WireEntry::Probe { .. } => {
            VipEntry { valid_until_ns: 0, slot, flags: SILENT }
        }
    }
}

fn filter_of<'a>(vips: impl Iterator<Item = &'a Vip>) -> BTreeMap<u32, u64> {
    let mut filter = BTreeMap::new();
    for vip in vips {
        let (word, bit) = abi::filter_bit(vip.octets());
        *filter.entry(word).or_insert(0) |= bit;
    }
    filter
}

/// Which indices of VIP_ANSWERED are free; the lowest goes first.
struct Slots {
    used: BTreeSet<u32>,
    /// Below this all are used.
    lowest: u32,
    capacity: u32,
}

impl Slots {
    fn of<'a>(entries: impl Iterator<Item = &'a VipEntry>, capacity: u32) -> Self {
        Self { used: entries.map(|entry| entry.slot).collect(), lowest: 0, capacity }
    }

    fn release(&mut self, slot: u32) {
        self.used.remove(&slot);
        self.lowest = self.lowest.min(slot);
    }

    fn take(&mut self) -> Option<u32> {
        while self.used.contains(&self.lowest) {
            self.lowest += 1;
        }
        let slot = (self.lowest < self.capacity).then_some(self.lowest)?;
        self.used.insert(slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests;

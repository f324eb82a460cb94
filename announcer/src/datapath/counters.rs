//! Reads what the program counted.

use std::{collections::BTreeMap, fmt};

use aya::maps::{Array, MapData, PerCpuArray};

use announcer_ebpf::abi::{self, COUNTER_COUNT, Counter};

use super::{
    error::DatapathError,
    pins::PinDir,
    table::{VipTable, open},
};
use crate::types::Vip;

/// Reads the counters of one interface, from any task. Goes on after a detach,
/// with the last values.
pub struct CounterReader {
    counters: PerCpuArray<MapData, u64>,
    answered: Array<MapData, u64>,
    vips: VipTable,
}

impl fmt::Debug for CounterReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CounterReader").finish_non_exhaustive()
    }
}

/// The sums over all CPUs, since the maps were created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals([u64; COUNTER_COUNT as usize]);

impl Totals {
    /// One of them.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|&counter| (counter, self.get(counter)))
    }
}

/// Counters that are not named are 0.
impl FromIterator<(Counter, u64)> for Totals {
    fn from_iter<T: IntoIterator<Item = (Counter, u64)>>(totals: T) -> Self {
        let mut all = Self::default();
        for (counter, total) in totals {
            all.0[counter as usize] = total;
        }
        all
    }
}

impl CounterReader {
    pub(super) fn open(pins: &PinDir) -> Result<Self, DatapathError> {
        Ok(Self {
            counters: open(pins, abi::COUNTERS)?,
            answered: open(pins, abi::VIP_ANSWERED)?,
            vips: VipTable::open(pins)?,
        })
    }

    /// Frames by what became of them.
    ///
    /// # Errors
    /// [`DatapathError::Map`].
    pub fn totals(&self) -> Result<Totals, DatapathError> {
        let mut totals = Totals::default();
        for (&counter, total) in Counter::ALL.iter().zip(&mut totals.0) {
            *total = sum(&self.counters, abi::COUNTERS, counter as u32)?;
        }
        Ok(totals)
    }

    /// Requests answered for each VIP since it was added, whether it is held or silent now.
    ///
    /// # Errors
    /// [`DatapathError::Map`].
    pub fn answered(&self) -> Result<BTreeMap<Vip, u64>, DatapathError> {
        let answered = |slot: u32| {
            let count = self.answered.get(&slot, 0);
            count.map_err(|error| DatapathError::map(abi::VIP_ANSWERED, error))
        };
        let vips = self.vips.read()?;
        vips.into_iter().map(|(vip, entry)| Ok((vip, answered(entry.slot)?))).collect()
    }
}

fn sum(
    map: &PerCpuArray<MapData, u64>,
    name: &'static str,
    index: u32,
) -> Result<u64, DatapathError> {
    let values = map.get(&index, 0).map_err(|error| DatapathError::map(name, error))?;
    Ok(values.iter().sum())
}

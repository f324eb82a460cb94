//! The VIPs of one interface as the program finds them: most in an array, by the last two
//! octets of their addresses, and those that share these with another one in a hash map.

use std::net::Ipv4Addr;

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError},
};

use announcer_ebpf::abi::{self, DirectEntry, VipEntry};

use super::{error::DatapathError, maps, pins::PinDir};
use crate::types::Vip;

/// Where one is to be written is asked of the maps themselves, so that whoever adopts them
/// after a daemon that was killed goes on where it was.
pub(crate) struct VipTable {
    direct: Array<MapData, DirectEntry>,
    crowd: HashMap<MapData, [u8; 4], VipEntry>,
    filter: Array<MapData, u64>,
}

impl VipTable {
    /// Out of a loaded object.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            direct: maps::take(ebpf, abi::VIPS_DIRECT)?,
            crowd: maps::take(ebpf, abi::VIPS)?,
            filter: maps::take(ebpf, abi::VIP_FILTER)?,
        })
    }

    /// Those that are pinned.
    pub(crate) fn open(pins: &PinDir) -> Result<Self, DatapathError> {
        Ok(Self {
            direct: open(pins, abi::VIPS_DIRECT)?,
            crowd: open(pins, abi::VIPS)?,
            filter: open(pins, abi::VIP_FILTER)?,
        })
    }

    /// Whatever is no VIP was not written by us; it is left out.
    pub(crate) fn read(&self) -> Result<Vec<(Vip, VipEntry)>, DatapathError> {
        let mut entries = Vec::new();
        // What is in the array has its bit in the filter, which is 64 times as quick to read.
        for (word, mut bits) in self.read_filter()? {
            while bits != 0 {
                let index = word << 6 | bits.trailing_zeros();
                bits &= bits - 1;
                let place = self.direct.get(&index, 0);
                let place = place.map_err(|error| DatapathError::map(abi::VIPS_DIRECT, error))?;
                entries.extend(place.read(index));
            }
        }
        for item in self.crowd.iter() {
            entries.push(item.map_err(|error| DatapathError::map(abi::VIPS, error))?);
        }
        let vip = |octets| Vip::new(Ipv4Addr::from(octets).into()).ok();
        let known = entries.into_iter().filter_map(|(octets, entry)| Some((vip(octets)?, entry)));
        Ok(known.collect())
    }

    /// The words of the filter that are not zero.
    pub(crate) fn read_filter(&self) -> Result<Vec<(u32, u64)>, DatapathError> {
        let mut words = Vec::new();
        for word in 0..abi::FILTER_WORDS {
            let bits = self.filter.get(&word, 0);
            let bits = bits.map_err(|error| DatapathError::map(abi::VIP_FILTER, error))?;
            if bits != 0 {
                words.push((word, bits));
            }
        }
        Ok(words)
    }

    pub(crate) fn set_filter(&mut self, word: u32, bits: u64) -> Result<(), MapError> {
        self.filter.set(word, &bits, 0)
    }

    /// Inserts or replaces. A VIP stays where it is as long as it is there.
    pub(crate) fn put(&mut self, vip: Vip, entry: VipEntry) -> Result<(), MapError> {
        let octets = vip.octets();
        let index = abi::direct_index(octets);
        let place = self.direct.get(&index, 0)?;
        let is_free = match place.read(index) {
            Some((owner, _)) => owner == octets,
            None => !place.is_crowded() || !self.is_in_crowd(octets)?,
        };
        if is_free {
            return self.direct.set(index, &place.with(octets, entry), 0);
        }
        // First, so that there is never one in the crowd that is not looked for. It stays
        // when the crowd is gone, which costs a lookup.
        if !place.is_crowded() {
            self.direct.set(index, &place.crowded(), 0)?;
        }
        self.crowd.insert(&octets, &entry, 0)
    }

    /// Does nothing where it is not there.
    pub(crate) fn remove(&mut self, vip: Vip) -> Result<(), MapError> {
        let octets = vip.octets();
        let index = abi::direct_index(octets);
        let place = self.direct.get(&index, 0)?;
        if place.entry(octets).is_some() {
            return self.direct.set(index, &place.emptied(), 0);
        }
        match self.crowd.remove(&octets) {
            Err(MapError::KeyNotFound) => Ok(()),
            other => other,
        }
    }

    fn is_in_crowd(&self, octets: [u8; 4]) -> Result<bool, MapError> {
        match self.crowd.get(&octets, 0) {
            Err(MapError::KeyNotFound) => Ok(false),
            found => found.map(|_| true),
        }
    }
}

/// A pinned map.
pub(super) fn open<T>(pins: &PinDir, name: &'static str) -> Result<T, DatapathError>
where
    T: TryFrom<Map, Error = MapError>,
{
    MapData::from_pin(pins.map(name))
        .and_then(Map::from_map_data)
        .and_then(T::try_from)
        .map_err(|error| DatapathError::map(name, error))
}

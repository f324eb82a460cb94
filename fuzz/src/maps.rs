//! Arbitrary contents of the maps, and a frame, out of the octets of an input.

use std::cell::RefCell;

use announcer_ebpf::{
    Env, Frame, Overlay,
    abi::{self, ClaimRecord, Counter, InterfaceConfig, VipEntry, filter_bit},
};

/// First octet of an input: pings are answered.
pub const ANSWER_PING: u8 = 1;
/// First octet: others get frames through the interface.
pub const SHARED: u8 = 1 << 1;
/// First octet: the map CONFIG is empty.
pub const NO_CONFIG: u8 = 1 << 2;
/// First octet: as many echo requests were answered as may be.
pub const PINGS_SPENT: u8 = 1 << 3;
/// First octet: as many claims were reported as may be.
pub const CLAIMS_SPENT: u8 = 1 << 4;
/// First octet: the ring buffer has no room.
pub const RING_FULL: u8 = 1 << 5;
/// First octet: there is a tag beside the frame.
pub const TAG_BESIDE: u8 = 1 << 6;

/// A VIP in the maps.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub address: [u8; 4],
    /// As in the map: what no daemon writes, too.
    pub flags: u8,
    /// On the clock of the input, which begins at 0 and ends at 255.
    pub valid_until: u8,
}

/// What an input says, in this order: an octet of bits, the interface's MAC (6), the time
/// (1), the tag beside the frame (2), the number of VIPs (1; modulo 8), the VIPs (6 each),
/// and the frame.
#[derive(Clone, Debug)]
pub struct Input {
    pub bits: u8,
    pub mac: [u8; 6],
    pub now: u8,
    pub tag: u16,
    pub entries: Vec<Entry>,
    pub frame: Vec<u8>,
}

impl Input {
    /// `None` when it ends too early.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (&[bits, a, b, c, d, e, f, now, tag_high, tag_low, count], rest) =
            octets.split_first_chunk::<11>()?;
        let (entries, frame) = rest.split_at_checked(6 * usize::from(count % 8))?;
        let entries = entries.as_chunks::<6>().0.iter();
        let entries = entries.map(|&[a, b, c, d, flags, valid_until]| Entry {
            address: [a, b, c, d],
            flags,
            valid_until,
        });
        Some(Self {
            bits,
            mac: [a, b, c, d, e, f],
            now,
            tag: u16::from_be_bytes([tag_high, tag_low]),
            entries: entries.collect(),
            frame: frame.to_vec(),
        })
    }

    /// The inverse of [`Self::parse`], for at most seven VIPs.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut octets = vec![self.bits];
        octets.extend(self.mac);
        octets.push(self.now);
        octets.extend(self.tag.to_be_bytes());
        octets.push(u8::try_from(self.entries.len()).unwrap_or(u8::MAX));
        for entry in &self.entries {
            octets.extend(entry.address);
            octets.extend([entry.flags, entry.valid_until]);
        }
        octets.extend(&self.frame);
        octets
    }

    pub fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    /// The entry of a VIP, if it is one.
    pub fn entry(&self, address: [u8; 4]) -> Option<Entry> {
        self.entries.iter().copied().find(|entry| entry.address == address)
    }

    /// Whether an address is held here, and in time.
    pub fn is_held(&self, address: [u8; 4]) -> bool {
        let held = |entry: Entry| u32::from(entry.flags) & abi::HELD != 0;
        self.entry(address).is_some_and(|entry| held(entry) && self.now < entry.valid_until)
    }

    pub fn tag_beside(&self) -> Option<u16> {
        self.has(TAG_BESIDE).then_some(self.tag)
    }
}

/// A frame as tcx has it: the outermost tag may be beside it.
#[derive(Debug)]
pub struct Beside {
    pub octets: Vec<u8>,
    pub tag: Option<u16>,
}

impl Frame for Beside {
    fn overlay<T: Overlay>(&mut self) -> Option<&mut T> {
        self.octets.as_mut_slice().overlay()
    }

    fn length(&self) -> usize {
        self.octets.len()
    }

    fn tag_beside(&self) -> Option<u16> {
        self.tag
    }
}

/// The kernel's side: the input's maps, and what was counted and reported.
#[derive(Debug)]
pub struct Maps<'a> {
    input: &'a Input,
    pub counted: RefCell<Vec<Counter>>,
    pub claims: RefCell<Vec<ClaimRecord>>,
}

impl<'a> Maps<'a> {
    pub fn new(input: &'a Input) -> Self {
        Self { input, counted: RefCell::default(), claims: RefCell::default() }
    }
}

impl Env for Maps<'_> {
    fn maybe_vip(&self, address: [u8; 4]) -> bool {
        let known = self.input.entries.iter();
        known.map(|entry| filter_bit(entry.address)).any(|bit| bit == filter_bit(address))
    }

    fn vip(&self, address: [u8; 4]) -> Option<VipEntry> {
        let entry = self.input.entry(address)?;
        let valid_until_ns = entry.valid_until.into();
        Some(VipEntry { valid_until_ns, slot: 0, flags: entry.flags.into() })
    }

    fn config(&self) -> Option<InterfaceConfig> {
        let flag = |bit, flag| if self.input.has(bit) { flag } else { 0 };
        let config = InterfaceConfig {
            abi_version: abi::ABI_VERSION,
            flags: flag(ANSWER_PING, abi::ANSWER_PING) | flag(SHARED, abi::SHARED),
            mac: self.input.mac,
            reserved: [0; 2],
        };
        (!self.input.has(NO_CONFIG)).then_some(config)
    }

    fn boot_time(&self) -> u64 {
        self.input.now.into()
    }

    fn count(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter);
    }

    fn count_answered(&self, _: u32) {}

    fn claim_allowed(&self, _: u32, _: ([u8; 6], bool), _: u64) -> bool {
        !self.input.has(CLAIMS_SPENT)
    }

    fn ping_allowed(&self, _: u64) -> bool {
        !self.input.has(PINGS_SPENT)
    }

    fn report(&self, claim: ClaimRecord) -> bool {
        self.claims.borrow_mut().push(claim);
        !self.input.has(RING_FULL)
    }
}

//! The maps' names, keys and values. They outlive a daemon (pins), so any change
//! of a name, a layout or a meaning raises [`ABI_VERSION`].
//!
//! Addresses are octets in network order. Times are CLOCK_BOOTTIME nanoseconds.

/// Version of everything in this module. A daemon adopts pinned maps of its own
/// version only.
pub const ABI_VERSION: u32 = 4;

/// Name of the XDP program that answers in the driver (Linux 5.18, for frames in several
/// buffers).
pub const PROGRAM: &str = "announcer_xdp";
/// Name of the same program for generic XDP and for older kernels: a frame must lie in one
/// buffer.
pub const SINGLE_BUFFER_PROGRAM: &str = "announcer_1buf";
/// Name of the program for tcx ingress that answers (Linux 6.6).
pub const TCX_PROGRAM: &str = "announcer_tcx";
/// Name of the XDP program that passes every frame: the yardstick of benchmarks,
/// and the peer that native XDP on veth needs.
pub const EMPTY_PROGRAM: &str = "announcer_empty";
/// Name of the tcx program that leaves every frame to the next.
pub const EMPTY_TCX_PROGRAM: &str = "announcer_next";

/// `Array<DirectEntry>[DIRECT_ENTRIES]` by [`direct_index`]: the VIPs this node knows, but
/// for those in [`VIPS`].
pub const VIPS_DIRECT: &str = "VIPS_DIRECT";
/// `HashMap<[u8; 4], VipEntry>`: VIPs whose place in [`VIPS_DIRECT`] another one has.
pub const VIPS: &str = "VIPS";
/// `Array<u64>[FILTER_WORDS]`: a superset of the VIPs' bits, see [`filter_bit`].
pub const VIP_FILTER: &str = "VIP_FILTER";
/// `Array<u64>` by [`VipEntry::slot`]: requests answered, on whatever CPU.
pub const VIP_ANSWERED: &str = "VIP_ANSWERED";
/// `Array<u64>` by [`VipEntry::slot`]: when a claim to the VIP was last reported, and
/// whose; see [`claim_allowed`].
pub const VIP_CLAIMED: &str = "VIP_CLAIMED";
/// `PerCpuArray<u64>` by [`Counter`].
pub const COUNTERS: &str = "COUNTERS";
/// `Array<InterfaceConfig>[1]`.
pub const CONFIG: &str = "CONFIG";
/// `Array<SessionRecord>[1]`: userspace only.
pub const SESSION: &str = "SESSION";
/// `RingBuf` of [`ClaimRecord`].
pub const CLAIMS: &str = "CLAIMS";
/// `PerCpuArray<Budget>[1]`: claims reported.
pub const CLAIM_BUDGET: &str = "CLAIM_BUDGET";
/// `PerCpuArray<Budget>[1]`: echo requests answered.
pub const PING_BUDGET: &str = "PING_BUDGET";

/// Every map that is pinned.
pub const PINNED_MAPS: [&str; 11] = [
    VIPS_DIRECT,
    VIPS,
    VIP_FILTER,
    VIP_ANSWERED,
    VIP_CLAIMED,
    COUNTERS,
    CONFIG,
    SESSION,
    CLAIMS,
    CLAIM_BUDGET,
    PING_BUDGET,
];

/// Entries of [`VIPS`], [`VIP_ANSWERED`] and [`VIP_CLAIMED`] unless the loader
/// says otherwise: so many VIPs, in whichever map.
pub const DEFAULT_MAX_VIPS: u32 = 8192;
/// Size of [`CLAIMS`]: about 2,000 records.
pub const CLAIMS_BYTES: u32 = 64 * 1024;

/// A VIP is reported as claimed by the same station at most once in this many
/// nanoseconds. By another one than the last it is reported at once: a VIP may change
/// hands twice within this time, and a stranger that claims it all the time must not
/// hide the announcement of a new holder; nor must that holder's own answer to somebody.
pub const CLAIM_INTERVAL_NS: u64 = 100_000_000;
/// Claims that one CPU reports at most in one [`BUDGET_WINDOW_NS`], over all VIPs.
pub const CLAIM_BURST: u64 = 1024;
/// Echo requests that one CPU answers at most in one [`BUDGET_WINDOW_NS`]; more are
/// dropped, as the kernel's `icmp_msgs_per_sec` would.
pub const PING_BURST: u64 = 10_000;
/// Length of the window that a [`Budget`] is counted in.
pub const BUDGET_WINDOW_NS: u64 = 1_000_000_000;

/// [`VipEntry::flags`]: held here; answered before [`VipEntry::valid_until_ns`],
/// dropped from then on.
pub const HELD: u32 = 1;
/// [`VipEntry::flags`]: held elsewhere or by nobody; dropped, before
/// [`VipEntry::valid_until_ns`] if that is not 0, and else at any time.
pub const SILENT: u32 = 2;

/// [`InterfaceConfig::flags`]: ICMP echo requests to held VIPs are answered.
pub const ANSWER_PING: u32 = 1 << 17;

/// [`InterfaceConfig::flags`]: others than this host get frames through the interface
/// (it is a port of a bridge, or under a macvlan). What is not answered goes on to them.
pub const SHARED: u32 = 1 << 16;

/// What is to be done with requests for one VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipEntry {
    /// The first instant at which a held VIP is no longer answered, or at which a silent
    /// one is the kernel's again (0: never).
    pub valid_until_ns: u64,
    /// Index into [`VIP_ANSWERED`] and [`VIP_CLAIMED`].
    pub slot: u32,
    /// [`HELD`] or [`SILENT`].
    pub flags: u32,
}

/// Entries of [`VIPS_DIRECT`]: one for each value of an address's last two octets.
pub const DIRECT_ENTRIES: u32 = 1 << 16;

/// A [`VipEntry`] and whose it is, at the place that its address gives it.
///
/// What a request for one of many VIPs costs is memory that no cache has. A hash map's
/// bucket and element are some 90 octets a VIP in two places, this is 16 in one: an array of
/// 1 MiB, of which a CPU's own cache can hold most.
///
/// While the kernel copies one in, the program may read a part of it: an instant without
/// flags (no entry), or flags with the instant of the one before, which is of the same VIP,
/// or 0 (expired): an entry is emptied before another VIP has its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectEntry {
    /// [`VipEntry::valid_until_ns`].
    pub valid_until_ns: u64,
    /// [`VipEntry::slot`].
    pub slot: u32,
    /// The first two octets of the VIP.
    pub network: [u8; 2],
    /// [`VipEntry::flags`], 0 for no entry; and [`CROWDED`].
    pub flags: u16,
}

/// [`DirectEntry::flags`]: there may be VIPs with this place in [`VIPS`].
pub const CROWDED: u16 = 1 << 15;

impl DirectEntry {
    /// The entry of a VIP, in a place that is as crowded as `self`.
    #[expect(clippy::cast_possible_truncation, reason = "flags are below CROWDED")]
    pub const fn with(self, address: [u8; 4], entry: VipEntry) -> Self {
        Self {
            valid_until_ns: entry.valid_until_ns,
            slot: entry.slot,
            network: [address[0], address[1]],
            flags: entry.flags as u16 & !CROWDED | self.flags & CROWDED,
        }
    }

    /// No entry, in a place that is as crowded as `self`.
    pub const fn emptied(self) -> Self {
        Self { valid_until_ns: 0, slot: 0, network: [0; 2], flags: self.flags & CROWDED }
    }

    /// The same, and there may be VIPs with this place in [`VIPS`].
    pub const fn crowded(self) -> Self {
        Self { flags: self.flags | CROWDED, ..self }
    }

    /// Whether there may be VIPs with this place in [`VIPS`].
    #[inline(always)]
    pub const fn is_crowded(self) -> bool {
        self.flags & CROWDED != 0
    }

    /// Whose it is and what it says, if it says anything; `index` is its place.
    #[expect(clippy::cast_possible_truncation, reason = "below DIRECT_ENTRIES")]
    pub const fn read(self, index: u32) -> Option<([u8; 4], VipEntry)> {
        let ([a, b], [c, d]) = (self.network, (index as u16).to_be_bytes());
        match self.entry([a, b, c, d]) {
            Some(entry) => Some(([a, b, c, d], entry)),
            None => None,
        }
    }

    /// What it says of an address with this place.
    #[inline(always)]
    pub const fn entry(self, address: [u8; 4]) -> Option<VipEntry> {
        let flags = (self.flags & !CROWDED) as u32;
        if flags == 0 || self.network[0] != address[0] || self.network[1] != address[1] {
            return None;
        }
        Some(VipEntry { valid_until_ns: self.valid_until_ns, slot: self.slot, flags })
    }
}

/// The place of an address in [`VIPS_DIRECT`].
#[inline(always)]
pub const fn direct_index(address: [u8; 4]) -> u32 {
    u16::from_be_bytes([address[2], address[3]]) as u32
}

/// [`InterfaceConfig::flags`]: the operator named the hook.
pub const ASKED_FOR: u32 = 1;
/// [`InterfaceConfig::flags`]: it is the best that could be had.
pub const CHOSEN: u32 = 1 << 1;
/// [`InterfaceConfig::flags`]: native XDP would have done more harm than good (veth).
pub const NATIVE_UNWISE: u32 = 1 << 2;
/// [`InterfaceConfig::flags`]: the driver refused native XDP.
pub const NATIVE_REFUSED: u32 = 1 << 3;
/// [`InterfaceConfig::flags`]: the kernel has no tcx.
pub const NO_TCX: u32 = 1 << 4;
/// [`InterfaceConfig::flags`]: somebody else's XDP program was there.
pub const XDP_OCCUPIED: u32 = 1 << 5;

/// [`InterfaceConfig::flags`]: the bits that say why the hook is the one it is.
pub const REASONS: u32 = 0xffff;

/// What the program must know of its interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// [`ABI_VERSION`] of the writer; the first field in every version.
    pub abi_version: u32,
    /// Why the hook is the one it is, for `announcer status`: [`ASKED_FOR`] and the
    /// others within [`REASONS`]. Beside them [`SHARED`] and [`ANSWER_PING`].
    pub flags: u32,
    /// The interface's MAC.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

/// The longest session that [`SessionRecord`] holds, in octets.
pub const SESSION_LEN: usize = 120;

/// The session under which the held VIPs are answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// [`ABI_VERSION`] of the writer, or 0 for a record that was never written.
    pub abi_version: u32,
    /// Octets of `text` that are used; 0 for none.
    pub len: u32,
    /// UTF-8.
    pub text: [u8; SESSION_LEN],
}

/// [`ClaimRecord::operation`] of an ARP Probe (RFC 5227 section 1.1: a request in the name
/// of nobody), for a VIP that is not held here. No frame on the wire has this operation
/// (RFC 5494 section 3 reserves it).
pub const OPERATION_PROBE: u16 = 0;

/// A frame that claims a VIP for another MAC, or asks whether it may.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimRecord {
    /// When it was seen.
    pub at_ns: u64,
    /// The VIP: the ARP sender protocol address, of a probe the target.
    pub vip: [u8; 4],
    /// ARP sender hardware address.
    pub mac: [u8; 6],
    /// ARP operation, in host byte order, or [`OPERATION_PROBE`].
    pub operation: u16,
    /// ARP target protocol address: in an announcement the VIP, too. Of a probe zero.
    pub target: [u8; 4],
}

/// What a CPU has done in the current window of what it may do only so often.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// When the window began.
    pub window_start_ns: u64,
    /// How often since.
    pub spent: u64,
}

impl Budget {
    /// Whether it may be done once more at `now`, with so much to a window; if so it is
    /// counted.
    #[inline(always)]
    pub fn take(&mut self, burst: u64, now: u64) -> bool {
        if now.wrapping_sub(self.window_start_ns) >= BUDGET_WINDOW_NS {
            *self = Self { window_start_ns: now, spent: 0 };
        }
        let granted = self.spent < burst;
        self.spent += u64::from(granted);
        granted
    }
}

/// Whether a claim by `mac` at `now` to a VIP may be reported; if so both limits take
/// note. A station that announces counts as another one than when it does not.
///
/// `last` is the one before: in its low 48 bits the time in units of 1,024 ns (enough
/// for 9 years), in the others the three words of the MAC and whether it announced, added
/// without carry. Two stations for which that is the same share the interval.
#[inline(always)]
pub fn claim_allowed(
    last: &mut u64,
    budget: &mut Budget,
    (mac, announces): ([u8; 6], bool),
    now: u64,
) -> bool {
    const TIME: u64 = (1 << 48) - 1;
    let [a, b, c, d, e, f] = mac;
    let who = u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d]) ^ u16::from_be_bytes([e, f]);
    let who = who ^ u16::from(announces) << 15;
    let this = u64::from(who) << 48 | (now >> 10 & TIME);
    let same = (this ^ *last) & !TIME == 0;
    let again = same && this.wrapping_sub(*last) & TIME < CLAIM_INTERVAL_NS >> 10;
    let allowed = !again && budget.take(CLAIM_BURST, now);
    if allowed {
        *last = this;
    }
    allowed
}

/// Words of [`VIP_FILTER`]: one bit for each value of an address's last two octets.
pub const FILTER_WORDS: u32 = 1 << 10;

/// The word of [`VIP_FILTER`] and the bit in it for an address.
///
/// A segment carries far more ARP between other stations than for VIPs, and both
/// the target (to answer) and the sender (to see foreign claims) of each frame
/// must be looked up: two bit tests cost a fraction of one hash lookup. VIPs are
/// addresses of the segment, so the last 16 bits tell them from their neighbours,
/// exactly so on a /16 or smaller; a bit shared with another address costs a lookup.
#[inline(always)]
pub const fn filter_bit(address: [u8; 4]) -> (u32, u64) {
    let low = direct_index(address);
    (low >> 6, 1 << (low & 63))
}

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Index into [`COUNTERS`]. Each ARP frame counts as exactly one of the
        /// first group; other frames count nowhere, but for echo requests that are
        /// answered or dropped.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// All of them, in order of their index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// For metrics and status.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    /// Requests answered.
    Answered = "answered",
    /// Requests for a silent VIP, dropped.
    Silenced = "silenced",
    /// Requests for a held VIP whose time is over, dropped.
    Expired = "expired",
    /// Replies, passed.
    PassedReply = "passed_reply",
    /// Announcements (sender address = target address), passed.
    PassedAnnouncement = "passed_announcement",
    /// Requests for an address that is no VIP, passed.
    PassedOtherTarget = "passed_other_target",
    /// Requests for a VIP to a MAC that is neither broadcast nor ours, passed.
    PassedOtherDestination = "passed_other_destination",
    /// Requests for a VIP that is silent or whose time is over, passed to the others
    /// that get frames through the interface ([`SHARED`]).
    PassedShared = "passed_shared",
    /// Neither request nor reply, passed.
    PassedOtherOperation = "passed_other_operation",
    /// Shorter than an Ethernet/IPv4 ARP, passed.
    MalformedTruncated = "malformed_truncated",
    /// Hardware type is not Ethernet, passed.
    MalformedHardwareType = "malformed_hardware_type",
    /// Protocol type is not IPv4, passed.
    MalformedProtocolType = "malformed_protocol_type",
    /// Hardware address length is not 6, passed.
    MalformedHardwareLength = "malformed_hardware_length",
    /// Protocol address length is not 4, passed.
    MalformedProtocolLength = "malformed_protocol_length",
    /// Ethernet source is zero or a group address, passed.
    MalformedSource = "malformed_source",
    /// ARP sender hardware address is zero or a group address, passed.
    MalformedSender = "malformed_sender",
    /// ICMP echo requests answered.
    PingAnswered = "ping_answered",
    /// ICMP echo requests dropped because of the rate limit.
    PingLimited = "ping_limited",
    /// Foreign claims put into the ring buffer (beside the frame's own counter).
    ClaimReported = "claim_reported",
    /// Foreign claims not reported because of the rate limits.
    ClaimLimited = "claim_limited",
    /// Foreign claims lost because the ring buffer was full.
    ClaimLost = "claim_lost",
}

/// Entries of [`COUNTERS`].
pub const COUNTER_COUNT: u32 = Counter::ClaimLost as u32 + 1;

const _: () = {
    use core::mem::offset_of;

    assert!(size_of::<VipEntry>() == 16 && align_of::<VipEntry>() == 8);
    assert!(size_of::<DirectEntry>() == 16 && offset_of!(DirectEntry, slot) == 8);
    assert!(offset_of!(DirectEntry, network) == 12 && offset_of!(DirectEntry, flags) == 14);
    assert!(DIRECT_ENTRIES == FILTER_WORDS * u64::BITS);
    assert!(offset_of!(VipEntry, slot) == 8 && offset_of!(VipEntry, flags) == 12);
    assert!(size_of::<InterfaceConfig>() == 16 && offset_of!(InterfaceConfig, abi_version) == 0);
    assert!(offset_of!(InterfaceConfig, mac) == 8);
    assert!(size_of::<SessionRecord>() == 128 && offset_of!(SessionRecord, text) == 8);
    assert!(size_of::<ClaimRecord>() == 24 && offset_of!(ClaimRecord, vip) == 8);
    assert!(offset_of!(ClaimRecord, mac) == 12 && offset_of!(ClaimRecord, operation) == 18);
    assert!(offset_of!(ClaimRecord, target) == 20);
    assert!(size_of::<Budget>() == 16);
    assert!(COUNTER_COUNT as usize == Counter::ALL.len());
    assert!(FILTER_WORDS * u64::BITS == 1 << 16);
};

#[cfg(feature = "user")]
mod user {
    use super::{Budget, DirectEntry, InterfaceConfig, SessionRecord, VipEntry};

    // SAFETY: repr(C), no padding (asserted above), every bit pattern is a value.
    unsafe impl aya::Pod for VipEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for DirectEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for InterfaceConfig {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SessionRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Budget {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [192, 0, 2, 10];
    /// Has the place of `VIP`.
    const ALIKE: [u8; 4] = [10, 9, 2, 10];
    const ENTRY: VipEntry = VipEntry { valid_until_ns: 7, slot: 3, flags: HELD };

    #[test]
    fn a_place_says_something_of_its_owner_alone() {
        assert_eq!(direct_index(VIP), direct_index(ALIKE));
        let place = DirectEntry::default().with(VIP, ENTRY);
        assert_eq!((place.entry(VIP), place.entry(ALIKE)), (Some(ENTRY), None));
        assert_eq!(place.read(direct_index(VIP)), Some((VIP, ENTRY)));
        let empty = place.emptied();
        assert_eq!((empty, empty.entry(VIP)), (DirectEntry::default(), None));
        // An array begins as zeroes, which are nobody's: not 0.0.2.10's either.
        assert_eq!(DirectEntry::default().entry([0, 0, 2, 10]), None);
    }

    #[test]
    fn a_crowd_is_remembered_beside_the_owner() {
        let place = DirectEntry::default().with(VIP, ENTRY);
        assert!(!place.is_crowded());
        let crowded = place.crowded();
        assert!(crowded.is_crowded());
        assert_eq!(crowded.entry(VIP), Some(ENTRY));
        let silent = VipEntry { flags: SILENT, valid_until_ns: 0, ..ENTRY };
        for next in [crowded.emptied(), crowded.with(ALIKE, silent)] {
            assert!(next.is_crowded());
            assert_eq!(next.entry(VIP), None);
        }
        assert_eq!(crowded.with(ALIKE, silent).entry(ALIKE), Some(silent));
    }
}

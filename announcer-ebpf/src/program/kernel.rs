//! Maps, and the kernel's side of [`Env`].

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use announcer_ebpf::{
    Env,
    abi::{
        self, Budget, ClaimRecord, Counter, DirectEntry, InterfaceConfig, SessionRecord, VipEntry,
    },
};
use aya_ebpf::{
    EbpfContext,
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use aya_log_ebpf::info;

#[map]
static VIPS_DIRECT: Array<DirectEntry> = Array::with_max_entries(abi::DIRECT_ENTRIES, 0);
#[map]
static VIPS: HashMap<[u8; 4], VipEntry> = HashMap::with_max_entries(abi::DEFAULT_MAX_VIPS, 0);
#[map]
static VIP_FILTER: Array<u64> = Array::with_max_entries(abi::FILTER_WORDS, 0);
#[map]
static VIP_ANSWERED: Array<u64> = Array::with_max_entries(abi::DEFAULT_MAX_VIPS, 0);
#[map]
static VIP_CLAIMED: Array<u64> = Array::with_max_entries(abi::DEFAULT_MAX_VIPS, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(abi::COUNTER_COUNT, 0);
#[map]
static CONFIG: Array<InterfaceConfig> = Array::with_max_entries(1, 0);
#[map]
static SESSION: Array<SessionRecord> = Array::with_max_entries(1, 0);
#[map]
static CLAIMS: RingBuf = RingBuf::with_byte_size(abi::CLAIMS_BYTES, 0);
#[map]
static CLAIM_BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);
#[map]
static PING_BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);

/// The context is for the log.
pub(super) struct Kernel<'a, C>(pub(super) &'a C);

impl<C: EbpfContext> Env for Kernel<'_, C> {
    #[inline(always)]
    fn maybe_vip(&self, address: [u8; 4]) -> bool {
        let (word, bit) = abi::filter_bit(address);
        VIP_FILTER.get(word).is_some_and(|bits| bits & bit != 0)
    }

    #[inline(always)]
    fn vip(&self, address: [u8; 4]) -> Option<VipEntry> {
        let place = *VIPS_DIRECT.get(abi::direct_index(address))?;
        if let Some(entry) = place.entry(address) {
            return Some(entry);
        }
        if !place.is_crowded() {
            return None;
        }
        // SAFETY: an entry that is replaced in the very nanoseconds between lookup
        // and read may be read as its successor. All of its bit patterns are
        // values, and the writer replaces nothing without need.
        unsafe { VIPS.get(&address) }.copied()
    }

    #[inline(always)]
    fn config(&self) -> Option<InterfaceConfig> {
        CONFIG.get(0).copied()
    }

    #[inline(always)]
    fn boot_time(&self) -> u64 {
        // SAFETY: no arguments; Linux 5.8.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        add_one(&COUNTERS, counter as u32);
    }

    #[inline(always)]
    fn count_answered(&self, slot: u32) {
        // One word for all CPUs: of many VIPs that is half the memory of a word each and the
        // pointer to it, and the requests for one VIP seldom come to two CPUs at once.
        if let Some(count) = VIP_ANSWERED.get_ptr_mut(slot) {
            // SAFETY: an aligned word of a map, which programs only ever add to.
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, 1) };
        }
    }

    #[inline(always)]
    fn claim_allowed(&self, slot: u32, by: ([u8; 6], bool), now: u64) -> bool {
        let (Some(last), Some(budget)) =
            (VIP_CLAIMED.get_ptr_mut(slot), CLAIM_BUDGET.get_ptr_mut(0))
        else {
            return false;
        };
        // SAFETY: map values, valid while the program runs. Two CPUs that race
        // for `last` may both report, which its budget bounds; `budget` is this CPU's.
        let (last, budget) = unsafe { (&mut *last, &mut *budget) };
        abi::claim_allowed(last, budget, by, now)
    }

    #[inline(always)]
    fn ping_allowed(&self, now: u64) -> bool {
        let Some(budget) = PING_BUDGET.get_ptr_mut(0) else { return false };
        // SAFETY: this CPU's value, valid while the program runs.
        unsafe { &mut *budget }.take(abi::PING_BURST, now)
    }

    #[inline(always)]
    fn report(&self, claim: ClaimRecord) -> bool {
        // Compiled away by the verifier unless a log level was set at load time.
        info!(self.0, "{:i} is claimed by {:mac}", u32::from_be_bytes(claim.vip), claim.mac);
        let Some(mut entry) = CLAIMS.reserve::<ClaimRecord>(0) else { return false };
        entry.write(claim);
        entry.submit(0);
        true
    }
}

#[inline(always)]
fn add_one(map: &PerCpuArray<u64>, index: u32) {
    if let Some(count) = map.get_ptr_mut(index) {
        // SAFETY: this CPU's value; both hooks run in softirq, which does not nest.
        unsafe { *count += 1 };
    }
}

//! The loaded programs do what the library says: the same frames, the same verdicts.

mod frames;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use announcer::{datapath::OBJECT, types::BootTime};
use announcer_ebpf::{
    Env, Verdict,
    abi::{
        self, Budget, ClaimRecord, Counter, DirectEntry, HELD, InterfaceConfig, SILENT, VipEntry,
        filter_bit,
    },
    verdict,
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, PerCpuArray, PerCpuValues},
    programs::{Program, TestRun as _, TestRunOptions},
};

use self::frames::{ADDRESSES, Frames};
use crate::segment::{OURS, arp};

const VIPS: [([u8; 4], u32); 3] =
    [(ADDRESSES[0], HELD), (ADDRESSES[1], SILENT), (ADDRESSES[2], HELD)];
const EXPIRED: [u8; 4] = ADDRESSES[2];
/// What an interface may be set to, in turn.
const FLAGS: [u32; 5] =
    [abi::ANSWER_PING, 0, abi::ANSWER_PING | abi::SHARED, abi::ANSWER_PING, abi::SHARED];

const fn config(flags: u32) -> InterfaceConfig {
    InterfaceConfig { abi_version: abi::ABI_VERSION, flags, mac: OURS, reserved: [0; 2] }
}

fn entry(address: [u8; 4], flags: u32, slot: u32) -> VipEntry {
    let hour = BootTime::now() + Duration::from_secs(3600);
    let until = if address == EXPIRED || flags == SILENT { BootTime::ZERO } else { hour };
    VipEntry { valid_until_ns: until.as_nanos(), slot, flags }
}

/// The maps as the program has them, on the host.
struct Host {
    vips: BTreeMap<[u8; 4], VipEntry>,
    config: Cell<InterfaceConfig>,
    counters: RefCell<BTreeMap<Counter, u64>>,
    claimed: RefCell<BTreeMap<u32, u64>>,
}

impl Host {
    /// Gives both sides the settings whose turn it is, and a new window of the budget for
    /// echo requests.
    fn configure(&self, ebpf: &mut Ebpf, turn: usize) {
        self.config.set(config(FLAGS[turn % FLAGS.len()]));
        map::<Array<_, _>>(ebpf, abi::CONFIG).set(0, &self.config.get(), 0).expect("set");
        let mut budget: PerCpuArray<_, Budget> = map(ebpf, abi::PING_BUDGET);
        let cpus = budget.get(&0, 0).expect("readable").len();
        let unspent = PerCpuValues::try_from(vec![Budget::default(); cpus]).expect("as many");
        budget.set(0, unspent, 0).expect("set");
    }
}

/// Which claims the rate limits let through.
const fn depends_on_time(counter: Counter) -> bool {
    use Counter::{ClaimLimited, ClaimLost, ClaimReported, PingLimited};
    matches!(counter, ClaimReported | ClaimLimited | ClaimLost | PingLimited)
}

impl Env for Host {
    fn maybe_vip(&self, address: [u8; 4]) -> bool {
        self.vips.keys().any(|vip| filter_bit(*vip) == filter_bit(address))
    }

    fn vip(&self, address: [u8; 4]) -> Option<VipEntry> {
        self.vips.get(&address).copied()
    }

    fn config(&self) -> Option<InterfaceConfig> {
        Some(self.config.get())
    }

    fn boot_time(&self) -> u64 {
        BootTime::now().as_nanos()
    }

    fn count(&self, counter: Counter) {
        *self.counters.borrow_mut().entry(counter).or_default() += 1;
    }

    fn count_answered(&self, _: u32) {}

    fn claim_allowed(&self, slot: u32, by: ([u8; 6], bool), now: u64) -> bool {
        let mut claimed = self.claimed.borrow_mut();
        abi::claim_allowed(claimed.entry(slot).or_default(), &mut Budget::default(), by, now)
    }

    /// So few are asked for between two settings of the budget.
    fn ping_allowed(&self, _: u64) -> bool {
        true
    }

    fn report(&self, _: ClaimRecord) -> bool {
        true
    }
}

fn map<'a, T: TryFrom<&'a mut Map, Error = aya::maps::MapError>>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> T {
    let map = ebpf.map_mut(name).unwrap_or_else(|| panic!("no map {name}"));
    map.try_into().unwrap_or_else(|error| panic!("map {name}: {error}"))
}

/// The programs that answer.
const PROGRAMS: [&str; 3] = [abi::PROGRAM, abi::SINGLE_BUFFER_PROGRAM, abi::TCX_PROGRAM];

fn load(name: &str) -> (Ebpf, Host) {
    let mut ebpf = EbpfLoader::new()
        .override_global("AYA_LOG_LEVEL", &0_u8, true)
        .load(OBJECT)
        .expect("the object loads");
    let mut vips = BTreeMap::new();
    let mut filter = BTreeMap::new();
    for (slot, (address, flags)) in (0..).zip(VIPS) {
        vips.insert(address, entry(address, flags, slot));
        let (word, bit) = filter_bit(address);
        *filter.entry(word).or_insert(0) |= bit;
    }
    for (address, entry) in &vips {
        let index = abi::direct_index(*address);
        let place = DirectEntry::default().with(*address, *entry);
        map::<Array<_, _>>(&mut ebpf, abi::VIPS_DIRECT).set(index, &place, 0).expect("set");
    }
    for (word, bits) in filter {
        map::<Array<_, u64>>(&mut ebpf, abi::VIP_FILTER).set(word, &bits, 0).expect("set");
    }
    load_program(&mut ebpf, name);
    let host = Host {
        vips,
        config: Cell::default(),
        counters: RefCell::default(),
        claimed: RefCell::default(),
    };
    host.configure(&mut ebpf, 0);
    (ebpf, host)
}

fn load_program(ebpf: &mut Ebpf, name: &str) {
    match ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}")) {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => panic!("{name} is of another kind"),
    }
    .expect("the verifier accepts it");
}

/// What a program does with a frame, as the library says it, and the frame afterwards.
fn run(ebpf: &Ebpf, name: &str, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let mut out = vec![0; frame.len() + 64];
    let options =
        TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let (result, actions) = match ebpf.program(name).expect("it is loaded") {
        Program::Xdp(program) => (program.test_run(options), XDP_ACTIONS),
        Program::SchedClassifier(program) => (program.test_run(options), TCX_ACTIONS),
        _ => panic!("{name} is of another kind"),
    };
    let result = result.expect("a test run");
    out.truncate(usize::try_from(result.data_size_out).expect("a length"));
    let meant = actions.iter().find(|(action, _)| *action == result.return_value);
    (meant.unwrap_or_else(|| panic!("{name} returned {}", result.return_value)).1, out)
}

/// XDP_DROP, XDP_PASS, XDP_TX.
const XDP_ACTIONS: [(u32, Verdict); 3] =
    [(1, Verdict::Drop), (2, Verdict::Pass), (3, Verdict::Transmit)];
/// TCX_DROP, TCX_NEXT, TCX_REDIRECT.
const TCX_ACTIONS: [(u32, Verdict); 3] =
    [(2, Verdict::Drop), (u32::MAX, Verdict::Pass), (7, Verdict::Transmit)];

/// Frames for each program: a million, and some, in all.
const FRAMES: u32 = 340_000;
/// Frames with the same settings; fewer than the echo requests that a CPU may answer in a
/// second, so that the limit is never met.
const BATCH: u32 = 5000;
const _: () = assert!((BATCH as u64) < abi::PING_BURST);

/// More than so often each reason for a verdict must have come, and each verdict
/// [`VERY`] times as often.
const OFTEN: u64 = 500;
const VERY: u64 = 20;

/// The program does with each frame what the library says, and counts it as the library does.
fn assert_agreement(name: &str) {
    let (mut ebpf, host) = load(name);
    let mut frames = Frames::new(826);
    let mut seen = BTreeMap::new();
    let mut ran = 0;
    while ran < FRAMES {
        if ran % BATCH == 0 {
            host.configure(&mut ebpf, (ran / BATCH) as usize);
        }
        let frame = frames.next();
        if name == abi::TCX_PROGRAM && is_refused_at_tcx(&frame) {
            continue;
        }
        let mut expected = frame.clone();
        let verdict = verdict(&mut expected[..], &host);
        let result = run(&ebpf, name, &frame);
        assert_eq!(result, (verdict, expected), "{name}: {:x?}: {frame:02x?}", host.config());
        *seen.entry(verdict as u32).or_insert(0) += 1;
        ran += 1;
    }
    for verdict in [Verdict::Drop, Verdict::Pass, Verdict::Transmit] {
        assert!(seen[&(verdict as u32)] > VERY * OFTEN, "the frames are too much alike: {seen:?}");
    }
    let counters: PerCpuArray<_, u64> = map(&mut ebpf, abi::COUNTERS);
    let expected = host.counters.into_inner();
    for &counter in Counter::ALL {
        if depends_on_time(counter) {
            continue;
        }
        let expected = expected.get(&counter).copied().unwrap_or(0);
        let values = counters.get(&(counter as u32), 0).expect("readable");
        assert_eq!(values.iter().sum::<u64>(), expected, "{name}: {}", counter.name());
        assert!(expected > OFTEN, "too few frames are {}: {expected}", counter.name());
    }
}

/// A test run at tcx wants a whole IP header of what says that it is IP.
fn is_refused_at_tcx(frame: &[u8]) -> bool {
    let header = match frame[12..14] {
        [0x08, 0x00] => 20,
        [0x86, 0xdd] => 40,
        _ => 0,
    };
    frame.len() < 14 + header
}

#[test]
fn the_xdp_program_agrees_with_the_library() {
    assert_agreement(abi::PROGRAM);
}

#[test]
fn the_single_buffer_program_agrees_with_the_library() {
    assert_agreement(abi::SINGLE_BUFFER_PROGRAM);
}

#[test]
fn the_tcx_program_agrees_with_the_library() {
    assert_agreement(abi::TCX_PROGRAM);
}

#[test]
fn every_length_agrees() {
    let mut whole = arp(1, [192, 0, 2, 2], [192, 0, 2, 10]);
    whole.resize(1500, 0xa5);
    for name in PROGRAMS {
        let (ebpf, host) = load(name);
        for len in (14..128).chain([1500]) {
            let mut expected = whole[..len].to_vec();
            let verdict = verdict(&mut expected[..], &host);
            assert_eq!(verdict == Verdict::Transmit, len >= 42);
            let result = run(&ebpf, name, &whole[..len]);
            assert_eq!(result, (verdict, expected), "{name}: {len} octets");
        }
    }
}

#[test]
fn the_empty_programs_pass_everything() {
    let frame = arp(1, [192, 0, 2, 2], [192, 0, 2, 10]);
    for name in [abi::EMPTY_PROGRAM, abi::EMPTY_TCX_PROGRAM] {
        let mut ebpf = Ebpf::load(OBJECT).expect("the object loads");
        load_program(&mut ebpf, name);
        assert_eq!(run(&ebpf, name, &frame), (Verdict::Pass, frame.clone()));
    }
}

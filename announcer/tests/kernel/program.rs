//! The loaded programs do what the library says: the same frames, the same verdicts.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use announcer::{datapath::OBJECT, types::BootTime};
use announcer_ebpf::{
    Env, Verdict,
    abi::{
        self, Budget, ClaimRecord, Counter, HELD, InterfaceConfig, SILENT, VipEntry, filter_bit,
    },
    verdict,
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, PerCpuArray},
    programs::{Program, TestRun as _, TestRunOptions},
};
use proptest::{
    prelude::{Strategy, any, prop, prop_oneof},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use crate::segment::{ASKER, OURS, arp};

const VIPS: [([u8; 4], u32); 3] =
    [([192, 0, 2, 10], HELD), ([192, 0, 2, 11], SILENT), ([192, 0, 2, 12], HELD)];
const EXPIRED: [u8; 4] = [192, 0, 2, 12];
const ADDRESSES: [[u8; 4]; 7] = [
    [192, 0, 2, 10],
    [192, 0, 2, 11],
    [192, 0, 2, 12],
    [192, 0, 2, 99],
    [10, 9, 2, 10], // The filter takes it for the first.
    [192, 0, 2, 2],
    [0, 0, 0, 0],
];

const CONFIG: InterfaceConfig = InterfaceConfig {
    abi_version: abi::ABI_VERSION,
    flags: abi::ANSWER_PING,
    mac: OURS,
    reserved: [0; 2],
};

fn entry(address: [u8; 4], flags: u32, slot: u32) -> VipEntry {
    let hour = BootTime::now() + Duration::from_secs(3600);
    let until = if address == EXPIRED || flags == SILENT { BootTime::ZERO } else { hour };
    VipEntry { valid_until_ns: until.as_nanos(), slot, flags }
}

/// The maps as the program has them, on the host.
struct Host {
    vips: BTreeMap<[u8; 4], VipEntry>,
    counters: RefCell<BTreeMap<Counter, u64>>,
    claimed: RefCell<BTreeMap<u32, u64>>,
}

impl Env for Host {
    fn maybe_vip(&self, address: [u8; 4]) -> bool {
        self.vips.keys().any(|vip| filter_bit(*vip) == filter_bit(address))
    }

    fn vip(&self, address: [u8; 4]) -> Option<VipEntry> {
        self.vips.get(&address).copied()
    }

    fn config(&self) -> Option<InterfaceConfig> {
        Some(CONFIG)
    }

    fn boot_time(&self) -> u64 {
        BootTime::now().as_nanos()
    }

    fn count(&self, counter: Counter) {
        // Which claims the rate limit lets through depends on the time.
        if !matches!(counter, Counter::ClaimReported | Counter::ClaimLimited | Counter::ClaimLost) {
            *self.counters.borrow_mut().entry(counter).or_default() += 1;
        }
    }

    fn count_answered(&self, _: u32) {}

    fn claim_allowed(&self, slot: u32, by: ([u8; 6], bool), now: u64) -> bool {
        let mut claimed = self.claimed.borrow_mut();
        abi::claim_allowed(claimed.entry(slot).or_default(), &mut Budget::default(), by, now)
    }

    /// Few are asked for here.
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
        map::<HashMap<_, _, _>>(&mut ebpf, abi::VIPS).insert(address, entry, 0).expect("inserted");
    }
    for (word, bits) in filter {
        map::<Array<_, u64>>(&mut ebpf, abi::VIP_FILTER).set(word, &bits, 0).expect("set");
    }
    map::<Array<_, _>>(&mut ebpf, abi::CONFIG).set(0, &CONFIG, 0).expect("set");
    load_program(&mut ebpf, name);
    let host = Host { vips, counters: RefCell::default(), claimed: RefCell::default() };
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

/// A frame that the program has to think about, with some octets wrong.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => arps(), 1 => pings()]
}

/// An echo request, mostly whole.
fn pings() -> impl Strategy<Value = Vec<u8>> {
    let address = || prop::sample::select(ADDRESSES.to_vec());
    let wrong = prop::collection::vec((0_usize..42, any::<u8>()), 0..2);
    (address(), address(), wrong, 0_usize..80, 0_usize..100).prop_map(|parts| {
        let (source, destination, wrong, data, cut) = parts;
        let mut frame = ping(source, destination, data);
        for (at, octet) in wrong {
            frame[at] = octet;
        }
        // A test run at tcx wants a whole IP header.
        if cut < 8 {
            frame.truncate(frame.len() - cut);
        }
        frame
    })
}

fn ping(source: [u8; 4], destination: [u8; 4], data: usize) -> Vec<u8> {
    let mut frame = [OURS, ASKER].concat();
    frame.extend([0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 55, 1, 0, 0];
    ip[2..4].copy_from_slice(&u16::try_from(28 + data).expect("small").to_be_bytes());
    ip.extend([source, destination].concat());
    let sum: u32 = ip.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("one carry at most");
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([8, 0, 0x12, 0x34, 0, 7, 0, 1]);
    frame.resize(frame.len() + data, 0x5a);
    frame
}

/// An ARP with or without tags.
fn arps() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop::sample::select(vec![[0x81, 0, 0xe0, 0], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 5]]);
    let address = || prop::sample::select(ADDRESSES.to_vec());
    let operation = prop::sample::select(vec![1_u8, 1, 1, 2, 3]);
    let wrong = prop::collection::vec((0_usize..54, any::<u8>()), 0..3);
    let shape = (operation, address(), address(), prop::collection::vec(tag, 0..3));
    (shape, wrong, 14_usize..120, any::<bool>()).prop_map(|(shape, wrong, len, whole)| {
        let (operation, sender, target, tags) = shape;
        let mut frame = arp(operation, sender, target);
        frame.splice(12..12, tags.concat());
        for (at, octet) in wrong {
            frame[at] = octet;
        }
        if !whole {
            frame.resize(len, 0x5a);
        }
        frame
    })
}

#[test]
fn the_loaded_programs_agree_with_the_library() {
    for name in PROGRAMS {
        let (mut ebpf, host) = load(name);
        let mut runner = TestRunner::deterministic();
        let strategy = frames();
        let mut seen = BTreeMap::new();
        for _ in 0..8000 {
            let frame = strategy.new_tree(&mut runner).expect("a frame").current();
            let mut expected = frame.clone();
            let verdict = verdict(&mut expected[..], &host);
            let result = run(&ebpf, name, &frame);
            assert_eq!(result, (verdict, expected), "{name}: {frame:02x?}");
            *seen.entry(verdict as u32).or_insert(0_u32) += 1;
        }
        for verdict in [Verdict::Drop, Verdict::Pass, Verdict::Transmit] {
            assert!(seen[&(verdict as u32)] > 100, "the frames are too much alike: {seen:?}");
        }
        let counters: PerCpuArray<_, u64> = map(&mut ebpf, abi::COUNTERS);
        for (counter, expected) in host.counters.into_inner() {
            let values = counters.get(&(counter as u32), 0).expect("readable");
            assert_eq!(values.iter().sum::<u64>(), expected, "{name}: {}", counter.name());
        }
    }
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

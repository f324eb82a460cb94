#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
};

use proptest::prelude::*;

use super::*;
use crate::abi::{Budget, COUNTER_COUNT, HELD, SILENT, filter_bit};

mod beside;

pub(crate) const OURS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(crate) const ASKER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub(crate) const ASKER_IP: [u8; 4] = [192, 0, 2, 2];
pub(crate) const HELD_VIP: [u8; 4] = [192, 0, 2, 10];
pub(crate) const SILENT_VIP: [u8; 4] = [192, 0, 2, 11];
pub(crate) const EXPIRED_VIP: [u8; 4] = [192, 0, 2, 12];
pub(crate) const NO_VIP: [u8; 4] = [192, 0, 2, 99];
/// Shares its filter bit with `HELD_VIP`.
pub(crate) const LOOKALIKE: [u8; 4] = [10, 9, 2, 10];
const NOW: u64 = 1_000_000_000_000;
const HELD_SLOT: u32 = 3;

/// The maps, out of host collections.
pub(crate) struct Fake {
    vips: HashMap<[u8; 4], VipEntry>,
    filter: BTreeMap<u32, u64>,
    pub(crate) flags: Cell<u32>,
    now: Cell<u64>,
    counters: RefCell<[u64; COUNTER_COUNT as usize]>,
    answered: RefCell<BTreeMap<u32, u64>>,
    claimed: RefCell<HashMap<u32, u64>>,
    budget: RefCell<Budget>,
    pings: RefCell<Budget>,
    claims: RefCell<Vec<ClaimRecord>>,
    ring_is_full: Cell<bool>,
    clock_reads: Cell<u32>,
    lookups: Cell<u32>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let held = VipEntry { valid_until_ns: NOW + 1, slot: HELD_SLOT, flags: HELD };
        let vips = HashMap::from([
            (HELD_VIP, held),
            (EXPIRED_VIP, VipEntry { valid_until_ns: NOW, slot: 4, flags: HELD }),
            (SILENT_VIP, VipEntry { valid_until_ns: 0, slot: 5, flags: SILENT }),
        ]);
        let mut filter = BTreeMap::new();
        for vip in vips.keys() {
            let (word, bit) = filter_bit(*vip);
            *filter.entry(word).or_insert(0) |= bit;
        }
        Self {
            vips,
            filter,
            flags: Cell::new(abi::ANSWER_PING),
            now: Cell::new(NOW),
            counters: RefCell::new([0; COUNTER_COUNT as usize]),
            answered: RefCell::default(),
            claimed: RefCell::default(),
            budget: RefCell::default(),
            pings: RefCell::default(),
            claims: RefCell::default(),
            ring_is_full: Cell::new(false),
            clock_reads: Cell::new(0),
            lookups: Cell::new(0),
        }
    }

    pub(crate) fn counted(&self) -> Vec<(Counter, u64)> {
        let counters = self.counters.borrow();
        let all = Counter::ALL.iter().map(|&counter| (counter, counters[counter as usize]));
        all.filter(|(_, count)| *count != 0).collect()
    }
}

impl Env for Fake {
    fn maybe_vip(&self, address: [u8; 4]) -> bool {
        let (word, bit) = filter_bit(address);
        self.filter.get(&word).is_some_and(|bits| bits & bit != 0)
    }

    fn vip(&self, address: [u8; 4]) -> Option<VipEntry> {
        self.lookups.set(self.lookups.get() + 1);
        self.vips.get(&address).copied()
    }

    fn config(&self) -> Option<InterfaceConfig> {
        let flags = self.flags.get();
        Some(InterfaceConfig { mac: OURS, flags, ..InterfaceConfig::default() })
    }

    fn boot_time(&self) -> u64 {
        self.clock_reads.set(self.clock_reads.get() + 1);
        self.now.get()
    }

    fn count(&self, counter: Counter) {
        self.counters.borrow_mut()[counter as usize] += 1;
    }

    fn count_answered(&self, slot: u32) {
        *self.answered.borrow_mut().entry(slot).or_insert(0) += 1;
    }

    fn claim_allowed(&self, slot: u32, by: ([u8; 6], bool), now: u64) -> bool {
        abi::claim_allowed(
            self.claimed.borrow_mut().entry(slot).or_default(),
            &mut self.budget.borrow_mut(),
            by,
            now,
        )
    }

    fn ping_allowed(&self, now: u64) -> bool {
        self.pings.borrow_mut().take(abi::PING_BURST, now)
    }

    fn report(&self, claim: ClaimRecord) -> bool {
        if !self.ring_is_full.get() {
            self.claims.borrow_mut().push(claim);
        }
        !self.ring_is_full.get()
    }
}

/// An ARP as it comes from the wire, built octet by octet.
#[derive(Clone)]
struct Arp {
    destination: [u8; 6],
    source: [u8; 6],
    tags: Vec<[u8; 4]>,
    ethertype: [u8; 2],
    format: [u8; 8],
    sender_mac: [u8; 6],
    sender: [u8; 4],
    target_mac: [u8; 6],
    target: [u8; 4],
    trailer: Vec<u8>,
}

impl Arp {
    fn request(target: [u8; 4]) -> Self {
        Self {
            destination: [0xff; 6],
            source: ASKER,
            tags: Vec::new(),
            ethertype: [0x08, 0x06],
            format: [0, 1, 0x08, 0x00, 6, 4, 0, 1],
            sender_mac: ASKER,
            sender: ASKER_IP,
            target_mac: [0; 6],
            target,
            trailer: (0..18).collect(),
        }
    }

    fn reply(sender: [u8; 4]) -> Self {
        Self { format: [0, 1, 0x08, 0x00, 6, 4, 0, 2], sender, ..Self::request(ASKER_IP) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        bytes.extend(self.tags.concat());
        bytes.extend(self.ethertype);
        bytes.extend(self.format);
        bytes.extend(self.sender_mac);
        bytes.extend(self.sender);
        bytes.extend(self.target_mac);
        bytes.extend(self.target);
        bytes.extend(&self.trailer);
        bytes
    }

    /// The only right answer.
    fn answer(&self) -> Vec<u8> {
        Self {
            destination: self.sender_mac,
            source: OURS,
            format: [0, 1, 0x08, 0x00, 6, 4, 0, 2],
            sender_mac: OURS,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
            ..self.clone()
        }
        .bytes()
    }
}

#[track_caller]
fn assert_verdict(frame: &[u8], expected: Verdict, counted: &[(Counter, u64)]) {
    let env = Fake::new();
    let mut seen = frame.to_vec();
    assert_eq!(verdict(&mut seen[..], &env), expected);
    assert_eq!(env.counted(), counted);
    assert_eq!(seen, frame, "only a reply changes the frame");
}

#[track_caller]
fn assert_passes(arp: Arp, because: Counter) {
    assert_verdict(&arp.bytes(), Verdict::Pass, &[(because, 1)]);
}

#[track_caller]
fn assert_answered(arp: Arp) {
    let env = Fake::new();
    let mut frame = arp.bytes();
    assert_eq!(verdict(&mut frame[..], &env), Verdict::Transmit);
    assert_eq!(frame, arp.answer());
    assert_eq!(env.counted(), [(Counter::Answered, 1)]);
    assert_eq!(*env.answered.borrow(), BTreeMap::from([(HELD_SLOT, 1)]));
    assert_eq!(env.clock_reads.get(), 1);
}

#[test]
fn a_request_for_a_held_vip_is_answered() {
    let request = Arp::request(HELD_VIP);
    assert_answered(request.clone());
    // Unicast, as a neighbour that verifies its entry sends it (RFC 1122 2.3.2.1).
    assert_answered(Arp { destination: OURS, ..request.clone() });
    // A probe (RFC 5227 section 2.1.1): the answer defends the address.
    assert_answered(Arp { sender: [0; 4], ..request.clone() });
    // Whatever the asker put where the answer belongs.
    assert_answered(Arp { target_mac: [0xff; 6], ..request.clone() });
    // The reply goes to the ARP sender, not to whoever relayed the frame.
    assert_answered(Arp { source: [2, 0, 0, 0, 0, 9], ..request.clone() });
    assert_answered(Arp { trailer: Vec::new(), ..request.clone() });
    assert_answered(Arp { trailer: vec![0xaa; 1000], ..request });
}

#[test]
fn what_was_left_silent_is_the_kernels_again_when_its_time_is_over() {
    for (until, expected, counted) in [
        (NOW + 1, Verdict::Drop, Counter::Silenced),
        (NOW, Verdict::Pass, Counter::PassedOtherTarget),
    ] {
        let mut env = Fake::new();
        let left = VipEntry { valid_until_ns: until, slot: 5, flags: SILENT };
        env.vips.insert(SILENT_VIP, left);
        assert_eq!(verdict(&mut Arp::request(SILENT_VIP).bytes()[..], &env), expected);
        assert_eq!(env.counted(), [(counted, 1)]);
    }
}

#[test]
fn a_request_for_a_silent_vip_is_dropped_without_a_look_at_the_clock() {
    let env = Fake::new();
    let mut frame = Arp::request(SILENT_VIP).bytes();
    assert_eq!(verdict(&mut frame[..], &env), Verdict::Drop);
    assert_eq!(env.counted(), [(Counter::Silenced, 1)]);
    assert_eq!(env.clock_reads.get(), 0);
    assert_eq!(frame, Arp::request(SILENT_VIP).bytes());
}

#[test]
fn validity_ends_at_its_very_nanosecond() {
    let drops = [(Counter::Expired, 1)];
    assert_verdict(&Arp::request(EXPIRED_VIP).bytes(), Verdict::Drop, &drops);
    let env = Fake::new();
    env.now.set(NOW - 1);
    let mut frame = Arp::request(EXPIRED_VIP).bytes();
    assert_eq!(verdict(&mut frame[..], &env), Verdict::Transmit);
}

#[test]
fn whatever_else_passes_and_is_counted_by_reason() {
    let request = Arp::request(HELD_VIP);
    let format = |at: usize, value: u8| {
        let mut arp = request.clone();
        arp.format[at] = value;
        arp
    };
    let group = [0x01, 0, 0x5e, 0, 0, 1];
    let cases = [
        (Arp::request(NO_VIP), Counter::PassedOtherTarget),
        (Arp::request(LOOKALIKE), Counter::PassedOtherTarget),
        (Arp::reply(ASKER_IP), Counter::PassedReply),
        (Arp { sender: NO_VIP, ..Arp::request(NO_VIP) }, Counter::PassedAnnouncement),
        (
            Arp { destination: [2, 0, 0, 0, 0, 7], ..request.clone() },
            Counter::PassedOtherDestination,
        ),
        (Arp { destination: group, ..request.clone() }, Counter::PassedOtherDestination),
        (Arp { source: [0; 6], ..request.clone() }, Counter::MalformedSource),
        (Arp { source: group, ..request.clone() }, Counter::MalformedSource),
        (Arp { source: [0xff; 6], ..request.clone() }, Counter::MalformedSource),
        (Arp { sender_mac: [0; 6], ..request.clone() }, Counter::MalformedSender),
        (Arp { sender_mac: group, ..request.clone() }, Counter::MalformedSender),
        (Arp { sender_mac: [0xff; 6], ..request.clone() }, Counter::MalformedSender),
        (format(0, 1), Counter::MalformedHardwareType),
        (format(1, 6), Counter::MalformedHardwareType),
        (format(2, 0x86), Counter::MalformedProtocolType),
        (format(3, 0xdd), Counter::MalformedProtocolType),
        (format(4, 8), Counter::MalformedHardwareLength),
        (format(5, 16), Counter::MalformedProtocolLength),
        (format(6, 1), Counter::PassedOtherOperation),
        (format(7, 0), Counter::PassedOtherOperation),
        (format(7, 3), Counter::PassedOtherOperation),
    ];
    for (arp, because) in cases {
        assert_passes(arp, because);
    }
}

#[test]
fn a_station_needs_only_one_octet_to_be_one() {
    for octet in 0..6 {
        let mut mac = [0; 6];
        mac[octet] = 0x80;
        assert_answered(Arp { source: mac, sender_mac: mac, ..Arp::request(HELD_VIP) });
    }
}

#[test]
fn what_is_not_arp_touches_nothing() {
    for ethertype in [[0x08, 0x00], [0x86, 0xdd], [0x06, 0x08], [0x08, 0x07], [0x00, 0x2e]] {
        let frame = Arp { ethertype, ..Arp::request(HELD_VIP) }.bytes();
        assert_verdict(&frame, Verdict::Pass, &[]);
    }
}

#[test]
fn a_truncated_frame_passes_at_every_length() {
    let whole = Arp { trailer: Vec::new(), ..Arp::request(HELD_VIP) }.bytes();
    for len in 0..whole.len() {
        let counted = [(Counter::MalformedTruncated, 1)];
        let counted = if len < 14 { &[][..] } else { &counted };
        assert_verdict(&whole[..len], Verdict::Pass, counted);
    }
    let tagged = Arp { tags: vec![[0x81, 0, 0, 0]; 2], ..Arp::request(HELD_VIP) }.bytes();
    for len in 0..50 {
        let counted = [(Counter::MalformedTruncated, 1)];
        let counted = if len < 22 { &[][..] } else { &counted };
        assert_verdict(&tagged[..len], Verdict::Pass, counted);
    }
}

#[test]
fn every_length_from_a_whole_arp_on_is_answered() {
    for trailer in 0..=60 {
        assert_answered(Arp { trailer: vec![0x55; trailer], ..Arp::request(HELD_VIP) });
    }
}

#[test]
fn priority_tags_are_looked_through_and_kept() {
    let customer = [0x81, 0x00, 0xe0, 0x00];
    let service = [0x88, 0xa8, 0x10, 0x00];
    for tags in [vec![customer], vec![service], vec![service, customer], vec![customer; 2]] {
        assert_answered(Arp { tags, ..Arp::request(HELD_VIP) });
    }
}

#[test]
fn another_vlan_is_another_segment() {
    let priority = [0x81, 0x00, 0x00, 0x00];
    let vlans = [[0x81, 0x00, 0x00, 0x01], [0x88, 0xa8, 0x0f, 0xff], [0x81, 0x00, 0x01, 0x00]];
    for vlan in vlans {
        for tags in [vec![vlan], vec![vlan, priority], vec![priority, vlan], vec![vlan; 2]] {
            let frame = Arp { tags, ..Arp::request(HELD_VIP) }.bytes();
            assert_verdict(&frame, Verdict::Pass, &[]);
        }
    }
    let three = Arp { tags: vec![priority; 3], ..Arp::request(HELD_VIP) }.bytes();
    assert_verdict(&three, Verdict::Pass, &[]);
    let not_arp = Arp { tags: vec![priority], ethertype: [8, 0], ..Arp::request(HELD_VIP) };
    assert_verdict(&not_arp.bytes(), Verdict::Pass, &[]);
}

#[test]
fn a_frame_that_claims_a_vip_passes_and_is_reported() {
    for vip in [HELD_VIP, SILENT_VIP, EXPIRED_VIP] {
        let announcement = Arp { sender: vip, ..Arp::request(vip) };
        let question = Arp { sender: vip, ..Arp::request(NO_VIP) };
        let cases = [
            (announcement, 1, Counter::PassedAnnouncement),
            (question, 1, Counter::PassedOtherTarget),
            (Arp::reply(vip), 2, Counter::PassedReply),
        ];
        for (arp, operation, because) in cases {
            let env = Fake::new();
            let mut frame = arp.bytes();
            assert_eq!(verdict(&mut frame[..], &env), Verdict::Pass);
            assert_eq!(frame, arp.bytes());
            assert_eq!(env.counted(), [(because, 1), (Counter::ClaimReported, 1)]);
            let target = arp.target;
            let claim = ClaimRecord { at_ns: NOW, vip, mac: ASKER, operation, target };
            assert_eq!(*env.claims.borrow(), [claim]);
        }
    }
}

#[test]
fn a_claim_that_asks_for_a_vip_is_reported_and_answered() {
    let env = Fake::new();
    let arp = Arp { sender: SILENT_VIP, ..Arp::request(HELD_VIP) };
    let mut frame = arp.bytes();
    assert_eq!(verdict(&mut frame[..], &env), Verdict::Transmit);
    assert_eq!(frame, arp.answer());
    assert_eq!(env.claims.borrow().len(), 1);
}

#[test]
fn our_own_frames_are_no_foreign_claim() {
    let own = Arp { source: OURS, sender_mac: OURS, sender: HELD_VIP, ..Arp::request(HELD_VIP) };
    assert_passes(own, Counter::PassedAnnouncement);
    let own = Arp { source: OURS, sender_mac: OURS, ..Arp::reply(HELD_VIP) };
    assert_passes(own, Counter::PassedReply);
}

/// RFC 5227 section 2.1.1: whoever probes for it here must hear of the other.
#[test]
fn a_probe_for_a_silent_vip_is_dropped_and_reported() {
    let probe = Arp { sender: [0; 4], ..Arp::request(SILENT_VIP) };
    let env = Fake::new();
    assert_eq!(verdict(&mut probe.bytes()[..], &env), Verdict::Drop);
    assert_eq!(env.counted(), [(Counter::Silenced, 1), (Counter::ClaimReported, 1)]);
    let operation = abi::OPERATION_PROBE;
    let record = ClaimRecord { at_ns: NOW, vip: SILENT_VIP, mac: ASKER, operation, target: [0; 4] };
    assert_eq!(*env.claims.borrow(), [record]);

    let ours = Arp { source: OURS, sender_mac: OURS, ..probe };
    assert_verdict(&ours.bytes(), Verdict::Drop, &[(Counter::Silenced, 1)]);
    // The answer defends the address: nobody needs to hear more.
    assert_answered(Arp { sender: [0; 4], ..Arp::request(HELD_VIP) });
}

#[test]
fn claims_are_limited_for_each_vip() {
    let env = Fake::new();
    let claim = |vip| verdict(&mut Arp::reply(vip).bytes()[..], &env);
    for _ in 0..5 {
        claim(HELD_VIP);
    }
    claim(SILENT_VIP);
    assert_eq!(env.claims.borrow().len(), 2, "one flooded VIP does not hide another");
    env.now.set(NOW + abi::CLAIM_INTERVAL_NS);
    claim(HELD_VIP);
    assert_eq!(env.claims.borrow().len(), 3);
    assert!(env.counted().contains(&(Counter::ClaimLimited, 4)));
}

#[test]
fn a_station_that_claims_all_the_time_does_not_hide_another() {
    let env = Fake::new();
    let claim = |last: u8| {
        let mac = [2, 0, 0, 0, 0, last];
        verdict(
            &mut Arp { source: mac, sender_mac: mac, ..Arp::reply(HELD_VIP) }.bytes()[..],
            &env,
        );
        env.claims.borrow().len()
    };
    assert_eq!([claim(0xa), claim(0xa), claim(0xb), claim(0xb), claim(0xa)], [1, 1, 2, 2, 3]);
    env.now.set(NOW + abi::CLAIM_INTERVAL_NS - 1024);
    assert_eq!(claim(0xa), 3);
    env.now.set(NOW + abi::CLAIM_INTERVAL_NS);
    assert_eq!(claim(0xa), 4);
}

#[test]
fn a_station_that_answers_for_a_vip_may_announce_it_at_once() {
    let env = Fake::new();
    let announcement = Arp { sender: HELD_VIP, ..Arp::request(HELD_VIP) };
    for (claim, reported) in
        [(Arp::reply(HELD_VIP), 1), (announcement.clone(), 2), (announcement, 2)]
    {
        verdict(&mut claim.bytes()[..], &env);
        assert_eq!(env.claims.borrow().len(), reported);
    }
}

#[test]
fn claims_are_limited_over_all_vips() {
    let mut budget = Budget::default();
    let granted = (0..2 * abi::CLAIM_BURST).filter(|_| budget.take(abi::CLAIM_BURST, NOW)).count();
    assert_eq!(granted as u64, abi::CLAIM_BURST);
    assert!(!budget.take(abi::CLAIM_BURST, NOW + abi::BUDGET_WINDOW_NS - 1));
    assert!(budget.take(abi::CLAIM_BURST, NOW + abi::BUDGET_WINDOW_NS));
}

#[test]
fn a_claim_without_room_is_counted_as_lost() {
    let env = Fake::new();
    env.ring_is_full.set(true);
    verdict(&mut Arp::reply(HELD_VIP).bytes()[..], &env);
    assert!(env.counted().contains(&(Counter::ClaimLost, 1)));
}

#[test]
fn somebody_elses_request_costs_no_lookup() {
    let env = Fake::new();
    verdict(&mut Arp::request(NO_VIP).bytes()[..], &env);
    assert_eq!((env.lookups.get(), env.clock_reads.get()), (0, 0));
}

/// A frame that is nearly right: some octets of a good one replaced, cut or extended.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let target = prop::sample::select(vec![HELD_VIP, SILENT_VIP, EXPIRED_VIP, NO_VIP, LOOKALIKE]);
    let sender = prop::sample::select(vec![ASKER_IP, HELD_VIP, SILENT_VIP, [0; 4]]);
    let tag = prop::sample::select(vec![[0x81, 0, 0, 0], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 5]]);
    let octets = prop::collection::vec((0_usize..64, any::<u8>()), 0..4);
    (target, sender, prop::collection::vec(tag, 0..3), 1_u8..4, octets, 0_usize..80).prop_map(
        |(target, sender, tags, operation, octets, len)| {
            let mut arp = Arp { sender, tags, ..Arp::request(target) };
            arp.format[7] = operation;
            let mut bytes = arp.bytes();
            for (at, octet) in octets {
                if let Some(place) = bytes.get_mut(at) {
                    *place = octet;
                }
            }
            if len < 70 {
                bytes.resize(len, 0);
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_frame_panics_and_only_a_valid_reply_goes_out(frame in mutated()) {
        let env = Fake::new();
        let mut seen = frame.clone();
        match verdict(&mut seen[..], &env) {
            Verdict::Pass | Verdict::Drop => prop_assert_eq!(&seen, &frame),
            Verdict::Transmit => {
                prop_assert_eq!(seen.len(), frame.len());
                let at = (0..3).map(|tags| 14 + 4 * tags).find(|&at| seen[at - 2..at] == [8, 6]);
                let at = at.expect("an ARP behind at most two tags");
                // Request became reply, the asker's addresses became the target's.
                prop_assert_eq!(&frame[at..at + 8], &[0, 1, 8, 0, 6, 4, 0, 1]);
                prop_assert_eq!(&seen[at..at + 8], &[0, 1, 8, 0, 6, 4, 0, 2]);
                prop_assert_eq!(&seen[at + 8..at + 14], &OURS);
                prop_assert_eq!(&seen[at + 14..at + 18], &HELD_VIP);
                prop_assert_eq!(&frame[at + 24..at + 28], &HELD_VIP);
                prop_assert_eq!(&seen[at + 18..at + 28], &frame[at + 8..at + 18]);
                prop_assert_eq!(&seen[..6], &frame[at + 8..at + 14]);
                prop_assert_eq!(&seen[6..12], &OURS);
                prop_assert_eq!(&seen[12..at], &frame[12..at]);
                prop_assert_eq!(&seen[at + 28..], &frame[at + 28..]);
                prop_assert_eq!(seen[0] & 1, 0);
            }
        }
    }

    #[test]
    fn noise_never_panics(frame in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut seen = frame.clone();
        verdict(&mut seen[..], &Fake::new());
    }
}

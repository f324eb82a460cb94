#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;

const CAPACITY: u32 = 16;
const NOW: BootTime = BootTime::from_nanos(1_000_000_000_000);

fn vip(last: u8) -> Vip {
    Vip::new(std::net::Ipv4Addr::new(192, 0, 2, last).into()).expect("a unicast address")
}

fn answer(seconds: u64) -> WireEntry {
    WireEntry::Answer { until: NOW + Duration::from_secs(seconds) }
}

fn state(vips: &[(u8, WireEntry)]) -> WireState {
    WireState {
        vips: vips.iter().map(|&(last, entry)| (vip(last), entry)).collect(),
        ..WireState::default()
    }
}

fn session(transitions: u32) -> Option<Session> {
    Some(Session::new("uid", transitions))
}

fn written(desired: &WireState) -> MapImage {
    let mut image = MapImage::default();
    for op in image.plan(desired, CAPACITY).ops {
        image.apply(&op);
    }
    image
}

fn put(last: u8, slot: u32, entry: WireEntry) -> MapOp {
    MapOp::Put { vip: vip(last), entry: with_slot(entry, slot) }
}

#[test]
fn a_state_that_is_written_needs_no_more_writes() {
    let desired = WireState {
        session: session(1),
        ..state(&[(1, answer(3)), (2, WireEntry::Silent), (3, answer(0))])
    };
    let image = written(&desired);
    assert_eq!(image.plan(&desired, CAPACITY), Plan::default());
    assert_eq!(image.answering(NOW), BTreeSet::from([vip(1)]), "3 is held, but its time is over");
    assert_eq!(image.answering(NOW + Duration::from_secs(3)), BTreeSet::new());
    assert_eq!(image.held().count(), 2);
}

#[test]
fn a_renewal_is_one_write() {
    let image = written(&state(&[(1, answer(3)), (2, WireEntry::Silent)]));
    let plan = image.plan(&state(&[(1, answer(4)), (2, WireEntry::Silent)]), CAPACITY);
    assert_eq!(plan.ops, [put(1, 0, answer(4))]);
}

#[test]
fn a_new_vip_gets_its_filter_bit_and_a_clean_slot_first() {
    let plan = MapImage::default().plan(&state(&[(65, answer(3))]), CAPACITY);
    let word = 2 << 2 | 1; // 192.0.2.65: octets 2 and 65 make bit 577 of the filter.
    let expected = [
        MapOp::SetFilter { word, bits: 1 << 1 },
        MapOp::ResetSlot { slot: 0 },
        put(65, 0, answer(3)),
    ];
    assert_eq!(plan.ops, expected);
}

#[test]
fn withdrawals_come_first_then_the_session_then_takeovers_renewals_and_silence() {
    let before = WireState {
        session: session(1),
        ..state(&[
            (1, answer(3)),
            (2, WireEntry::Silent),
            (3, answer(3)),
            (4, answer(3)),
            (5, answer(3)),
        ])
    };
    let after = WireState {
        session: session(2),
        ..state(&[
            (1, answer(4)),
            (2, answer(4)),
            (3, WireEntry::Silent),
            (5, answer(1)),
            (6, WireEntry::Silent),
        ])
    };
    let image = written(&before);
    let word = abi::filter_bit(vip(1).octets()).0;
    let expected = [
        put(3, 1, WireEntry::Silent),
        MapOp::Remove { vip: vip(4) },
        put(5, 3, answer(1)),
        MapOp::SetSession { session: session(2) },
        MapOp::SetFilter { word, bits: 0b111_1110 },
        MapOp::ForgetClaim { slot: 4 },
        put(2, 4, answer(4)),
        put(1, 0, answer(4)),
        MapOp::ResetSlot { slot: 2 },
        put(6, 2, WireEntry::Silent),
        MapOp::SetFilter { word, bits: 0b110_1110 },
    ];
    assert_eq!(image.plan(&after, CAPACITY).ops, expected);
}

#[test]
fn what_has_no_room_is_named_and_placed_when_there_is() {
    let full: Vec<_> = (1..=17).map(|last| (last, WireEntry::Silent)).collect();
    let plan = MapImage::default().plan(&state(&full), CAPACITY);
    assert_eq!(plan.unplaced, [vip(17)]);

    let mut image = written(&state(&full));
    let plan = image.plan(&state(&full[1..]), CAPACITY);
    assert_eq!(plan.unplaced, []);
    for op in plan.ops {
        image.apply(&op);
    }
    assert!(image.entries.contains_key(&vip(17)));
}

#[test]
fn a_takeover_has_room_before_silence() {
    let mut vips: Vec<_> = (1..=16).map(|last| (last, WireEntry::Silent)).collect();
    vips.push((17, answer(3)));
    let plan = MapImage::default().plan(&state(&vips), CAPACITY);
    assert_eq!(plan.unplaced, [vip(16)]);
}

fn states() -> impl Strategy<Value = WireState> {
    let entry = prop_oneof![Just(WireEntry::Silent), (0_u64..6).prop_map(answer),];
    let vips = prop::collection::btree_map((0_u8..24).prop_map(|n| vip(1 + 9 * n)), entry, 0..20);
    let session = prop::option::of((0_u32..3).prop_map(|n| Session::new("uid", n)));
    (vips, session).prop_map(|(vips, session)| WireState { vips, session, ..WireState::default() })
}

/// Applies `ops` but those that fail.
fn apply(image: &mut MapImage, ops: &[MapOp], fails: &BTreeSet<usize>) {
    for (at, op) in ops.iter().enumerate() {
        if !fails.contains(&at) {
            image.apply(op);
        }
    }
}

proptest! {
    #[test]
    fn every_plan_ends_where_it_should(states in prop::collection::vec(states(), 1..6)) {
        let mut image = MapImage::default();
        for desired in states {
            let plan = image.plan(&desired, CAPACITY);
            apply(&mut image, &plan.ops, &BTreeSet::new());
            let placed = desired.vips.len() - plan.unplaced.len();
            prop_assert_eq!(image.entries.len(), placed);
            prop_assert!(plan.unplaced.is_empty() || placed == CAPACITY as usize);
            for (vip, entry) in &image.entries {
                prop_assert_eq!(*entry, with_slot(desired.vips[vip], entry.slot));
                prop_assert!(image.in_filter(*vip));
                prop_assert!(entry.slot < CAPACITY);
            }
            let slots: BTreeSet<u32> = image.entries.values().map(|entry| entry.slot).collect();
            prop_assert_eq!(slots.len(), image.entries.len(), "each VIP counts for itself");
            prop_assert_eq!(&image.filter, &filter_of(desired.vips.keys()));
            prop_assert_eq!(&image.session, &desired.session);
        }
    }

    #[test]
    fn a_process_killed_after_any_write_leaves_nothing_wrong(before in states(), after in states()) {
        let mut image = written(&before);
        let plan = image.plan(&after, CAPACITY);
        let allowed = |vip: &Vip, state: &WireState| match state.vips.get(vip) {
            Some(WireEntry::Answer { until }) => Some(*until),
            _ => None,
        };
        for op in plan.ops {
            image.apply(&op);
            for (vip, until) in image.held() {
                // Never longer than the state that the session in the map stands for.
                let may = if image.session == after.session && before.session != after.session {
                    allowed(&vip, &after)
                } else {
                    allowed(&vip, &before).max(allowed(&vip, &after))
                };
                prop_assert!(Some(until) <= may, "{vip} {until:?} {may:?}");
                prop_assert!(image.in_filter(vip) || !after.vips.contains_key(&vip));
            }
        }
    }

    #[test]
    fn failed_writes_are_made_up_for(
        before in states(),
        after in states(),
        fails in prop::collection::btree_set(0_usize..40, 0..20),
    ) {
        let mut image = written(&before);
        let plan = image.plan(&after, CAPACITY);
        apply(&mut image, &plan.ops, &fails);
        let retry = image.plan(&after, CAPACITY);
        apply(&mut image, &retry.ops, &BTreeSet::new());
        prop_assert_eq!(image.plan(&after, CAPACITY).ops, []);
    }
}

#[test]
fn what_is_left_is_silent_for_a_time_and_read_back_as_nothing_that_is_held() {
    let desired =
        WireState { session: session(1), ..state(&[(1, answer(3)), (2, WireEntry::Silent)]) };
    let mut image = written(&desired);
    let until = NOW + Duration::from_secs(300);
    for op in image.leave_silent(until) {
        image.apply(&op);
    }
    assert_eq!((image.answering(NOW), image.held().count()), (BTreeSet::new(), 0));
    assert_eq!(image.session, None);
    let all = image.entries.values();
    assert!(all.clone().all(|entry| entry.flags == SILENT && super::until(entry) == until));
    assert_eq!(all.count(), 2);

    // The next daemon keeps it so, then makes of it what it thinks.
    for op in image.keep_silent() {
        image.apply(&op);
    }
    assert!(image.entries.values().all(|entry| entry.valid_until_ns == 0));
    assert_eq!(image.keep_silent(), []);
    for op in image.plan(&desired, CAPACITY).ops {
        image.apply(&op);
    }
    assert_eq!(image, written(&desired));
}

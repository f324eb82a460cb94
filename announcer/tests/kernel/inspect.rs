//! What can be seen of the data plane without being its daemon.

use std::{path::Path, time::Duration};

use announcer::{
    datapath::{Counter, EffectiveHook, Inspection, Options, PinnedVip, Reason, inspect},
    types::{BootTime, MacAddr, Session},
    wire_state::{WireEntry, WireState},
};

use crate::segment::{OURS, in_segment, vip};

async fn look() -> Vec<Inspection> {
    inspect(&Options::default().pin_root).await.expect("root may look")
}

#[test]
fn a_running_data_plane_is_seen_and_not_disturbed() {
    in_segment(async |segment| {
        assert!(look().await.is_empty(), "nothing is attached");
        let datapath = segment.datapath(Options::default());
        let (mut interface, _) = datapath.attach(segment.dut).await.expect("attached");
        let held = WireEntry::Answer { until: BootTime::now() + Duration::from_secs(60) };
        let written = interface.write(&WireState {
            vips: [(vip(10), held), (vip(11), WireEntry::Silent)].into(),
            session: Some(Session::new("uid", 7)),
            ..WireState::default()
        });
        assert!(written.failures.is_empty() && written.unplaced.is_empty(), "{written:?}");
        for _ in 0..2 {
            assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10));
        }

        let found = look().await;
        let [one] = &found[..] else { panic!("one interface: {found:?}") };
        let uplink = one.uplink.as_ref().expect("it is there");
        assert_eq!((one.index, &*uplink.name), (segment.dut, "dut"));
        assert_eq!(one.hook, Some(EffectiveHook::Tcx));
        let maps = one.maps.as_ref().expect("readable");
        assert_eq!(maps.mac, MacAddr::new(OURS));
        assert_ne!(maps.reason, Reason::default(), "it is known why");
        assert_eq!((maps.shared, maps.answer_ping), (false, true));
        assert_eq!(maps.session, Some(Session::new("uid", 7)));
        let expected = [
            (vip(10), PinnedVip { entry: held, answered: 2 }),
            (vip(11), PinnedVip { entry: WireEntry::Silent, answered: 0 }),
        ];
        assert_eq!(maps.vips, expected.into());
        let totals = [Counter::Answered, Counter::Silenced].map(|counter| maps.totals.get(counter));
        assert_eq!(totals, [2, 2]);
        assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10), "it goes on");

        // Its daemon is killed: the same is seen.
        drop(interface);
        assert_eq!(look().await.len(), 1);
        assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
    });
}

#[test]
fn what_is_pinned_by_halves_is_shown_as_such() {
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        let (interface, _) = datapath.attach(segment.dut).await.expect("attached");
        drop(interface);
        let pins = pins_of(&Options::default().pin_root, segment.dut.get());
        std::fs::remove_file(pins.join("link")).expect("it is pinned");
        std::fs::remove_file(pins.join("VIPS")).expect("it is pinned");
        let found = look().await;
        let [one] = &found[..] else { panic!("one interface: {found:?}") };
        assert_eq!(one.hook, None);
        let error = one.maps.as_ref().expect_err("a map is missing");
        assert!(error.to_string().contains("VIPS"), "{error}");
    });
}

fn pins_of(root: &Path, index: u32) -> std::path::PathBuf {
    let namespace = announcer::datapath::namespace::NetnsCookie::current().expect("Linux 5.14");
    root.join(namespace.to_string()).join(index.to_string())
}

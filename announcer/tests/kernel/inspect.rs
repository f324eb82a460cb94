//! What can be seen of the data plane without being its daemon.

use std::{path::Path, sync::mpsc, time::Duration};

use announcer::{
    datapath::{
        Counter, EffectiveHook, Inspection, Options, PinnedVip, Reason, Swept, inspect, sweep,
    },
    types::{BootTime, MacAddr, Session},
    wire_state::{WireEntry, WireState},
};

use crate::segment::{OURS, in_segment, ip, vip};

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

#[test]
fn pins_of_an_interface_that_is_gone_are_swept_from_elsewhere_and_no_others() {
    let own = PinRoot(format!("/sys/fs/bpf/announcer-swept-{}", std::process::id()).into());
    let root = own.0.clone();
    let sweep_elsewhere = move || {
        let ((tell, told), root) = (mpsc::channel(), root.clone());
        in_segment(async move |_| {
            tell.send(sweep(&root).expect("root")).expect("it is waited for");
        });
        told.recv().expect("it has been swept")
    };
    in_segment(async move |segment| {
        let root = &own.0;
        let options = Options { pin_root: root.clone(), ..Options::default() };
        drop(segment.datapath(options).attach(segment.dut).await.expect("attached"));
        let pins = pins_of(root, segment.dut.get());
        let left = Swept { removed: vec![], kept: vec![pins.clone()], is_busy: false };
        assert_eq!(sweep_elsewhere(), left, "a daemon that is killed may come back");
        assert_eq!(sweep(root).expect("root"), Swept::default(), "its own are not its concern");
        ip("link del dut");
        let swept = Swept { removed: vec![pins.clone()], kept: vec![], is_busy: false };
        assert_eq!(sweep_elsewhere(), swept);
        assert!(!pins.parent().expect("the namespace's").exists());
        std::fs::remove_dir(root).expect("nothing is left");
    });
}

/// Pins of this test alone; what a test that failed has left of them is removed.
struct PinRoot(std::path::PathBuf);

impl Drop for PinRoot {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pins_of(root: &Path, index: u32) -> std::path::PathBuf {
    let namespace = announcer::datapath::namespace::NetnsCookie::current().expect("Linux 5.14");
    root.join(namespace.to_string()).join(index.to_string())
}

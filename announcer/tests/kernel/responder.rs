//! The responder as the rest of the daemon sees it: a state goes in, maps and
//! frames follow.

use std::{
    collections::BTreeSet,
    fs::File,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use announcer::{
    announce,
    datapath::{Interface, Options, inspect, namespace::NetnsCookie},
    intent::eligibility::LinkState,
    responder::{OnStop, Responder, ResponderStatus, UplinkChange},
    types::{BootTime, MacAddr, Vip},
    uplink::Uplink,
    wire_state::{Heard, WireEntry, WireState},
};
use aya::maps::MapData;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::segment::{ASKER, OURS, Segment, arp, in_segment, vip};

/// A responder that runs, and what it is connected to.
struct Running {
    states: watch::Sender<Option<Arc<WireState>>>,
    changes: mpsc::Sender<UplinkChange>,
    status: watch::Receiver<ResponderStatus>,
    claims: mpsc::Receiver<Heard>,
    task: JoinHandle<Result<(), announcer::datapath::DatapathError>>,
}

impl Running {
    async fn start(segment: &Segment, on_stop: OnStop) -> Self {
        let datapath = segment.datapath(Options::default());
        let (interface, _) = datapath.attach(segment.dut).await.expect("attached");
        Self::with(interface, on_stop)
    }

    fn with(interface: Interface, on_stop: OnStop) -> Self {
        let uplink = uplink(&interface);
        let (changes, changed) = mpsc::channel(1);
        let (states, receiver) = watch::channel(None);
        let (sender, claims) = mpsc::channel(1);
        let settings = announce::Settings::default();
        let (responder, status) =
            Responder::new(vec![(interface, uplink)], changed, settings, receiver, sender, on_stop)
                .expect("root");
        Self { states, changes, status, claims, task: tokio::spawn(responder.run()) }
    }

    async fn follow(&mut self, vips: &[(Vip, WireEntry)]) {
        let state = WireState { vips: vips.iter().copied().collect(), ..WireState::default() };
        let before = self.status.borrow().states_followed;
        self.states.send_replace(Some(Arc::new(state)));
        let followed = self.status.wait_for(|status| status.states_followed > before);
        followed.await.expect("the responder runs");
    }

    /// Hands over a change, and waits until so many gratuitous frames have been sent.
    async fn change(&mut self, change: UplinkChange, sent: u64) {
        self.changes.send(change).await.expect("the responder runs");
        let done = |status: &ResponderStatus| {
            status.interfaces.first().is_some_and(|port| port.gratuitous_sent == sent)
        };
        self.status.wait_for(done).await.expect("the responder runs");
    }

    async fn stop(self) {
        drop(self.states);
        self.task.await.expect("no panic").expect("stopped");
    }
}

fn uplink(interface: &Interface) -> Uplink {
    Uplink {
        name: interface.name().to_owned(),
        mac: Some(interface.mac()),
        link: LinkState::Fit,
        carrier_ups: 1,
        sharing: None,
        networks: BTreeSet::new(),
    }
}

fn for_a_minute() -> WireEntry {
    WireEntry::Answer { until: BootTime::now() + Duration::from_secs(60) }
}

/// The operation, sender and target of a gratuitous frame by us.
#[track_caller]
fn gratuitous(frame: &[u8]) -> (u8, Vip) {
    assert_eq!(frame[..6], [0xff; 6]);
    assert_eq!((&frame[6..12], &frame[22..28]), (&OURS[..], &OURS[..]));
    assert_eq!(frame[28..32], frame[38..42]);
    let address: [u8; 4] = frame[28..32].try_into().expect("four octets");
    (frame[21], Vip::new(address.into()).expect("a unicast address"))
}

#[test]
fn a_takeover_is_answered_and_announced_in_both_forms() {
    in_segment(async |segment| {
        let mut running = Running::start(&segment, OnStop::Detach).await;
        running.follow(&[(vip(10), for_a_minute()), (vip(11), WireEntry::Silent)]).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(10)));
        assert_eq!(gratuitous(&segment.wire.receive()), (2, vip(10)));
        assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10));
        let status = running.status.borrow().clone();
        assert_eq!(status.interfaces[0].gratuitous_sent, 2);
        assert_eq!(status.interfaces[0].mac, MacAddr::new(OURS));

        // A renewal says nothing; the next takeover does.
        running.follow(&[(vip(10), for_a_minute()), (vip(11), for_a_minute())]).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(11)));
        running.stop().await;
    });
}

#[test]
fn five_rounds_are_sent_and_none_after_a_withdrawal() {
    in_segment(async |segment| {
        let mut running = Running::start(&segment, OnStop::Detach).await;
        running.follow(&[(vip(10), for_a_minute())]).await;
        let mut status = running.status.clone();
        let all = status.wait_for(|status| status.interfaces[0].gratuitous_sent == 10);
        all.await.expect("the responder runs");
        running.follow(&[(vip(11), for_a_minute())]).await;
        running.follow(&[(vip(11), WireEntry::Silent)]).await;
        running.follow(&[(vip(12), for_a_minute())]).await;
        let of_12 = status.wait_for(|status| status.interfaces[0].gratuitous_sent == 16);
        of_12.await.expect("the responder runs");
        running.stop().await;
        let seen: Vec<_> = (0..16).map(|_| gratuitous(&segment.wire.receive())).collect();
        let rounds = |vip| [(1, vip), (2, vip)];
        let expected =
            [vec![rounds(vip(10)); 5], vec![rounds(vip(11)), rounds(vip(12)), rounds(vip(12))]];
        assert_eq!(seen, expected.concat().concat());
    });
}

#[test]
fn what_is_over_before_it_is_written_is_not_announced() {
    in_segment(async |segment| {
        let mut running = Running::start(&segment, OnStop::Detach).await;
        running.follow(&[(vip(10), WireEntry::Answer { until: BootTime::now() })]).await;
        running.follow(&[(vip(11), for_a_minute())]).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(11)));
        running.stop().await;
    });
}

#[test]
fn adopted_vips_stay_until_the_first_state() {
    in_segment(async |segment| {
        let mut running = Running::start(&segment, OnStop::LeavePinned).await;
        running.follow(&[(vip(10), for_a_minute()), (vip(11), for_a_minute())]).await;
        running.stop().await;
        for _ in 0..4 {
            gratuitous(&segment.wire.receive());
        }
        assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10), "nobody runs");

        let mut running = Running::start(&segment, OnStop::Detach).await;
        let mut undecided = running.status.clone();
        undecided.wait_for(|status| status.interfaces[0].held == 2).await.expect("it runs");
        assert_eq!(segment.wire.first_answer(&[vip(11)]).1, vip(11), "nothing is decided");
        running.follow(&[(vip(11), for_a_minute())]).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(11)));
        assert_eq!(gratuitous(&segment.wire.receive()), (2, vip(11)));
        assert_eq!(segment.wire.first_answer(&[vip(10), vip(11)]).1, vip(11));
        running.stop().await;
    });
}

#[test]
fn the_end_of_the_states_ends_the_data_plane() {
    in_segment(async |segment| {
        let mut running = Running::start(&segment, OnStop::Detach).await;
        running.follow(&[(vip(10), for_a_minute())]).await;
        running.stop().await;
        let datapath = segment.datapath(Options::default());
        let facts = datapath.netlink().interface(segment.dut).await.expect("an answer");
        assert_eq!(facts.expect("it exists").xdp, []);
        let (_, adopted) = datapath.attach(segment.dut).await.expect("attached");
        assert_eq!(adopted, None);
    });
}

#[test]
fn claims_are_forwarded_and_dropped_when_nobody_fetches_them() {
    in_segment(async |segment| {
        let mut running = Running::start(&segment, OnStop::Detach).await;
        let vips = [10, 11, 12].map(vip);
        running.follow(&vips.map(|vip| (vip, WireEntry::Silent))).await;
        for vip in vips {
            segment.wire.send(&arp(2, vip.octets(), [192, 0, 2, 3]));
        }
        // There is room for one.
        let dropped = running.status.wait_for(|status| status.claims_dropped == 2);
        dropped.await.expect("the responder runs");
        let Heard { claim, interface } = running.claims.recv().await.expect("the responder runs");
        assert_eq!(&*interface, "dut");
        assert_eq!((claim.vip, claim.mac), (vip(10), MacAddr::new(ASKER)));
        running.stop().await;
    });
}

#[test]
fn an_interface_that_goes_is_taken_down_and_one_that_comes_is_written_and_announced_on() {
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        let mut running = Running::start(&segment, OnStop::Detach).await;
        running.follow(&[(vip(10), for_a_minute())]).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(10)));
        assert_eq!(gratuitous(&segment.wire.receive()), (2, vip(10)));

        assert!(datapath.is_attached(segment.dut).await);
        let (done, gone) = oneshot::channel();
        running.changes.send(UplinkChange::Gone(segment.dut, done)).await.expect("it runs");
        gone.await.expect("it runs");
        assert!(!datapath.is_attached(segment.dut).await);
        assert_eq!(running.status.borrow().interfaces, []);

        let (interface, adopted) = datapath.attach(segment.dut).await.expect("attached");
        assert_eq!(adopted, None, "nothing was left");
        let uplink = uplink(&interface);
        running.change(UplinkChange::Attached(Box::new(interface), uplink), 2).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(10)));
        assert_eq!(gratuitous(&segment.wire.receive()), (2, vip(10)));
        assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
        running.stop().await;
    });
}

#[test]
fn an_interface_that_comes_as_the_daemon_ends_is_taken_down_with_the_others() {
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        // Which of the two the responder sees first is up to it.
        for _ in 0..10 {
            let running = Running::start(&segment, OnStop::Detach).await;
            let (done, gone) = oneshot::channel();
            running.changes.send(UplinkChange::Gone(segment.dut, done)).await.expect("it runs");
            gone.await.expect("it runs");
            let (interface, _) = datapath.attach(segment.dut).await.expect("attached");
            let uplink = uplink(&interface);
            let attached = UplinkChange::Attached(Box::new(interface), uplink);
            running.changes.try_send(attached).expect("there is room");
            running.stop().await;
            assert!(!datapath.is_attached(segment.dut).await, "it was forgotten");
        }
    });
}

/// Has every write to a map of this process fail, until it is dropped.
struct Unwritable(Vec<(RawFd, OwnedFd)>);

impl Unwritable {
    /// The descriptors of the map that is pinned there now stand for something else.
    fn new(pinned: &Path) -> Self {
        let id = MapData::from_pin(pinned).expect("it is pinned").info().expect("its info").id();
        let nothing = File::open("/dev/null").expect("there is always nothing");
        let own = std::fs::read_dir("/proc/self/fdinfo").expect("procfs");
        let is_map = |fd: &RawFd| {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"));
            info.is_ok_and(|info| info.lines().any(|line| line == format!("map_id:\t{id}")))
        };
        let all = own.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let replace = |fd: RawFd| {
            // SAFETY: the map is open as long as its responder, which runs on this thread.
            let map = unsafe { BorrowedFd::borrow_raw(fd) };
            let saved = map.try_clone_to_owned().expect("a descriptor");
            put(nothing.as_raw_fd(), fd);
            (fd, saved)
        };
        Self(all.filter(is_map).map(replace).collect())
    }
}

impl Drop for Unwritable {
    fn drop(&mut self) {
        self.0.iter().for_each(|(fd, saved)| put(saved.as_raw_fd(), *fd));
    }
}

fn put(from: RawFd, to: RawFd) {
    // SAFETY: no memory is involved; both are open.
    assert_eq!(unsafe { libc::dup2(from, to) }, to, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_mac_that_could_not_be_written_is_written_again() {
    const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        let (interface, _) = datapath.attach(segment.dut).await.expect("attached");
        let before = uplink(&interface);
        let mut running = Running::with(interface, OnStop::Detach);
        running.follow(&[(vip(10), for_a_minute())]).await;
        let other = Uplink { mac: Some(MacAddr::new(OTHER)), ..before };
        let namespace = NetnsCookie::current().expect("Linux 5.14").to_string();
        let pins = Options::default().pin_root.join(namespace).join(segment.dut.get().to_string());
        let unwritable = Unwritable::new(&pins.join("CONFIG"));
        assert!(!unwritable.0.is_empty(), "the daemon has it open");
        running.changes.send(UplinkChange::Changed(segment.dut, other)).await.expect("it runs");
        let failed = |status: &ResponderStatus| status.interfaces[0].write_failures > 0;
        running.status.wait_for(failed).await.expect("it runs");
        assert_eq!(running.status.borrow().interfaces[0].mac, MacAddr::new(OURS), "as before");
        drop(unwritable);
        let written = |status: &ResponderStatus| status.interfaces[0].mac == MacAddr::new(OTHER);
        running.status.wait_for(written).await.expect("it runs");
        let found = inspect(&Options::default().pin_root).await.expect("root may look");
        let maps = found[0].maps.as_ref().expect("they are readable");
        assert_eq!(maps.mac, MacAddr::new(OTHER), "it is answered with that");
        running.stop().await;
    });
}

#[test]
fn a_link_that_is_back_and_another_mac_are_announced_for_every_vip() {
    const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        let (interface, _) = datapath.attach(segment.dut).await.expect("attached");
        let before = uplink(&interface);
        let mut running = Running::with(interface, OnStop::Detach);
        running.follow(&[(vip(10), for_a_minute()), (vip(11), WireEntry::Silent)]).await;
        let mut status = running.status.clone();
        let all = status.wait_for(|status| status.interfaces[0].gratuitous_sent == 10);
        all.await.expect("it runs");
        (0..10).for_each(|_| drop(segment.wire.receive()));

        let back = Uplink { carrier_ups: 2, ..before };
        let change = |uplink: &Uplink| UplinkChange::Changed(segment.dut, uplink.clone());
        running.change(change(&back), 12).await;
        assert_eq!(gratuitous(&segment.wire.receive()), (1, vip(10)));
        assert_eq!(gratuitous(&segment.wire.receive()), (2, vip(10)));
        // Nothing that concerns the wire.
        let renamed = Uplink { name: "other".to_owned(), ..back };
        running.change(change(&renamed), 12).await;
        let other = Uplink { mac: Some(MacAddr::new(OTHER)), ..renamed };
        running.change(change(&other), 14).await;
        let frame = segment.wire.receive();
        assert_eq!((&frame[6..12], &frame[22..28]), (&OTHER[..], &OTHER[..]));
        segment.wire.receive();
        assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).0, MacAddr::new(OTHER));
        running.stop().await;
    });
}

#[test]
fn an_orderly_end_leaves_silence_for_the_next_daemon_or_nothing() {
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        let on_stop = OnStop::LeaveSilent(Duration::from_secs(60));
        let mut running = Running::start(&segment, on_stop).await;
        running.follow(&[(vip(10), for_a_minute()), (vip(11), WireEntry::Silent)]).await;
        running.stop().await;
        assert!(datapath.is_attached(segment.dut).await);
        let (interface, adopted) = datapath.attach(segment.dut).await.expect("adopted");
        let adopted = adopted.expect("something was left");
        assert_eq!((adopted.session, adopted.answering.len()), (None, 0));
        assert_eq!(interface.occupancy(), (0, 2));

        let mut running = Running::with(interface, on_stop);
        running.follow(&[]).await;
        running.stop().await;
        assert!(!datapath.is_attached(segment.dut).await, "there is nothing to be silent about");
    });
}

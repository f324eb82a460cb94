//! The data plane on a real interface: attached, answering, adopted, taken down.

use std::{io::Read as _, num::NonZeroU32, path::PathBuf, sync::Mutex, time::Duration};

use announcer::{
    datapath::{
        Counter, Datapath, DatapathError, EffectiveHook, Hook, Interface, OBJECT, Options, Reason,
        detach_all, inspect,
        namespace::NetnsCookie,
        netlink::{InterfaceFacts, Netlink},
    },
    types::{BootTime, IfIndex, MacAddr, Session, Vip},
    wire_state::{Adopted, ClaimKind, WireEntry, WireState},
};
use announcer_ebpf::abi::{self, InterfaceConfig};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
    programs::{
        ProgramInfo, SchedClassifier, TcAttachType, Xdp, XdpMode, links::PinnedLink, xdp::XdpLinkId,
    },
};
use futures::FutureExt as _;

use crate::segment::{ASKER, OURS, Segment, Wire, arp, in_segment, ip, request, vip};

pub(crate) fn for_a_minute() -> WireEntry {
    WireEntry::Answer { until: BootTime::now() + Duration::from_secs(60) }
}

fn state(vips: &[(Vip, WireEntry)]) -> WireState {
    WireState {
        vips: vips.iter().copied().collect(),
        session: Some(Session::new("uid", 7)),
        ..WireState::default()
    }
}

#[track_caller]
pub(crate) fn write(interface: &mut Interface, vips: &[(Vip, WireEntry)]) {
    let written = interface.write(&state(vips));
    assert!(written.failures.is_empty() && written.unplaced.is_empty(), "{written:?}");
}

pub(crate) async fn open(segment: &Segment, options: Options) -> (Interface, Option<Adopted>) {
    segment.datapath(options).attach(segment.dut).await.expect("attached")
}

pub(crate) async fn facts(index: IfIndex) -> InterfaceFacts {
    let netlink = Netlink::connect().expect("netlink");
    netlink.interface(index).await.expect("an answer").expect("the interface exists")
}

/// The programs that see what comes in by the interface, ours or not, in their order.
pub(crate) async fn programs(index: IfIndex) -> Vec<u32> {
    let (_, tcx) = SchedClassifier::query_tcx(index.get(), TcAttachType::Ingress)
        .expect("Linux 6.6, or none of the tests of tcx can do");
    let xdp = facts(index).await.xdp;
    xdp.iter().map(|program| program.id).chain(tcx.iter().map(ProgramInfo::id)).collect()
}

pub(crate) fn at(hook: EffectiveHook) -> Options {
    Options { hook: Hook::Only(hook), ..Options::default() }
}

/// Whether our program is at this hook of the interface, and no other.
async fn is_at(hook: EffectiveHook) -> bool {
    let found = inspect(&Options::default().pin_root).await.expect("root may look");
    found.iter().map(|one| one.hook).collect::<Vec<_>>() == [Some(hook)]
}

pub(crate) fn pins(index: IfIndex) -> PathBuf {
    let namespace = NetnsCookie::current().expect("Linux 5.14").to_string();
    Options::default().pin_root.join(namespace).join(index.get().to_string())
}

/// Attaches the object's other program, as somebody else would.
pub(crate) fn attach_empty(index: IfIndex, mode: XdpMode) -> (Ebpf, XdpLinkId) {
    let mut ebpf = Ebpf::load(OBJECT).expect("the object loads");
    let program: &mut Xdp = ebpf
        .program_mut(abi::EMPTY_PROGRAM)
        .expect("it is there")
        .try_into()
        .expect("an XDP program");
    program.load().expect("it loads");
    let link = program.attach(index.get(), mode).expect("it attaches");
    (ebpf, link)
}

#[test]
fn answers_what_it_holds_and_counts_it() {
    in_segment(async |segment| {
        let (mut interface, adopted) = open(&segment, Options::default()).await;
        assert_eq!(adopted, None);
        assert_eq!(interface.hook(), EffectiveHook::Tcx, "never native on veth by itself");
        assert_eq!(interface.mac(), MacAddr::new(OURS));

        let over = WireEntry::Answer { until: BootTime::now() };
        write(
            &mut interface,
            &[(vip(10), for_a_minute()), (vip(11), WireEntry::Silent), (vip(12), over)],
        );
        // Of all these requests only the last is answered.
        let answer = segment.wire.first_answer(&[vip(11), vip(12), vip(99), vip(10)]);
        assert_eq!(answer, (MacAddr::new(OURS), vip(10)));

        let counters = interface.counters().expect("pinned");
        let totals = counters.totals().expect("readable");
        for counter in
            [Counter::Answered, Counter::Silenced, Counter::Expired, Counter::PassedOtherTarget]
        {
            assert_eq!(totals.get(counter), 1, "{}", counter.name());
        }
        assert_eq!(totals.iter().map(|(_, count)| count).sum::<u64>(), 4);
        let answered = counters.answered().expect("readable");
        assert_eq!(
            answered.into_iter().collect::<Vec<_>>(),
            [(vip(10), 1), (vip(11), 0), (vip(12), 0)]
        );

        // Another VIP gets the slot, not the count.
        write(&mut interface, &[(vip(20), for_a_minute())]);
        assert_eq!(segment.wire.first_answer(&[vip(10), vip(20)]).1, vip(20));
        assert_eq!(counters.answered().expect("readable")[&vip(20)], 1);
        interface.detach().expect("detached");
    });
}

/// The program finds a VIP by its last two octets: one of each kind has the place, the others
/// are elsewhere.
#[test]
fn vips_of_several_networks_with_the_same_last_octets_are_told_apart() {
    in_segment(async |segment| {
        let alike = |network: [u8; 2]| {
            let [a, b] = network;
            Vip::new(std::net::Ipv4Addr::new(a, b, 2, 10).into()).expect("a unicast address")
        };
        let [first, second, third] = [[192, 0], [10, 9], [172, 16]].map(alike);
        let none = alike([198, 51]);
        let (mut interface, _) = open(&segment, Options::default()).await;
        let held = for_a_minute();
        write(&mut interface, &[(first, held)]);
        write(&mut interface, &[(first, held), (second, held), (third, WireEntry::Silent)]);
        assert_eq!(segment.wire.first_answer(&[none, third, second]).1, second);
        assert_eq!(segment.wire.first_answer(&[first]).1, first);
        let counters = interface.counters().expect("pinned");
        let answered = counters.answered().expect("readable");
        assert_eq!(answered.into_iter().collect::<Vec<_>>(), [(second, 1), (third, 0), (first, 1)]);

        // A daemon that comes after finds all of them.
        drop(interface);
        let (mut interface, adopted) = open(&segment, Options::default()).await;
        let adopted = adopted.expect("something was left").answering;
        assert_eq!(adopted.into_keys().collect::<Vec<_>>(), [second, first]);

        // The place is free, and each of the others is where it was.
        write(&mut interface, &[(second, held), (third, WireEntry::Silent)]);
        assert_eq!(segment.wire.first_answer(&[first, third, second]).1, second);
        // Who comes anew has the place, and neither of the others is found by its name.
        write(&mut interface, &[(none, held), (third, held)]);
        assert_eq!(segment.wire.first_answer(&[first, second, none]).1, none);
        assert_eq!(segment.wire.first_answer(&[third]).1, third);
        write(&mut interface, &[]);
        let maps = inspect(&Options::default().pin_root).await.expect("root may look");
        let maps = maps.into_iter().next().expect("the interface").maps.expect("readable");
        assert_eq!(maps.vips.into_keys().collect::<Vec<_>>(), []);
        interface.detach().expect("detached");
    });
}

#[test]
fn native_xdp_answers_where_it_is_asked_for() {
    in_segment(async |segment| {
        let netlink = Netlink::connect().expect("netlink");
        let now = netlink.snapshot().await.expect("an answer");
        let peer = now.by_name("wire").expect("the other end");
        // XDP_TX on veth needs a program at the other end, too.
        let _peer = attach_empty(peer.index, XdpMode::Driver);
        let (mut interface, _) = open(&segment, at(EffectiveHook::XdpNative)).await;
        assert_eq!(interface.hook(), EffectiveHook::XdpNative);
        write(&mut interface, &[(vip(10), for_a_minute())]);
        assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
    });
}

#[test]
fn whatever_is_not_answered_reaches_the_kernel_unchanged() {
    in_segment(async |segment| {
        let (mut interface, _) = open(&segment, Options::default()).await;
        write(&mut interface, &[(vip(10), for_a_minute())]);
        let kernel = Wire::open(segment.dut);
        let mut malformed = request(vip(10));
        malformed[18] = 8;
        for frame in [request(vip(99)), malformed, arp(2, [192, 0, 2, 2], [192, 0, 2, 1])] {
            // Another source, as `receive` skips what comes from the test's end.
            let mut frame = frame;
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
            segment.wire.send(&frame);
            assert_eq!(kernel.receive(), frame);
        }
    });
}

#[test]
fn foreign_claims_are_reported() {
    in_segment(async |segment| {
        let (mut interface, _) = open(&segment, Options::default()).await;
        write(&mut interface, &[(vip(10), for_a_minute()), (vip(11), WireEntry::Silent)]);
        let before = BootTime::now();
        segment.wire.send(&arp(1, vip(10).octets(), vip(10).octets()));
        segment.wire.send(&arp(2, vip(11).octets(), [192, 0, 2, 3]));
        for (vip, kind) in [(vip(10), ClaimKind::Request), (vip(11), ClaimKind::Reply)] {
            let claim = std::future::poll_fn(|cx| interface.claims().poll_next(cx)).await;
            let claim = claim.expect("the event loop runs");
            assert_eq!((claim.vip, claim.mac, claim.kind), (vip, MacAddr::new(ASKER), kind));
            assert_eq!(claim.announces, kind == ClaimKind::Request);
            assert!(before <= claim.at && claim.at <= BootTime::now());
        }
        assert_eq!(interface.claims().try_next(), None);
    });
}

#[test]
fn a_daemon_that_dies_is_survived_and_adopted() {
    in_segment(async |segment| {
        let (mut interface, _) = open(&segment, Options::default()).await;
        let entry = for_a_minute();
        let WireEntry::Answer { until } = entry else { panic!("it is an answer") };
        write(&mut interface, &[(vip(10), entry), (vip(11), WireEntry::Silent)]);
        let former = programs(segment.dut).await;
        drop(interface);
        assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10), "nobody runs");

        let (mut interface, adopted) = open(&segment, Options::default()).await;
        let adopted = adopted.expect("there is something to adopt");
        assert_eq!(adopted.session, Some(Session::new("uid", 7)));
        assert_eq!(adopted.answering.into_iter().collect::<Vec<_>>(), [(vip(10), until)]);
        let present = programs(segment.dut).await;
        assert_ne!(former, present, "this version's program replaced the former one");
        assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10));
        let counters = interface.counters().expect("pinned").totals().expect("readable");
        assert_eq!(counters.get(Counter::Answered), 2, "the counters go on");

        // What is adopted is known: a state that lacks it removes it.
        write(&mut interface, &[(vip(20), for_a_minute())]);
        assert_eq!(segment.wire.first_answer(&[vip(10), vip(20)]).1, vip(20));
    });
}

#[test]
fn adopted_maps_keep_their_size() {
    in_segment(async |segment| {
        let sized = |max_vips| Options {
            max_vips: NonZeroU32::new(max_vips).expect("not zero"),
            ..Options::default()
        };
        let (mut interface, _) = open(&segment, sized(1)).await;
        write(&mut interface, &[(vip(10), for_a_minute())]);
        drop(interface);
        let (mut interface, adopted) = open(&segment, sized(2)).await;
        assert!(adopted.is_some());
        let two = state(&[(vip(10), for_a_minute()), (vip(11), for_a_minute())]);
        let written = interface.write(&two);
        assert_eq!(written.unplaced, [vip(11)]);
        assert!(written.failures.is_empty());
        assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10));
    });
}

#[test]
fn another_abi_version_is_not_adopted() {
    in_segment(async |segment| {
        let (mut interface, _) = open(&segment, Options::default()).await;
        write(&mut interface, &[(vip(10), for_a_minute())]);
        drop(interface);
        let config = MapData::from_pin(pins(segment.dut).join(abi::CONFIG)).expect("pinned");
        let config = Map::from_map_data(config).expect("a map");
        let mut config: Array<_, InterfaceConfig> = config.try_into().expect("an array");
        let later = InterfaceConfig { abi_version: abi::ABI_VERSION + 1, ..Default::default() };
        config.set(0, &later, 0).expect("written");

        let (mut interface, adopted) = open(&segment, Options::default()).await;
        assert_eq!(adopted, None);
        write(&mut interface, &[(vip(20), for_a_minute())]);
        assert_eq!(segment.wire.first_answer(&[vip(10), vip(20)]).1, vip(20));
    });
}

#[test]
fn pins_without_a_link_are_discarded() {
    in_segment(async |segment| {
        let (interface, _) = open(&segment, Options::default()).await;
        drop(interface);
        // As if killed on the way.
        std::fs::remove_file(pins(segment.dut).join("link")).expect("it is pinned");
        let (_interface, adopted) = open(&segment, Options::default()).await;
        assert_eq!(adopted, None);
    });
}

#[test]
fn pins_of_a_former_interface_with_the_same_index_are_discarded() {
    in_segment(async |segment| {
        let (mut interface, _) = open(&segment, Options::default()).await;
        write(&mut interface, &[(vip(10), for_a_minute())]);
        drop(interface);
        ip("link del dut");
        let index = segment.dut.get();
        ip(&format!("link add dut index {index} type veth peer name wire"));
        let (_interface, adopted) = open(&segment, Options::default()).await;
        assert_eq!(adopted, None);
    });
}

#[test]
fn the_hook_can_change_with_a_restart() {
    let all = EffectiveHook::ALL;
    for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
        in_segment(async move |segment| {
            let netlink = Netlink::connect().expect("netlink");
            let now = netlink.snapshot().await.expect("an answer");
            let peer = now.by_name("wire").expect("the other end");
            let _peer = attach_empty(peer.index, XdpMode::Driver);
            let (mut interface, _) = open(&segment, at(from)).await;
            write(&mut interface, &[(vip(10), for_a_minute())]);
            drop(interface);
            let (interface, adopted) = open(&segment, at(to)).await;
            assert_eq!(interface.hook(), to);
            assert!(adopted.is_some_and(|adopted| adopted.answering.contains_key(&vip(10))));
            assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
            assert!(is_at(to).await, "{from} to {to}");
            assert_eq!(facts(segment.dut).await.xdp.is_empty(), to == EffectiveHook::Tcx);
        });
    }
}

#[test]
fn what_was_forced_is_not_kept_by_auto_and_what_auto_chose_is() {
    in_segment(async |segment| {
        let (interface, _) = open(&segment, at(EffectiveHook::XdpGeneric)).await;
        assert_eq!(interface.reason(), Reason::ASKED_FOR);
        drop(interface);
        for _ in 0..2 {
            let (interface, adopted) = open(&segment, Options::default()).await;
            assert!(adopted.is_some());
            assert_eq!(interface.hook(), EffectiveHook::Tcx);
            let why = interface.reason().to_string();
            assert!(why.contains("veth"), "{why}");
            drop(interface);
        }
    });
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    for mode in [XdpMode::Skb, XdpMode::Driver] {
        in_segment(async move |segment| {
            let _theirs = attach_empty(segment.dut, mode);
            let before = facts(segment.dut).await.xdp;
            let generic = at(EffectiveHook::XdpGeneric);
            let error = segment.datapath(generic).attach(segment.dut).await;
            let error = error.expect_err("the interface is taken");
            let DatapathError::ForeignProgram { interface, program } = &error else {
                panic!("{error}");
            };
            assert_eq!(interface, "dut");
            assert_eq!(program.name.as_deref(), Some(abi::EMPTY_PROGRAM));
            assert_eq!(program.id, before[0].id);
            assert!(error.to_string().contains("ip link set dev dut xdp"), "{error}");
            assert_eq!(facts(segment.dut).await.xdp, before);
            assert!(!pins(segment.dut).exists());
        });
    }
}

#[test]
fn what_is_not_ethernet_is_refused() {
    in_segment(async |segment| {
        let loopback = IfIndex::new(1).expect("not zero");
        let datapath = segment.datapath(Options::default());
        let error = datapath.attach(loopback).await.expect_err("no ARP there");
        assert!(matches!(error, DatapathError::NotEthernet { .. }), "{error}");
        let nowhere = IfIndex::new(4711).expect("not zero");
        let error = datapath.attach(nowhere).await.expect_err("no such interface");
        assert!(matches!(error, DatapathError::NoSuchInterface(_)), "{error}");
        assert!(error.is_transient());
    });
}

#[test]
fn detached_nothing_is_left() {
    for hook in [EffectiveHook::XdpGeneric, EffectiveHook::Tcx] {
        in_segment(async move |segment| {
            let (interface, _) = open(&segment, at(hook)).await;
            let _link = PinnedLink::from_pin(pins(segment.dut).join("link")).expect("it is pinned");
            interface.detach().expect("detached");
            assert!(programs(segment.dut).await.is_empty(), "though somebody has the link");
            assert!(!pins(segment.dut).parent().expect("the namespace's").exists());
        });
    }
}

#[test]
fn leftovers_can_be_detached_without_a_daemon() {
    in_segment(async |segment| {
        let (interface, _) = open(&segment, Options::default()).await;
        drop(interface);
        let datapath: Datapath = segment.datapath(Options::default());
        assert_eq!(datapath.detach_others(&[segment.dut]).expect("nothing to do"), []);
        assert!(!programs(segment.dut).await.is_empty());
        let detached = detach_all(&Options::default().pin_root).expect("detached");
        assert_eq!(detached, [segment.dut]);
        assert!(programs(segment.dut).await.is_empty());
        assert!(!pins(segment.dut).exists());
    });
}

#[test]
fn an_interface_that_comes_later_is_waited_for() {
    in_segment(async |_| {
        let netlink = Netlink::connect().expect("netlink");
        let later = netlink.wait_until(|now| now.by_name("later").cloned());
        let (facts, ()) = tokio::join!(later, async {
            tokio::task::yield_now().await;
            ip("link add later type veth peer name rest");
        });
        let facts = facts.expect("it came");
        assert_eq!(facts.kind.as_deref(), Some("veth"));
        let asked = netlink.interface(facts.index).await.expect("an answer");
        assert_eq!(asked.expect("it is there").driver.as_deref(), Some("veth"));
        assert!(facts.is_ethernet && !facts.is_up);

        let route = netlink.wait_until(|now| now.default_route);
        let (route, ()) = tokio::join!(route, async {
            ip("address add 192.0.2.1/24 dev dut");
            ip("link set later up");
            ip("route add default dev later metric 200");
        });
        assert_eq!(route.expect("it came"), facts.index);
        ip("route add default via 192.0.2.254 dev dut metric 100");
        let now = netlink.snapshot().await.expect("an answer");
        assert_eq!(now.default_route, now.by_name("dut").map(|facts| facts.index));
    });
}

#[test]
fn without_privileges_the_error_says_which_are_missing() {
    in_segment(async |segment| {
        let datapath = segment.datapath(Options::default());
        // SAFETY: no memory is involved. The system call changes this thread only.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0);
        let error = datapath.attach(segment.dut).await.expect_err("nobody may");
        assert!(matches!(error, DatapathError::NotPermitted { .. }), "{error:?}");
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
        assert!(!error.is_transient());
    });
}

#[test]
fn the_program_logs_claims_when_asked_to() {
    in_segment(async |segment| {
        let (mut log, writer) = std::io::pipe().expect("a pipe");
        let subscriber = tracing_subscriber::fmt().with_writer(Mutex::new(writer)).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let options = Options { bpf_log: true, ..Options::default() };
        let (mut interface, _) = open(&segment, options).await;
        write(&mut interface, &[(vip(10), for_a_minute())]);
        segment.wire.send(&arp(2, vip(10).octets(), [192, 0, 2, 3]));
        let _claim = std::future::poll_fn(|cx| interface.claims().poll_next(cx)).await;
        std::future::poll_fn(|cx| interface.logs().expect("asked for").poll_forward(cx).map(drop))
            .now_or_never();
        let mut line = [0; 1024];
        let len = log.read(&mut line).expect("something was logged");
        let log = String::from_utf8_lossy(&line[..len]);
        assert!(log.contains("192.0.2.10 is claimed by 02:00:00:00:00:02"), "{log}");
    });
}

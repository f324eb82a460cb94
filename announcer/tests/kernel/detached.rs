//! Somebody else's hand has detached the program: it is noticed, and mended or explained.

use std::process::Command;

use announcer::{
    datapath::{Counter, DatapathError, EffectiveHook, OBJECT, netlink::Netlink},
    types::IfIndex,
    wire_state::WireEntry,
};
use announcer_ebpf::abi;
use aya::{
    Ebpf,
    programs::{LinkOrder, SchedClassifier, TcAttachType, XdpMode, tc::TcAttach},
};

use crate::{
    datapath::{at, attach_empty, for_a_minute, open, pins, programs, write},
    segment::{in_segment, vip},
};

/// As an administrator does it who is at a loss.
fn detach_by_hand(index: IfIndex) {
    let mut bpftool = Command::new("bpftool");
    let output = bpftool.args(["link", "detach", "pinned"]).arg(pins(index).join("link")).output();
    let output = output.expect("bpftool");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn it_is_noticed_and_mended() {
    for hook in EffectiveHook::ALL {
        in_segment(async move |segment| {
            let netlink = Netlink::connect().expect("netlink");
            let now = netlink.snapshot().await.expect("an answer");
            // For native XDP, which sends on veth only where there is one at the other end.
            let peer = now.by_name("wire").expect("the other end").index;
            let _peer = attach_empty(peer, XdpMode::Driver);

            let (mut interface, _) = open(&segment, at(hook)).await;
            write(&mut interface, &[(vip(10), for_a_minute()), (vip(11), WireEntry::Silent)]);
            assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
            assert!(interface.is_attached(), "{hook}");
            for _ in 0..2 {
                detach_by_hand(segment.dut);
                assert!(!interface.is_attached(), "{hook}");
                assert!(programs(segment.dut).await.is_empty());
                interface.reattach().await.expect("mended");
                assert!(interface.is_attached(), "{hook}");
                assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10));
            }
            let totals = interface.counters().expect("pinned").totals().expect("readable");
            assert_eq!(totals.get(Counter::Answered), 3, "the maps are the same");

            // The next daemon adopts the new link.
            drop(interface);
            let (interface, adopted) = open(&segment, at(hook)).await;
            assert!(adopted.is_some_and(|adopted| adopted.answering.contains_key(&vip(10))));
            assert_eq!(segment.wire.first_answer(&[vip(11), vip(10)]).1, vip(10));
            interface.detach().expect("detached");
            assert!(programs(segment.dut).await.is_empty());
        });
    }
}

#[test]
fn with_the_pin_gone_too_it_is_mended_all_the_same() {
    for hook in [EffectiveHook::XdpGeneric, EffectiveHook::Tcx] {
        in_segment(async move |segment| {
            let (mut interface, _) = open(&segment, at(hook)).await;
            write(&mut interface, &[(vip(10), for_a_minute())]);
            detach_by_hand(segment.dut);
            std::fs::remove_file(pins(segment.dut).join("link")).expect("it was pinned");
            interface.reattach().await.expect("mended");
            assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
            assert!(pins(segment.dut).join("link").exists());
        });
    }
}

#[test]
fn who_sits_there_now_is_named_and_stays() {
    for theirs in [XdpMode::Skb, XdpMode::Driver] {
        in_segment(async move |segment| {
            let (mut interface, _) = open(&segment, at(EffectiveHook::XdpGeneric)).await;
            write(&mut interface, &[(vip(10), for_a_minute())]);
            detach_by_hand(segment.dut);
            let foreign = attach_empty(segment.dut, theirs);
            let before = programs(segment.dut).await;
            let error = interface.reattach().await.expect_err("the interface is taken");
            let DatapathError::ForeignProgram { program, .. } = &error else { panic!("{error}") };
            assert_eq!(program.name.as_deref(), Some(abi::EMPTY_PROGRAM));
            assert_eq!(programs(segment.dut).await, before);
            assert!(!interface.is_attached());
            drop(foreign);
            // The kernel detaches some time later.
            while !programs(segment.dut).await.is_empty() {
                tokio::task::yield_now().await;
            }
            interface.reattach().await.expect("there is room again");
            assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
        });
    }
}

#[test]
fn at_tcx_nobody_is_in_the_way_and_ours_is_first_again() {
    in_segment(async |segment| {
        let (mut interface, _) = open(&segment, at(EffectiveHook::Tcx)).await;
        write(&mut interface, &[(vip(10), for_a_minute())]);
        detach_by_hand(segment.dut);
        let mut ebpf = Ebpf::load(OBJECT).expect("the object loads");
        let theirs = ebpf.program_mut(abi::EMPTY_TCX_PROGRAM).expect("it is there");
        let theirs: &mut SchedClassifier = theirs.try_into().expect("a classifier");
        theirs.load().expect("it loads");
        let order = LinkOrder::first();
        let attach = TcAttach::Tcx { attach_type: TcAttachType::Ingress, order };
        theirs.attach(segment.dut.get(), attach).expect("it attaches");
        let before = programs(segment.dut).await;
        interface.reattach().await.expect("mended");
        let after = programs(segment.dut).await;
        assert_eq!((after.len(), &after[1..]), (2, &before[..]));
        assert_eq!(segment.wire.first_answer(&[vip(10)]).1, vip(10));
    });
}

//! What is not a request for a VIP gets no answer, and reaches the kernel as it came.

use announcer_tests::arp::{ArpFrame, Mac, Op, Tag};

use super::HOOK;
use crate::scene::{ASKER_IP, ASKER_MAC, NODE_IP, NODE_MAC, Scene, VIP, reply_to, request};

/// Sends `frames` (each with the name of what is wrong with it), and asserts that none
/// is answered, that the node's kernel gets all of them untouched, and that requests
/// are answered afterwards.
fn assert_refused(frames: &[(String, Vec<u8>)]) {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let kernel = scene.kernel();
    let asker = scene.asker();
    // At first all at once, then, should there be an answer, one by one to find its cause.
    let answers = asker.all_answers_to(frames.iter().map(|(_, frame)| &frame[..]));
    if !answers.is_empty() {
        for (what, frame) in frames {
            assert_eq!(asker.all_answers_to([&frame[..]]), Vec::<Vec<u8>>::new(), "{what}");
        }
        panic!("answered: {answers:02x?}");
    }
    for (what, frame) in frames {
        let passed = kernel.wait_for(frame);
        assert!(passed.is_ok(), "{what}: {passed:?}");
    }
    let request = request().to_padded_bytes();
    assert_eq!(asker.answer_to(&request), reply_to(&request));
    assert_eq!(kernel.count(&request), 0, "the kernel got a request that was answered");
}

/// The request with other bytes at an offset from the Ethernet destination.
fn with(what: &str, offset: usize, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut frame = request().to_padded_bytes();
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    (format!("{what} {bytes:02x?}"), frame)
}

#[test]
fn a_frame_that_is_wrong_in_any_field() {
    const ETHERNET_SOURCE: usize = 6;
    const ETHERTYPE: usize = 12;
    const HARDWARE_TYPE: usize = 14;
    const PROTOCOL_TYPE: usize = 16;
    const HARDWARE_LEN: usize = 18;
    const PROTOCOL_LEN: usize = 19;
    const OPERATION: usize = 20;
    const SENDER_MAC: usize = 22;

    let mut frames = Vec::new();
    for kind in [[0, 0], [0, 6], [1, 0], [1, 1], [0xff, 0xff]] {
        frames.push(with("hardware type", HARDWARE_TYPE, &kind));
    }
    for kind in [[0, 0], [8, 6], [8, 1], [0, 8], [0x86, 0xdd]] {
        frames.push(with("protocol type", PROTOCOL_TYPE, &kind));
    }
    for len in [0, 5, 7, 255] {
        frames.push(with("hardware address length", HARDWARE_LEN, &[len]));
    }
    for len in [0, 3, 5, 16, 255] {
        frames.push(with("protocol address length", PROTOCOL_LEN, &[len]));
    }
    frames.push(with("swapped lengths", HARDWARE_LEN, &[4, 6]));
    for operation in [[0, 0], [0, 2], [0, 3], [0, 8], [0, 9], [1, 0], [1, 1], [0xff, 0xff]] {
        frames.push(with("operation", OPERATION, &operation));
    }
    let not_a_station = [
        Mac::ZERO,
        Mac::BROADCAST,
        Mac([0x01, 0, 0x5e, 0, 0, 1]),
        Mac([0x03, 0, 0, 0, 0, 0x42]),
        Mac([0x01, 0, 0, 0, 0, 0]),
    ];
    for mac in not_a_station {
        frames.push(with("Ethernet source", ETHERNET_SOURCE, &mac.0));
        frames.push(with("sender MAC", SENDER_MAC, &mac.0));
    }
    let somebody_else = [
        Mac([0x02, 0, 0, 0, 0, 0x77]),
        Mac([0x02, 0, 0, 0, 0, 0]),
        Mac([0x03, 0, 0, 0, 0, 0x01]),
        Mac([0x01, 0, 0x5e, 0, 0, 0xfb]),
        Mac::ZERO,
    ];
    for mac in somebody_else {
        frames.push(with("destination", 0, &mac.0));
    }
    for kind in [[8, 0], [0x80, 0x35], [0x86, 0xdd], [6, 8], [0, 46], [0x88, 0xb5]] {
        frames.push(with("EtherType", ETHERTYPE, &kind));
    }
    assert_refused(&frames);
}

#[test]
fn a_frame_that_is_right_but_no_request_for_a_vip() {
    let other_vip = "192.0.2.77".parse().unwrap();
    let announcement = |op| ArpFrame::announcement(ASKER_MAC, VIP, op);
    let frames = [
        ("a request for a free address", ArpFrame { target_ip: other_vip, ..request() }),
        ("for 0.0.0.0", ArpFrame { target_ip: [0; 4].into(), ..request() }),
        ("for 255.255.255.255", ArpFrame { target_ip: [255; 4].into(), ..request() }),
        ("for the VIP in another byte order", {
            let [a, b, c, d] = VIP.octets();
            ArpFrame { target_ip: [d, c, b, a].into(), ..request() }
        }),
        ("an announcement of the VIP as request", announcement(Op::Request)),
        ("an announcement of the VIP as reply", announcement(Op::Reply)),
        (
            "an announcement to our MAC",
            ArpFrame { destination: NODE_MAC, ..announcement(Op::Request) },
        ),
        ("somebody's claim in a reply", ArpFrame::reply(ASKER_MAC, VIP, NODE_MAC, NODE_IP)),
        ("a reply to us", ArpFrame::reply(ASKER_MAC, ASKER_IP, NODE_MAC, VIP)),
        ("the VIP as sender, asking for another", {
            ArpFrame { sender_ip: VIP, target_ip: other_vip, ..request() }
        }),
    ];
    let frames = frames.map(|(what, frame)| (what.to_owned(), frame.to_padded_bytes()));
    assert_refused(&frames);
}

#[test]
fn a_frame_cut_short_at_any_length() {
    let whole = request().to_bytes();
    // Shorter than an Ethernet header cannot be sent.
    let cut = |len| (format!("cut to {len}"), whole[..len].to_vec());
    assert_refused(&(14..whole.len()).map(cut).collect::<Vec<_>>());
}

/// The kernel itself drops a frame that ends within its tag, so what it gets is not
/// looked at here.
#[test]
fn a_tagged_frame_cut_short_at_any_length() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let asker = scene.asker();
    for tags in [&[Tag::vid(0)][..], &[Tag::vid(0), Tag::vid(0)]] {
        let whole = request().tagged(tags).to_bytes();
        let cut: Vec<_> = (14..whole.len()).map(|len| &whole[..len]).collect();
        assert_eq!(asker.all_answers_to(cut), Vec::<Vec<u8>>::new());
        assert_eq!(asker.answer_to(&whole), reply_to(&whole));
    }
}

#[test]
fn the_kernels_own_addresses_are_answered_by_the_kernel() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let asker = scene.asker();
    let request = ArpFrame { target_ip: NODE_IP, ..request() }.to_bytes();
    let answer = asker.answer_to(&request);
    assert_eq!(ArpFrame::parse(&answer), ArpFrame::parse(&reply_to(&request)));
}

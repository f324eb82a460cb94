//! VLAN tags (IEEE 802.1Q): a priority tag is looked through, and any other VID is
//! another segment's.

use announcer_tests::{arp::Tag, bpf::Hook};

use super::HOOK;
use crate::scene::{Scene, reply_to, request};

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

const fn tag(tpid: u16, tci: u16) -> Tag {
    Tag { tpid, tci }
}

#[test]
fn priority_tags_are_kept_in_the_answer() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let asker = scene.asker();
    for tags in [
        &[tag(CUSTOMER, 0)][..],
        &[tag(CUSTOMER, 0xa000)],
        &[tag(CUSTOMER, 0xf000)],
        &[tag(SERVICE, 0x6000)],
        &[tag(SERVICE, 0), tag(CUSTOMER, 0x2000)],
        &[tag(CUSTOMER, 0x4000), tag(CUSTOMER, 0)],
    ] {
        let tagged = request().tagged(tags);
        for request in [tagged.to_bytes(), tagged.to_padded_bytes()] {
            assert_eq!(asker.answer_to(&request), reply_to(&request), "{tags:04x?}");
        }
    }
}

#[test]
fn other_segments_are_left_alone() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let kernel = scene.kernel();
    let asker = scene.asker();
    let stacks = [
        &[tag(CUSTOMER, 1)][..],
        &[tag(CUSTOMER, 5)],
        &[tag(CUSTOMER, 0xa005)],
        &[tag(CUSTOMER, 0x0fff)],
        &[tag(SERVICE, 5)],
        &[tag(SERVICE, 5), tag(CUSTOMER, 7)],
        &[tag(SERVICE, 0), tag(CUSTOMER, 7)],
        &[tag(SERVICE, 5), tag(CUSTOMER, 0)],
        &[tag(CUSTOMER, 0); 3],
        // Not a tag that we know.
        &[tag(0x9100, 0)],
    ];
    for tags in stacks {
        let request = request().tagged(tags).to_padded_bytes();
        assert_eq!(asker.all_answers_to([&request[..]]), Vec::<Vec<u8>>::new(), "{tags:04x?}");
        kernel.wait_for(&request).unwrap();
    }
}

/// Sends `tags`, the first of which a switch port, like most network cards, hands over
/// beside the frame, and returns the answers, and what an answer looks like.
fn answers_beside(tags: &[Tag]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let sent = request().tagged(tags).to_padded_bytes();
    let answers = scene.asker().all_answers_to([&sent[..]]);
    // What is beside the frame does not survive the way through the driver's own XDP.
    let mut expected = reply_to(&sent);
    if HOOK == Hook::Native {
        expected.drain(12..16);
    }
    (answers, expected)
}

#[test]
fn a_priority_tag_beside_the_frame_is_kept_in_the_answer_but_by_native_xdp() {
    let (answers, expected) = answers_beside(&[tag(CUSTOMER, 0xa000)]);
    assert_eq!(answers, [expected]);
}

/// Beside a tag that the hook sees, one more is looked through, as two within the frame are.
#[test]
fn of_two_priority_tags_one_may_be_beside_the_frame() {
    let (answers, expected) = answers_beside(&[tag(SERVICE, 0), tag(CUSTOMER, 0x2000)]);
    assert_eq!(answers, [expected]);
}

/// The limit of XDP that the README names: a tag that the network card has taken out of
/// the frame cannot be seen, so the other segment is answered. At tcx it is left alone.
#[test]
fn another_segment_beside_the_frame_is_seen_at_tcx_only() {
    let (answers, expected) = answers_beside(&[tag(CUSTOMER, 5)]);
    match HOOK {
        Hook::Tcx => assert_eq!(answers, Vec::<Vec<u8>>::new()),
        Hook::Generic | Hook::Native => assert_eq!(answers, [expected]),
    }
}

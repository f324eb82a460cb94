//! VLAN tags (IEEE 802.1Q): a priority tag is looked through, and any other VID is
//! another segment's.

use announcer_tests::{arp::Tag, capture::Capture, lab::UPLINK};

use crate::scene::{SOON, Scene, reply_to, request};

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

const fn tag(tpid: u16, tci: u16) -> Tag {
    Tag { tpid, tci }
}

#[test]
fn priority_tags_are_kept_in_the_answer() {
    let scene = Scene::on_cable();
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
    let scene = Scene::on_cable();
    let _daemon = scene.answering();
    let kernel = Capture::start(&scene.node, UPLINK).unwrap();
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
        kernel.wait_for(SOON, |frame| !frame.outgoing && frame.bytes == request).unwrap();
    }
}

/// A switch port, like most network cards, hands the tag over beside the frame.
#[test]
fn a_priority_tag_beside_the_frame_is_kept_in_the_answer() {
    let scene = Scene::on_switch();
    let _daemon = scene.answering();
    let request = request().tagged(&[tag(CUSTOMER, 0xa000)]).to_padded_bytes();
    assert_eq!(scene.asker().answer_to(&request), reply_to(&request));
}

/// The limit of XDP that the README names: a tag that the network card has taken
/// out of the frame cannot be seen (tcx could), so the other segment is answered.
/// At least the answer stays in it.
#[test]
fn a_tag_beside_the_frame_is_not_seen_and_its_segment_answered() {
    let scene = Scene::on_switch();
    let _daemon = scene.answering();
    let tagged = request().tagged(&[tag(CUSTOMER, 5)]).to_padded_bytes();
    assert_eq!(scene.asker().answer_to(&tagged), reply_to(&tagged));
}

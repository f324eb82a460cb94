//! A tag that was taken out of the frame, where the hook sees it.

use super::*;
use crate::frame::Overlay;

/// The octets of a frame, and the tag beside it.
struct Untagged(Vec<u8>, Option<u16>);

impl Frame for Untagged {
    fn overlay<T: Overlay>(&mut self) -> Option<&mut T> {
        self.0.overlay()
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn tag_beside(&self) -> Option<u16> {
        self.1
    }
}

fn assert_becomes(beside: Option<u16>, within: &[[u8; 4]], expected: Verdict) {
    let env = Fake::new();
    let arp = Arp { tags: within.to_vec(), ..Arp::request(HELD_VIP) };
    let mut frame = Untagged(arp.bytes(), beside);
    assert_eq!(verdict(&mut frame, &env), expected, "{beside:04x?} {within:02x?}");
    let is_answered = expected == Verdict::Transmit;
    assert_eq!(frame.0, if is_answered { arp.answer() } else { arp.bytes() });
    assert_eq!(env.counted().is_empty(), !is_answered);
}

#[test]
fn a_priority_tag_is_looked_through_and_another_vlan_is_another_segment() {
    for priority in [0, 0x2000, 0xf000] {
        assert_becomes(Some(priority), &[], Verdict::Transmit);
    }
    for vlan in [1, 0x0100, 0xa005, 0x0fff, 0xffff] {
        assert_becomes(Some(vlan), &[], Verdict::Pass);
        assert_becomes(Some(vlan), &[[0x81, 0, 0, 0]], Verdict::Pass);
    }
}

#[test]
fn beside_and_within_two_priority_tags_at_most_are_looked_through() {
    let priority = [0x81, 0, 0xe0, 0];
    assert_becomes(Some(0), &[priority], Verdict::Transmit);
    assert_becomes(Some(0), &[[0x81, 0, 0, 7]], Verdict::Pass);
    assert_becomes(Some(0), &[priority; 2], Verdict::Pass);
    assert_becomes(None, &[priority; 2], Verdict::Transmit);
}

//! The target `verdict`.

use announcer_ebpf::{Verdict, abi::Counter, verdict};
use pnet::packet::{
    Packet as _,
    arp::{ArpOperations, ArpPacket},
    ethernet::EtherTypes,
};

use crate::{
    maps::{ANSWER_PING, Beside, Input, Maps, NO_CONFIG, PINGS_SPENT, SHARED},
    reply::{self, Headers},
};

/// Decides about a frame with some maps, and judges the decision.
pub fn check(input: &[u8]) {
    let Some(input) = Input::parse(input) else { return };
    decide(&input);
}

/// The verdict, if it breaks no rule.
///
/// # Panics
/// It breaks one.
pub fn decide(input: &Input) -> Verdict {
    let maps = Maps::new(input);
    let mut frame = Beside { octets: input.frame.clone(), tag: input.tag_beside() };
    let verdict = verdict(&mut frame, &maps);
    match verdict {
        Verdict::Transmit => reply::check(input, &frame.octets),
        Verdict::Drop | Verdict::Pass => {
            assert_eq!(frame.octets, input.frame, "only a reply changes the frame");
        }
    }
    if verdict == Verdict::Drop {
        assert!(may_be_dropped(input), "dropped: {input:02x?}");
    }
    let of_frame = |counter: &Counter| {
        use Counter::{ClaimLimited, ClaimLost, ClaimReported};
        !matches!(counter, ClaimReported | ClaimLimited | ClaimLost)
    };
    let counted = maps.counted.borrow();
    assert!(counted.iter().filter(|counter| of_frame(counter)).count() <= 1, "{counted:?}");
    for claim in maps.claims.borrow().iter() {
        assert!(input.entry(claim.vip).is_some(), "a claim to what is no VIP: {claim:?}");
        assert_ne!(claim.mac, input.mac, "our own claim");
    }
    verdict
}

/// It asks for a VIP that is not answered here, and nobody else gets it; or it is one ping
/// too many.
fn may_be_dropped(input: &Input) -> bool {
    let Some(headers) = Headers::of(input) else { return false };
    if input.has(NO_CONFIG) {
        return false;
    }
    let payload = &input.frame[headers.payload..];
    match headers.ethertype {
        EtherTypes::Arp => ArpPacket::new(payload).is_some_and(|arp| {
            let target = arp.get_target_proto_addr().octets();
            arp.get_operation() == ArpOperations::Request
                && arp.packet().len() >= reply::ARP
                && input.entry(target).is_some()
                && !input.is_held(target)
                && !input.has(SHARED)
        }),
        EtherTypes::Ipv4 => {
            let vip = payload.get(16..20).and_then(|vip| vip.try_into().ok());
            vip.is_some_and(|vip| input.is_held(vip))
                && input.has(ANSWER_PING)
                && input.has(PINGS_SPENT)
        }
        _ => false,
    }
}

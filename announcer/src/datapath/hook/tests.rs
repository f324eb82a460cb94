use super::*;

const NATIVE: EffectiveHook = EffectiveHook::XdpNative;
const TCX: EffectiveHook = EffectiveHook::Tcx;
const GENERIC: EffectiveHook = EffectiveHook::XdpGeneric;

fn interface(driver: &str) -> InterfaceFacts {
    InterfaceFacts { driver: Some(driver.to_owned()), ..InterfaceFacts::example(2, "ens18") }
}

#[test]
fn hooks_round_trip() {
    let named = EffectiveHook::ALL.map(Hook::Only);
    for hook in named.into_iter().chain([Hook::Auto]) {
        assert_eq!(hook.to_string().parse(), Ok(hook));
    }
    assert!("native".parse::<Hook>().is_err());
    assert!("tc".parse::<Hook>().is_err());
}

#[test]
fn auto_prefers_native_xdp_and_tcx_to_generic_xdp_and_never_takes_native_on_veth() {
    assert_eq!(Hook::Auto.candidates(&interface("ixgbe")), [NATIVE, TCX, GENERIC]);
    assert_eq!(Hook::Auto.candidates(&interface("veth")), [TCX, GENERIC]);
    for hook in EffectiveHook::ALL {
        assert_eq!(Hook::Only(hook).candidates(&interface("veth")), [hook]);
    }
}

#[test]
fn what_auto_has_chosen_is_kept_and_what_was_forced_is_not() {
    let facts = interface("ixgbe");
    let fallback = Reason::CHOSEN.and(Reason::NATIVE_REFUSED);
    assert!(Hook::Auto.is_served_by(TCX, fallback, &facts));
    assert!(Hook::Auto.is_served_by(NATIVE, Reason::ASKED_FOR, &facts));
    assert!(!Hook::Auto.is_served_by(GENERIC, Reason::ASKED_FOR, &facts));
    assert!(!Hook::Auto.is_served_by(NATIVE, Reason::CHOSEN, &interface("veth")));
    assert!(Hook::Only(TCX).is_served_by(TCX, fallback, &facts));
    assert!(!Hook::Only(GENERIC).is_served_by(TCX, fallback, &facts));
}

#[test]
fn a_reason_names_every_obstacle_and_survives_the_map() {
    let both = Reason::of(Hook::Auto, &interface("veth")).and(Reason::NO_TCX);
    let said = both.to_string();
    assert!(said.contains("segmentation offload") && said.contains("Linux 6.6"), "{said}");
    assert_eq!(Reason::from_flags(both.flags()), both);
    let forced = Reason::of(Hook::Only(TCX), &interface("veth")).to_string();
    assert!(forced.contains("--hook"), "{forced}");
}

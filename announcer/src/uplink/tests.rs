#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use super::{Sharing, Uplink, resolve, uplinks};
use crate::{
    config::InterfacePattern,
    datapath::netlink::{InterfaceFacts, Snapshot},
    intent::eligibility::LinkState,
    types::{IfIndex, MacAddr},
};

fn index(n: u32) -> IfIndex {
    IfIndex::new(n).expect("not zero")
}

fn mac(n: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, n])
}

fn of_kind(facts: InterfaceFacts, kind: &str) -> InterfaceFacts {
    InterfaceFacts { kind: Some(kind.to_owned()), ..facts }
}

fn port_of(master: u32, facts: InterfaceFacts) -> InterfaceFacts {
    InterfaceFacts { master: Some(index(master)), ..facts }
}

fn above(lower: u32, facts: InterfaceFacts) -> InterfaceFacts {
    InterfaceFacts { lower: Some(index(lower)), ..facts }
}

fn snapshot(interfaces: Vec<InterfaceFacts>) -> Snapshot {
    Snapshot { interfaces, default_route: None, on_link: BTreeMap::new() }
}

fn uplink(facts: &InterfaceFacts, others: &[InterfaceFacts]) -> Uplink {
    Uplink::new(facts, &snapshot([std::slice::from_ref(facts), others].concat()))
}

#[test]
fn a_port_answers_with_the_mac_of_its_bridge_or_bond() {
    for kind in ["bridge", "bond", "team"] {
        let master = of_kind(InterfaceFacts::example(9, "master"), kind);
        let port = uplink(&port_of(9, InterfaceFacts::example(2, "ens18")), &[master]);
        assert_eq!(port.mac, Some(mac(9)), "{kind}");
    }
    assert_eq!(uplink(&InterfaceFacts::example(2, "ens18"), &[]).mac, Some(mac(2)));
    // Theirs are not on this wire.
    for kind in ["vrf", "openvswitch"] {
        let master = of_kind(InterfaceFacts::example(9, "master"), kind);
        let port = uplink(&port_of(9, InterfaceFacts::example(2, "ens18")), &[master]);
        assert_eq!(port.mac, Some(mac(2)), "{kind}");
    }
    // Its master has gone since.
    assert_eq!(uplink(&port_of(9, InterfaceFacts::example(2, "ens18")), &[]).mac, Some(mac(2)));
}

#[test]
fn frames_of_a_port_or_a_parent_are_others_too() {
    let bridge = of_kind(InterfaceFacts::example(9, "br0"), "bridge");
    let port = uplink(&port_of(9, InterfaceFacts::example(2, "ens18")), &[bridge]);
    assert_eq!(port.sharing, Some(Sharing::PortOf("br0".to_owned())));
    for kind in ["macvlan", "macvtap", "ipvlan", "ipvtap"] {
        let child = above(2, of_kind(InterfaceFacts::example(3, "child"), kind));
        let parent = uplink(&InterfaceFacts::example(2, "ens18"), &[child]);
        let children = BTreeSet::from(["child".to_owned()]);
        assert_eq!(parent.sharing, Some(Sharing::ParentOf(children)), "{kind}");
    }
}

#[test]
fn frames_of_others_are_this_hosts_alone() {
    for kind in ["bond", "team", "vrf"] {
        let master = of_kind(InterfaceFacts::example(9, "master"), kind);
        assert_eq!(
            uplink(&port_of(9, InterfaceFacts::example(2, "ens18")), &[master]).sharing,
            None,
            "{kind}"
        );
    }
    // A VLAN gets tagged frames, which are never answered or dropped here; and a macvlan
    // on another interface has nothing to do with this one.
    let vlan = above(2, of_kind(InterfaceFacts::example(3, "ens18.7"), "vlan"));
    let elsewhere = above(8, of_kind(InterfaceFacts::example(4, "macvlan"), "macvlan"));
    assert_eq!(uplink(&InterfaceFacts::example(2, "ens18"), &[vlan, elsewhere]).sharing, None);
}

#[test]
fn a_link_is_fit_when_it_is_up_and_has_a_carrier() {
    let state = |is_up, has_carrier| {
        uplink(&InterfaceFacts { is_up, has_carrier, ..InterfaceFacts::example(2, "ens18") }, &[])
            .link
    };
    assert_eq!(state(true, true), LinkState::Fit);
    assert_eq!(state(true, false), LinkState::NoCarrier);
    assert_eq!(state(false, false), LinkState::Down);
    assert_eq!(state(false, true), LinkState::Down);
}

#[test]
fn the_networks_of_a_port_are_its_bridges_too() {
    let bridge = of_kind(InterfaceFacts::example(9, "br0"), "bridge");
    let port = port_of(9, InterfaceFacts::example(2, "ens18"));
    let networks = |text: &str| BTreeSet::from([text.parse().expect("a network")]);
    let on_link = [(9, "192.0.2.0/24"), (5, "203.0.113.0/24")];
    let all = Snapshot {
        on_link: on_link.map(|(n, network)| (index(n), networks(network))).into(),
        ..snapshot(vec![port.clone(), bridge])
    };
    let port = Uplink::new(&port, &all);
    let on_link = |vip: &str| port.is_on_link(vip.parse().expect("a VIP"));
    assert!(on_link("192.0.2.10") && on_link("192.0.2.254"));
    assert!(!on_link("203.0.113.10") && !on_link("192.0.3.1"));
}

#[test]
fn patterns_choose_by_name() {
    let all = snapshot(vec![
        InterfaceFacts::example(2, "ens18"),
        InterfaceFacts::example(3, "ens19"),
        InterfaceFacts::example(4, "mgmt0"),
    ]);
    let patterns = |list: &[&str]| -> Vec<InterfacePattern> {
        list.iter().map(|text| text.parse().expect("a pattern")).collect()
    };
    let indices = |list: &[&str]| uplinks(&all, &patterns(list)).into_keys().collect::<Vec<_>>();
    assert_eq!(indices(&["ens18"]), [index(2)]);
    assert_eq!(indices(&["/ens.*/"]), [index(2), index(3)]);
    assert_eq!(indices(&["/ens.*/", "ens19", "mgmt0"]), [index(2), index(3), index(4)]);
    assert_eq!(indices(&["eth0"]), []);

    let missing = resolve(&all, &patterns(&["ens18", "eth0"]));
    assert_eq!(missing, Err("interface eth0".to_owned()));
    assert!(resolve(&all, &[]).is_err_and(|missing| missing.contains("default route")));
    let routed = Snapshot { default_route: Some(index(3)), ..all };
    let chosen = resolve(&routed, &[]).map(|found| found.into_keys().collect::<Vec<_>>());
    assert_eq!(chosen, Ok(vec![index(3)]));
}

/// A port of a bond that is a port of a bridge.
#[test]
fn a_port_of_a_port_is_looked_at_up_to_the_top() {
    let bond = port_of(8, of_kind(InterfaceFacts::example(9, "bond0"), "bond"));
    let bridge = of_kind(InterfaceFacts::example(8, "br0"), "bridge");
    let child = above(9, of_kind(InterfaceFacts::example(3, "child"), "macvlan"));
    let port = port_of(9, InterfaceFacts::example(2, "ens18"));
    let bridged = uplink(&port, &[bond.clone(), bridge]);
    assert_eq!(bridged.mac, Some(mac(8)));
    assert_eq!(bridged.sharing, Some(Sharing::PortOf("br0".to_owned())));
    let alone = uplink(&port, &[bond, child]);
    assert_eq!(alone.mac, Some(mac(9)));
    assert_eq!(alone.sharing, Some(Sharing::ParentOf(BTreeSet::from(["child".to_owned()]))));
}

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{io, net::Ipv4Addr, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    datapath::{Counter, DatapathError, EffectiveHook, PinnedMaps, PinnedVip, Reason, Totals},
    intent::eligibility::LinkState,
    types::{IfIndex, MacAddr, Session},
    uplink::{Sharing, Uplink},
    wire_state::WireEntry,
};

mod daemon;

const NOW: BootTime = BootTime::from_nanos(60_000_000_000);

fn vip(last: u8) -> Vip {
    Vip::new(Ipv4Addr::new(192, 0, 2, last).into()).expect("a unicast address")
}

fn until(until: BootTime) -> WireEntry {
    WireEntry::Answer { until }
}

fn uplink() -> Uplink {
    Uplink {
        name: "ens18".into(),
        mac: Some(MacAddr::new([2, 0, 0, 0, 0, 1])),
        link: LinkState::Fit,
        carrier_ups: 1,
        sharing: None,
        networks: ["192.0.2.0/25", "198.51.100.0/24"].map(|n| n.parse().expect("one")).into(),
    }
}

/// What is said of an interface that looks like this now, with this in its maps.
fn said_of(
    change: impl FnOnce(&mut Uplink),
    pinned: impl FnOnce(&mut PinnedMaps),
) -> (String, serde_json::Value) {
    let mut found = ens18();
    change(found.uplink.as_mut().expect("it is there"));
    pinned(found.maps.as_mut().expect("they are readable"));
    let status = Status::new(&[found], NOW);
    (status.to_string(), serde_json::to_value(&status).expect("json")["interfaces"][0].clone())
}

fn ens18() -> Inspection {
    let vips = [
        (vip(10), until(NOW + Duration::from_millis(1900)), 12),
        (vip(9), until(NOW), 3),
        (vip(200), WireEntry::Silent, 0),
    ];
    Inspection {
        index: IfIndex::new(2).expect("not 0"),
        uplink: Some(uplink()),
        hook: Some(EffectiveHook::XdpGeneric),
        maps: Ok(PinnedMaps {
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            reason: Reason::ASKED_FOR,
            shared: false,
            answer_ping: true,
            session: Some(Session::new("8d6f", 3)),
            vips: vips.map(|(vip, entry, answered)| (vip, PinnedVip { entry, answered })).into(),
            totals: [(Counter::Answered, 15), (Counter::ClaimReported, 1)].into_iter().collect(),
        }),
    }
}

fn leftover() -> Inspection {
    let index = IfIndex::new(7).expect("not 0");
    let source = io::Error::from_raw_os_error(libc::ENOENT);
    let error = DatapathError::System { what: "opening a map", source };
    Inspection { index, uplink: None, hook: None, maps: Err(error) }
}

#[test]
fn the_table_says_what_is_answered_and_for_how_long() {
    let table = Status::new(&[ens18(), leftover()], NOW).to_string();
    let expected = "\
ens18  ifindex 2  hook xdp-generic  mac 02:00:00:00:00:01  session 8d6f/3
  xdp-generic: measured on veth 60 ns a small frame, up to 250 ns a large one; asked for with --hook
  silence: requests for VIPs held elsewhere are dropped
  pings to held VIPs: answered; networks: 192.0.2.0/25, 198.51.100.0/24
  VIP              STATE                           ANSWERED
  192.0.2.9        expired 0.0 s ago                      3
  192.0.2.10       answering until +1.9 s                12
  192.0.2.200      silent                                 0  in none of the networks
  counters: answered 15, claim_reported 1

(gone)  ifindex 7  not attached
  opening a map failed: No such file or directory (os error 2)
";
    assert_eq!(table, expected);
}

#[test]
fn the_json_has_every_counter_and_the_same_facts() {
    let status = Status::new(&[ens18(), leftover()], NOW + Duration::from_millis(400));
    let json = serde_json::to_value(&status).expect("it can be written");
    let first = &json["interfaces"][0];
    assert_eq!(
        first["vips"],
        json!([
            { "vip": "192.0.2.9", "on_link": true, "state": "expired",
              "expired_seconds": 0.4, "answered": 3 },
            { "vip": "192.0.2.10", "on_link": true, "state": "answering",
              "remaining_seconds": 1.5, "answered": 12 },
            { "vip": "192.0.2.200", "on_link": false, "state": "silent", "answered": 0 },
        ])
    );
    let names = ["interface", "ifindex", "hook", "hook_reason", "mac", "session"];
    let (hook, why) = ("xdp-generic", "asked for with --hook");
    let expected = json!(["ens18", 2, hook, why, "02:00:00:00:00:01", "8d6f/3"]);
    assert_eq!(json!(names.map(|name| &first[name])), expected);
    let counters = first["counters"].as_object().expect("an object");
    assert_eq!(counters.len(), Counter::ALL.len());
    assert_eq!((&counters["answered"], &counters["silenced"]), (&json!(15), &json!(0)));
    let error = "opening a map failed: No such file or directory (os error 2)";
    let expected =
        json!({ "interface": null, "ifindex": 7, "hook": null, "hook_cost": null, "error": error });
    assert_eq!(json["interfaces"][1], expected);
}

#[test]
fn without_pins_it_says_so() {
    let status = Status::new(&[], NOW);
    assert_eq!(status.to_string(), "nothing is attached in this network namespace\n");
    assert_eq!(
        serde_json::to_value(&status).expect("json"),
        json!({ "daemon": { "state": "absent" }, "interfaces": [] })
    );
}

#[test]
fn an_interface_without_vips_or_traffic_is_short() {
    let mut bare = ens18();
    if let Ok(maps) = &mut bare.maps {
        maps.vips.clear();
        maps.session = None;
        maps.totals = Totals::default();
    }
    let expected = "\
ens18  ifindex 2  hook xdp-generic  mac 02:00:00:00:00:01  session none
  xdp-generic: measured on veth 60 ns a small frame, up to 250 ns a large one; asked for with --hook
  silence: requests for VIPs held elsewhere are dropped
  pings to held VIPs: answered; networks: 192.0.2.0/25, 198.51.100.0/24
  no VIPs
";
    assert_eq!(Status::new(&[bare], NOW).to_string(), expected);
}

#[test]
fn silence_is_told_with_who_else_gets_frames() {
    let bridge = |uplink: &mut Uplink| uplink.sharing = Some(Sharing::PortOf("br0".into()));
    let macvlans = |uplink: &mut Uplink| {
        uplink.sharing = Some(Sharing::ParentOf(["pod0".into(), "pod1".into()].into()));
    };
    let nobody = |_: &mut Uplink| ();
    let drops = |maps: &mut PinnedMaps| maps.shared = false;
    let passes = |maps: &mut PinnedMaps| maps.shared = true;
    let cases = [
        (said_of(nobody, drops), "are dropped\n", json!({ "action": "drop", "shared_with": null })),
        (
            said_of(bridge, drops),
            "are dropped, although it is a port of br0\n",
            json!({ "action": "drop", "shared_with": "it is a port of br0" }),
        ),
        (
            said_of(macvlans, passes),
            "pass: pod0, pod1 get frames through it\n",
            json!({ "action": "pass", "shared_with": "pod0, pod1 get frames through it" }),
        ),
        (
            said_of(nobody, passes),
            "pass: --silence pass, or",
            json!({ "action": "pass", "shared_with": null }),
        ),
    ];
    for ((table, json), said, silence) in cases {
        let said = format!("silence: requests for VIPs held elsewhere {said}");
        assert!(table.contains(&said), "{said:?} is not in\n{table}");
        assert_eq!(json["silence"], silence);
    }
}

#[test]
fn pings_networks_and_another_mac_are_told_of() {
    let (table, json) = said_of(
        |uplink| {
            uplink.networks.clear();
            uplink.mac = Some(MacAddr::new([2, 0, 0, 0, 0, 9]));
        },
        |maps| maps.answer_ping = false,
    );
    for said in [
        "mac 02:00:00:00:00:01 (not 02:00:00:00:00:09, as it is now)  session",
        "pings to held VIPs: left to the kernel; no networks\n",
    ] {
        assert!(table.contains(said), "{said:?} is not in\n{table}");
    }
    assert_eq!(table.matches("in none of the networks").count(), 3, "{table}");
    let told = ["mac", "mac_now", "answer_ping", "networks"].map(|name| &json[name]);
    assert_eq!(json!(told), json!(["02:00:00:00:00:01", "02:00:00:00:00:09", false, []]));
    let (_, same) = said_of(|_| (), |_| ());
    assert_eq!(same["mac_now"], json!(null));
}

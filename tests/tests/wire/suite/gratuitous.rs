//! Gratuitous ARP on takeover.

use std::{collections::BTreeSet, process::Command, time::Duration};

use announcer_tests::{
    arp::{ArpFrame, MIN_FRAME, Mac, Op},
    capture::{Capture, Frame},
    daemon::Daemon,
    lab::CLIENT_NIC,
    neighbour::{wait_for_mac, wait_for_state},
};

use super::HOOK;
use crate::scene::{
    NODE_MAC, SOON, Scene, VIP, is_announcement, static_vip, wait_for_announcement,
};

const ROUNDS: usize = 5;
/// Linux ignores an update of a neighbour within this time of the one before
/// (net.ipv4.neigh.*.locktime).
const LOCKTIME: Duration = Duration::from_secs(1);
const FORMER_HOLDER: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);

#[test]
fn five_rounds_of_both_forms_further_apart_than_the_locktime() {
    let scene = Scene::on_switch(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let _daemon = static_vip(HOOK).start(&scene.node).unwrap();
    let frames = capture.wait_for_many(2 * ROUNDS, SOON, is_announcement).unwrap();
    for frame in &frames {
        let arp = frame.arp().unwrap();
        // RFC 5944 section 4.6: a reply names the MAC as its target, too. Linux lets it
        // override a fresh entry only then.
        let target_mac = if arp.op == Op::Reply { NODE_MAC } else { Mac::ZERO };
        let announcement = ArpFrame::announcement(NODE_MAC, VIP, arp.op);
        assert_eq!(arp, ArpFrame { target_mac, ..announcement });
        assert_eq!(frame.bytes.len(), MIN_FRAME, "padded as Ethernet demands");
        assert!(frame.bytes[42..].iter().all(|&byte| byte == 0));
    }
    let rounds: Vec<&[Frame]> = frames.chunks(2).collect();
    for round in &rounds {
        let forms: BTreeSet<_> = round.iter().filter_map(|f| Some(f.arp()?.op)).collect();
        assert_eq!(forms, BTreeSet::from([Op::Request, Op::Reply]));
    }
    for pair in rounds.windows(2) {
        let apart = pair[1][0].at.saturating_duration_since(pair[0][1].at);
        assert!(apart > LOCKTIME && apart < SOON, "{apart:?}");
    }
    // That no sixth round comes is no event.
    let more = capture.wait_for_many(2 * ROUNDS + 1, 2 * LOCKTIME, is_announcement);
    assert!(more.is_err(), "a sixth round");
}

#[test]
fn every_vip_is_announced() {
    let scene = Scene::on_switch(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let vips: Vec<_> = (1..=30).map(|n| std::net::Ipv4Addr::new(192, 0, 2, 200 + n)).collect();
    let list = vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let _daemon = static_vip(HOOK).args(["--static-vip", &list]).start(&scene.node).unwrap();
    for vip in vips {
        for op in [Op::Request, Op::Reply] {
            let is = |arp: ArpFrame| arp.is_announcement() && arp.sender_ip == vip && arp.op == op;
            let heard = capture.wait_for(SOON, |frame| frame.arp().is_some_and(is));
            assert_eq!(heard.unwrap().arp().unwrap().sender_mac, NODE_MAC, "{vip} {op:?}");
        }
    }
}

#[test]
fn tcpdump_understands_them() {
    let scene = Scene::on_switch(HOOK);
    let mut command = Command::new("tcpdump");
    let filter = format!("arp and src host {VIP} and ether src {NODE_MAC}");
    command.args(["-i", CLIENT_NIC, "-e", "-nn", "-vv", "-l", "--immediate-mode", "-c", "2"]);
    command.arg(filter);
    let mut tcpdump = Daemon::start(command, "tcpdump", &scene.client).unwrap();
    tcpdump.wait_for_log("listening on", SOON).unwrap();
    let _daemon = static_vip(HOOK).start(&scene.node).unwrap();
    assert_eq!(tcpdump.wait_exit(SOON).unwrap().code(), Some(0));
    let said = tcpdump.print();
    let ethernet = format!("{NODE_MAC} > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60");
    assert_eq!(said.matches(&ethernet).count(), 2, "{said}");
    assert!(said.contains(&format!("Reply {VIP} is-at {NODE_MAC}, length 46")), "{said}");
    assert!(said.contains(&format!("tell {VIP}, length 46")), "{said}");
}

/// An entry that is used goes stale now and then, and the kernel then asks its MAC alone
/// whether it is there still (RFC 4861 section 7.3.3, as Linux has it for ARP).
#[test]
fn a_clients_kernel_that_asks_by_unicast_confirms_its_entry() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let client = &scene.client;
    // Without an answer it would neither ask everybody nor an agent, and give the entry up.
    for setting in ["mcast_solicit", "mcast_resolicit", "app_solicit"] {
        client.sysctl(&format!("net/ipv4/neigh/{CLIENT_NIC}/{setting}"), "0").unwrap();
    }
    let capture = Capture::start(client, CLIENT_NIC).unwrap();
    let entry = format!("neigh replace {VIP} lladdr {NODE_MAC} dev {CLIENT_NIC} nud probe");
    client.ip(&entry).unwrap();
    let asks = |frame: &Frame| {
        let arp = frame.arp().filter(|arp| arp.op == Op::Request && arp.target_ip == VIP);
        frame.outgoing && arp.is_some_and(|arp| arp.destination == NODE_MAC)
    };
    capture.wait_for(SOON, asks).unwrap();
    wait_for_state(client, VIP, "REACHABLE", SOON).unwrap();
}

/// With arp_accept 0, as Linux has it, gratuitous ARP changes entries but makes none.
#[test]
fn a_client_that_knows_the_vip_learns_its_new_place() {
    let scene = Scene::on_switch(HOOK);
    scene.client.sysctl(&format!("net/ipv4/conf/{CLIENT_NIC}/arp_accept"), "0").unwrap();
    let set = |state: &str| {
        let entry = format!("neigh replace {VIP} lladdr {FORMER_HOLDER} dev {CLIENT_NIC}");
        scene.client.ip(&format!("{entry} nud {state}")).unwrap();
    };
    set("stale");
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let daemon = static_vip(HOOK).start(&scene.node).unwrap();
    wait_for_announcement(&capture, &daemon);
    wait_for_mac(&scene.client, VIP, NODE_MAC, SOON).unwrap();
    // The former holder was heard this very moment: a later round prevails all the same.
    set("reachable");
    wait_for_mac(&scene.client, VIP, NODE_MAC, SOON).unwrap();
}

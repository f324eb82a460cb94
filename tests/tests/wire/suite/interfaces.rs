//! On which interfaces the daemon answers.

use std::net::Ipv4Addr;

use announcer_tests::{
    arp::{ArpFrame, Mac},
    bpf::{Attached, programs_at},
    capture::{Capture, Frame},
    daemon::DaemonBuilder,
    lab::{CLIENT_IP, CLIENT_MAC, CLIENT_NIC, UPLINK},
    netns::{self, NetNs},
    probe::Probe,
    topology::{Nic, Segment},
};

use super::HOOK;
use crate::scene::{
    NODE_MAC, SOON, Scene, VIP, is_announcement, peer_program, static_vip, wait_for_announcement,
};

/// A node on several segments, with a client on each.
struct Junction {
    node: NetNs,
    sides: Vec<Side>,
}

struct Side {
    nic: &'static str,
    mac: Mac,
    client: NetNs,
    _segment: Segment,
    _peer: Option<Attached>,
}

impl Junction {
    fn new(nics: &[&'static str]) -> Self {
        netns::ensure_bpffs().unwrap();
        let node = NetNs::new("node").unwrap();
        let side = |(n, &nic): (u8, &&'static str)| {
            let mut segment = Segment::new(nic).unwrap();
            let mac = Mac([0x02, 0, 0, 0, n, 0x01]);
            let port = segment.attach(&node, &Nic { name: nic, mac, address: None }).unwrap();
            let peer = peer_program(segment.switch(), port.interface(), HOOK);
            let client = NetNs::new(format!("client beside {nic}")).unwrap();
            let client_nic = Nic { name: CLIENT_NIC, mac: CLIENT_MAC, address: None };
            segment.attach(&client, &client_nic).unwrap();
            Side { nic, mac, client, _segment: segment, _peer: peer }
        };
        let sides = (1..).zip(nics).map(side).collect();
        Self { node, sides }
    }

    /// Starts a daemon with these flags, and asserts that it answers on these interfaces,
    /// with the MAC of each, and not on the others.
    fn assert_answered(&self, flags: &[&str], on: &[&str]) {
        let is_meant = |side: &&Side| on.contains(&side.nic);
        let captures: Vec<_> = self.sides.iter().filter(is_meant).map(Side::capture).collect();
        let run = run();
        let daemon = run.args(flags).start(&self.node).unwrap();
        for capture in &captures {
            wait_for_announcement(capture, &daemon);
        }
        for side in &self.sides {
            let probe = Probe::new(VIP).start(&side.client, CLIENT_NIC).unwrap();
            probe.wait_requests(200).unwrap();
            let recording = probe.stop().unwrap();
            let answerers: Vec<_> = recording.answerers().into_keys().collect();
            let is_attached = !programs_at(&self.node, side.nic, HOOK).unwrap().is_empty();
            assert_eq!(is_attached, is_meant(&side), "{flags:?}: {}", side.nic);
            if is_attached {
                assert_eq!(answerers, [side.mac], "{flags:?}: {}", side.nic);
                assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
            } else {
                assert_eq!(answerers, [], "{flags:?}: {}", side.nic);
            }
        }
        let announced = |frame: &Frame| is_announcement(frame).then(|| frame.arp()).flatten();
        for (capture, side) in captures.iter().zip(self.sides.iter().filter(is_meant)) {
            let by: Vec<_> = capture.frames().iter().filter_map(announced).collect();
            assert!(by.iter().all(|arp: &ArpFrame| arp.sender_mac == side.mac), "{by:?}");
        }
    }
}

impl Side {
    fn capture(&self) -> Capture {
        Capture::start(&self.client, CLIENT_NIC).unwrap()
    }
}

#[test]
fn each_named_interface_answers_with_its_own_mac() {
    let junction = Junction::new(&["ens18", "ens19", "mgmt0"]);
    junction
        .assert_answered(&["--interface", "ens18", "--interface", "ens19"], &["ens18", "ens19"]);
    // The same in one word; and what the one before left is gone, or taken over.
    junction.assert_answered(&["--interface", "ens19,mgmt0"], &["ens19", "mgmt0"]);
}

#[test]
fn a_regular_expression_names_several_interfaces() {
    let junction = Junction::new(&["ens18", "ens19", "mgmt0", "xens1"]);
    junction.assert_answered(&["--interface", "/ens.*/"], &["ens18", "ens19"]);
    junction.assert_answered(&["--interface", "/ens19|m.*/"], &["ens19", "mgmt0"]);
}

#[test]
fn without_a_name_it_is_the_interface_of_the_default_route() {
    let junction = Junction::new(&["ens18", "ens19"]);
    let address = Ipv4Addr::new(192, 0, 2, 101);
    junction.node.ip(&format!("address add {address}/24 dev ens19")).unwrap();
    junction.node.ip(&format!("route add default via {CLIENT_IP} dev ens19")).unwrap();
    junction.assert_answered(&[], &["ens19"]);
}

#[test]
fn an_interface_that_comes_later_is_waited_for() {
    let mut scene = Scene::without_uplink(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let daemon = static_vip(HOOK).start(&scene.node).unwrap();
    daemon.wait_for_log(&format!("waiting for interface {UPLINK}"), SOON).unwrap();
    scene.plug_in();
    wait_for_announcement(&capture, &daemon);
    assert_answers(&scene);
}

#[test]
fn a_default_route_that_comes_later_is_waited_for() {
    let scene = Scene::on_switch(HOOK);
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    let daemon = run().start(&scene.node).unwrap();
    daemon.wait_for_log("waiting for a default route", SOON).unwrap();
    scene.node.ip(&format!("route add default via {CLIENT_IP} dev {UPLINK}")).unwrap();
    wait_for_announcement(&capture, &daemon);
    assert_answers(&scene);
}

#[test]
fn an_interface_without_arp_is_refused() {
    let scene = Scene::on_switch(HOOK);
    let mut daemon = DaemonBuilder::run("lo")
        .unwrap()
        .args(["--static-vip", &VIP.to_string()])
        .start(&scene.node)
        .unwrap();
    assert_ne!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
    daemon.wait_for_log("lo is", SOON).unwrap();
    scene.assert_clean();
}

/// The daemon for [`VIP`], on no interface in particular.
fn run() -> DaemonBuilder {
    let vip = VIP.to_string();
    DaemonBuilder::new("run").unwrap().args(["--static-vip", &vip, "--hook", HOOK.flag()])
}

fn assert_answers(scene: &Scene) {
    let probe = scene.probe();
    probe.wait_requests(200).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [NODE_MAC]);
}

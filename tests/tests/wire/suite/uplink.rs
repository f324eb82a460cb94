//! The uplink goes, comes, changes, and serves others than this host.

use announcer_tests::{
    arp::Mac,
    bpf::{Attached, Hook},
    capture::Capture,
    daemon::{Daemon, DaemonBuilder},
    lab::{CLIENT_NIC, UPLINK},
    neighbour,
    netns::NetNs,
};

use super::HOOK;
use crate::scene::{DARK, NODE_IP, NODE_MAC, SOON, Scene, VIP, wait_for_announcement};

const OTHER_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x77]);
const BRIDGE_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x88]);

/// The uplink is torn away, and comes back: answered as before, and everybody is told.
fn comes_back(away: impl FnOnce(&Scene), back: impl FnOnce(&mut Scene)) {
    let mut scene = Scene::on_switch(HOOK);
    let daemon = scene.answering();
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    away(&scene);
    probe.wait_until_dark(DARK, SOON).unwrap();
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    back(&mut scene);
    wait_for_announcement(&capture, &daemon);
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    assert_eq!(probe.stop().unwrap().duplicated(), 0);
    drop(daemon);
}

#[test]
fn a_cable_that_was_pulled_is_plugged_in_again() {
    comes_back(Scene::cut, |scene| scene.restore());
}

#[test]
fn an_interface_that_was_set_down_is_set_up_again() {
    let set = |scene: &Scene, state| scene.node.ip(&format!("link set {UPLINK} {state}")).unwrap();
    comes_back(|scene| drop(set(scene, "down")), |scene| drop(set(scene, "up")));
}

#[test]
fn an_interface_that_was_deleted_is_made_anew() {
    let delete = |scene: &Scene| drop(scene.node.ip(&format!("link delete {UPLINK}")).unwrap());
    comes_back(delete, Scene::plug_in);
}

#[test]
fn an_interface_that_was_renamed_gets_its_name_back() {
    let rename = |scene: &Scene, from, to| {
        let commands =
            format!("link set {from} down\nlink set {from} name {to}\nlink set {to} up\n");
        scene.node.ip(&commands).unwrap();
    };
    comes_back(|scene| rename(scene, UPLINK, "ens99"), |scene| rename(scene, "ens99", UPLINK));
}

#[test]
fn an_interface_that_was_in_another_namespace_returns() {
    let elsewhere = NetNs::new("elsewhere").unwrap();
    let go = |from: &NetNs, to: &NetNs| {
        from.ip(&format!("link set {UPLINK} netns {}", to.path().display())).unwrap();
        to.ip(&format!("link set {UPLINK} up")).unwrap();
    };
    comes_back(|scene| go(&scene.node, &elsewhere), |scene| go(&elsewhere, &scene.node));
}

#[test]
fn another_mac_is_answered_with_and_announced_at_once() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    assert_eq!(neighbour::resolve(&scene.client, VIP, SOON).unwrap(), NODE_MAC);
    scene.node.ip(&format!("link set {UPLINK} address {OTHER_MAC}")).unwrap();
    let first = probe.wait_answer_by(OTHER_MAC, SOON).unwrap();
    neighbour::wait_for_mac(&scene.client, VIP, OTHER_MAC, SOON).unwrap();
    probe.wait_requests(100).unwrap();
    let recording = probe.stop().unwrap();
    let since = recording.between(first.sent, recording.to);
    assert_eq!(since.answerers().into_keys().collect::<Vec<_>>(), [OTHER_MAC]);
    assert_eq!((since.unanswered(), since.duplicated()), (0, 0));
}

/// The kernel tells nobody, and would answer itself if it had the VIP.
#[test]
fn a_program_that_somebody_detaches_is_attached_again() {
    let scene = Scene::on_switch(HOOK);
    let daemon = scene.answering();
    let probe = scene.probe();
    let link = scene.uplink_pins().join("link");
    let detach = ["link", "detach", "pinned", link.to_str().unwrap()];
    scene.node.tool("bpftool", &detach, "").unwrap();
    probe.wait_until_dark(DARK, SOON).unwrap();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    daemon.wait_for_log("somebody detached the program", SOON).unwrap();
}

#[test]
fn pins_that_somebody_removes_are_made_again() {
    let scene = Scene::on_switch(HOOK);
    let daemon = scene.answering();
    let probe = scene.probe();
    std::fs::remove_dir_all(scene.uplink_pins()).unwrap();
    daemon.wait_for_log("somebody detached the program", SOON).unwrap();
    let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
    wait_for_announcement(&capture, &daemon);
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    assert!(scene.uplink_pins().join("link").exists());
}

/// At tcx there is room for both.
#[test]
fn an_xdp_program_of_somebody_else_on_a_new_interface_is_told_of_and_waited_for() {
    let mut scene = Scene::on_switch(HOOK);
    let daemon = scene.answering();
    let probe = scene.probe();
    scene.node.ip(&format!("link delete {UPLINK}")).unwrap();
    // It has its name only when the other program is there.
    scene.plug_in_as("new0");
    let hook = if HOOK == Hook::Tcx { Hook::Generic } else { HOOK };
    let theirs = Attached::pass_all(&scene.node, "new0", "somebody_elses", hook).unwrap();
    scene.node.ip(&format!("link set new0 name {UPLINK}")).unwrap();
    daemon.wait_for_log("an XDP program of somebody else", SOON).unwrap();
    if HOOK != Hook::Tcx {
        probe.wait_until_dark(DARK, SOON).unwrap();
        drop(theirs);
    }
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
}

#[test]
fn a_vip_of_no_network_of_the_interface_is_told_of() {
    let scene = Scene::on_switch(HOOK);
    let daemon = scene.answering_with(&["--static-vip", "203.0.113.10"]);
    let told = daemon.wait_for_log("in none of the interface's networks", SOON).unwrap().text;
    assert!(told.contains("203.0.113.10") && told.contains("192.0.2.0/24"), "{told}");
    assert!(!daemon.print().contains(&format!("vip={VIP}: the VIP is in none")));
}

/// A host whose uplink is a port of a bridge, as a hypervisor's is, and a guest on it.
fn bridged(scene: &Scene) -> NetNs {
    let guest = NetNs::new("guest").unwrap();
    let commands = format!(
        "link add br0 address {BRIDGE_MAC} type bridge stp_state 0 forward_delay 0\n\
         link set br0 up\n\
         address delete {NODE_IP}/24 dev {UPLINK}\n\
         address add {NODE_IP}/24 dev br0\n\
         link set {UPLINK} master br0\n\
         link add vnet0 type veth peer name eth0 address {OTHER_MAC} netns {}\n\
         link set vnet0 master br0 up\n",
        guest.path().display()
    );
    scene.node.ip(&commands).unwrap();
    guest.ip("link set eth0 up").unwrap();
    guest
}

#[test]
fn on_a_port_of_a_bridge_the_bridges_mac_is_answered_with() {
    let scene = Scene::on_switch(HOOK);
    // As kube-proxy would, the node takes what comes for the VIP.
    scene.node.ip(&format!("address add {VIP}/32 dev lo")).unwrap();
    let _daemon = scene.answering();
    let probe = scene.probe();
    assert_eq!(neighbour::resolve(&scene.client, VIP, SOON).unwrap(), NODE_MAC);
    let _guest = bridged(&scene);
    probe.wait_answer_by(BRIDGE_MAC, SOON).unwrap();
    neighbour::wait_for_mac(&scene.client, VIP, BRIDGE_MAC, SOON).unwrap();
    scene.client.tool("ping", &["-c1", "-W10", &VIP.to_string()], "").unwrap();
}

/// Silence is this host's; a guest behind its bridge may be the one to answer.
#[test]
fn on_a_port_of_a_bridge_a_silent_vip_is_asked_for_behind_it() {
    let scene = Scene::on_switch(HOOK);
    let guest = bridged(&scene);
    silent_passes_to(&scene, &guest);
}

#[test]
fn under_a_macvlan_a_silent_vip_is_asked_for_above() {
    let scene = Scene::on_switch(HOOK);
    let commands = format!(
        "link add link {UPLINK} name macvlan0 address {OTHER_MAC} type macvlan mode bridge\n\
         link set macvlan0 up\n"
    );
    scene.node.ip(&commands).unwrap();
    // Both of the node's interfaces answer for it then.
    silent_passes_to(&scene, &scene.node);
}

/// The kernel does not tell of macvlans in other namespaces, as pods have them.
#[test]
fn under_a_macvlan_of_a_pod_a_silent_vip_is_asked_for_above_where_the_operator_says_so() {
    let scene = Scene::on_switch(HOOK);
    let pod = NetNs::new("pod").unwrap();
    let commands = format!(
        "link add link {UPLINK} name macvlan0 address {OTHER_MAC} type macvlan mode bridge\n\
         link set macvlan0 netns {} name eth0\n",
        pod.path().display()
    );
    scene.node.ip(&commands).unwrap();
    pod.ip("link set eth0 up").unwrap();
    let daemon = scene.answering_with(&["--silence", "pass"]);
    silent_passes_from(daemon, &scene, &pod);
}

/// Who gets frames through the uplink is found out.
fn silent_passes_to(scene: &Scene, guest: &NetNs) {
    let daemon = scene.answering();
    daemon.wait_for_log("requests for VIPs held elsewhere pass", SOON).unwrap();
    silent_passes_from(daemon, scene, guest);
}

fn silent_passes_from(mut daemon: Daemon, scene: &Scene, guest: &NetNs) {
    daemon.kill().unwrap();
    guest.ip(&format!("address add {VIP}/32 dev lo")).unwrap();
    let probe = scene.probe();
    scene.silence();
    probe.wait_answer_by(OTHER_MAC, SOON).unwrap();
    probe.wait_requests(100).unwrap();
    let mut status = DaemonBuilder::new("status").unwrap().start(&scene.node).unwrap();
    status.wait_exit(SOON).unwrap();
    status.wait_for_log("passed_shared", SOON).unwrap();
    status.wait_for_log("silence: requests for VIPs held elsewhere pass: ", SOON).unwrap();
}

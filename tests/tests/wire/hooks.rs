//! Which hook is taken, and who else is on the interface.

use announcer_tests::{
    arp::Mac,
    bpf::{Attached, Hook, programs_at},
    capture::Capture,
    daemon::{Daemon, DaemonBuilder, Signal},
    lab::{CLIENT_NIC, UPLINK},
};

use crate::scene::{NODE_MAC, SOON, Scene, VIP, assert_refused, static_vip, wait_for_announcement};

/// The name of the program that is there already.
const NAME: &str = "somebody_elses";
/// On a busy machine a new process can take longer than the default validity of 2.4 s.
const PATIENT: [&str; 4] = ["--lease-duration", "30s", "--renew-interval", "1s"];

fn auto() -> DaemonBuilder {
    DaemonBuilder::run(UPLINK).unwrap().args(["--static-vip", &VIP.to_string()])
}

/// Asserts that the line about the attachment says all of `parts`.
fn assert_logged(daemon: &Daemon, parts: &[&str]) {
    let attached = daemon.wait_for_log(" attached ", SOON).unwrap().text;
    for part in parts.iter().chain(&[UPLINK, &NODE_MAC.to_string()]) {
        assert!(attached.contains(part), "{part:?} is not in {attached}");
    }
}

#[test]
fn auto_is_tcx_on_veth_and_says_why_and_what_it_costs() {
    let scene = Scene::on_cable(Hook::Tcx);
    let daemon = auto().start(&scene.node).unwrap();
    assert_logged(&daemon, &["hook=tcx", "segmentation offload", "33 ns"]);
    scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
}

#[test]
fn each_hook_can_be_forced() {
    for hook in [Hook::Generic, Hook::Native, Hook::Tcx] {
        let scene = Scene::on_cable(hook);
        let daemon = scene.answering();
        assert_logged(&daemon, &[&format!("hook={hook} "), "asked for with --hook"]);
        assert!(scene.program().is_some());
    }
}

/// What is on top of a NIC has frames and a MAC of its own; macvlan has no native XDP.
#[test]
fn a_macvlan_can_be_the_uplink() {
    let mac = Mac([0x02, 0, 0, 0, 0, 0x77]);
    for hook in ["auto", "tcx", "xdp-generic"] {
        let scene = Scene::on_switch(Hook::Tcx);
        let commands = format!(
            "link add link {UPLINK} name macvlan0 address {mac} type macvlan mode bridge\n\
             link set macvlan0 up\n"
        );
        scene.node.ip(&commands).unwrap();
        let daemon = DaemonBuilder::run("macvlan0").unwrap();
        let flags = ["--static-vip", &VIP.to_string(), "--hook", hook];
        let daemon = daemon.args(flags).start(&scene.node).unwrap();
        scene.probe().wait_answer_by(mac, SOON).unwrap();
        drop(daemon);
    }
}

/// A daemon is killed, and the next one wants another hook.
#[test]
fn the_hook_changes_with_a_restart_in_every_direction() {
    let all = [Hook::Generic, Hook::Native, Hook::Tcx];
    for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
        if from == to {
            continue;
        }
        // With a program at the other end, which native XDP needs and others do not mind.
        let scene = Scene::on_cable(Hook::Native);
        let mut former = static_vip(from).args(PATIENT).start(&scene.node).unwrap();
        let probe = scene.probe();
        probe.wait_answer_by(NODE_MAC, SOON).unwrap();
        former.kill().unwrap();
        let mut daemon = static_vip(to).args(PATIENT).start(&scene.node).unwrap();
        daemon.wait_for_log("adopted=true", SOON).unwrap();
        probe.wait_requests(300).unwrap();
        let recording = probe.stop().unwrap();
        assert_eq!(recording.duplicated(), 0, "{from} to {to}");
        if from == Hook::Tcx || to == Hook::Tcx {
            let first = recording.requests.iter().position(|request| !request.answers.is_empty());
            let lost = recording.unanswered() - first.unwrap();
            assert_eq!(lost, 0, "{from} to {to}: one is attached before the other goes");
        }
        let is_there = |hook| !programs_at(&scene.node, UPLINK, hook).unwrap().is_empty();
        assert_eq!(all.map(is_there), all.map(|hook| hook == to), "{from} to {to}");
        daemon.signal(Signal::Term).unwrap();
        assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
        assert_eq!(all.map(is_there), [false; 3]);
    }
}

#[test]
fn a_foreign_xdp_program_is_named_and_stays_and_does_not_matter_to_tcx() {
    for theirs in [Hook::Generic, Hook::Native] {
        for ours in [Hook::Generic, Hook::Native] {
            let scene = Scene::on_switch(ours);
            let foreign = Attached::pass_all(&scene.node, UPLINK, NAME, theirs).unwrap();
            let programs = programs_at(&scene.node, UPLINK, theirs).unwrap();
            // Its name is told to those only who may see all programs (CAP_SYS_ADMIN).
            let id = format!("program id {},", programs.first().unwrap());
            assert_refused(static_vip(ours).start(&scene.node).unwrap(), &[UPLINK, &id]);
            let by_root = static_vip(ours).with_all_capabilities().start(&scene.node).unwrap();
            assert_refused(by_root, &[UPLINK, NAME]);
            assert_eq!(programs_at(&scene.node, UPLINK, theirs).unwrap(), programs);
            assert!(!scene.pins().exists());
            // When it has gone there is room for ours.
            drop(foreign);
            let _daemon = scene.answering();
        }
        let scene = Scene::on_switch(Hook::Tcx);
        let _foreign = Attached::pass_all(&scene.node, UPLINK, NAME, theirs).unwrap();
        let capture = Capture::start(&scene.client, CLIENT_NIC).unwrap();
        let daemon = auto().start(&scene.node).unwrap();
        wait_for_announcement(&capture, &daemon);
        daemon.wait_for_log("sees requests first", SOON).unwrap();
        scene.probe().wait_answer_by(NODE_MAC, SOON).unwrap();
        assert_eq!(programs_at(&scene.node, UPLINK, theirs).unwrap().len(), 1);
    }
}

#[test]
fn a_foreign_program_on_one_of_two_interfaces_leaves_the_other_clean() {
    let scene = Scene::on_switch(Hook::Generic);
    let second = "link add ens19 type veth peer name peer19\nlink set ens19 up\n";
    scene.node.ip(second).unwrap();
    let _foreign = Attached::pass_all(&scene.node, "ens19", NAME, Hook::Generic).unwrap();
    let daemon = static_vip(Hook::Generic).args(["--interface", "ens19"]).start(&scene.node);
    assert_refused(daemon.unwrap(), &["ens19 already runs an XDP program of somebody else"]);
    scene.assert_clean();
}

//! `announcer doctor` in network namespaces that are well, and in crippled ones.

use std::process::Command;

use announcer_tests::{
    bpf::{self, Attached, Hook},
    daemon::{Daemon, DaemonBuilder, binary},
    examined::Report,
    lab::{CLIENT_IP, UPLINK},
    netns::NetNs,
};

use crate::scene::{NODE_MAC, SOON, Scene, VIP};

fn doctor(args: &[&str]) -> DaemonBuilder {
    let doctor = DaemonBuilder::new("doctor").unwrap().named("doctor");
    doctor.args(["--interface", UPLINK, "--static-vip", &VIP.to_string()]).args(args)
}

fn examined(ns: &NetNs, args: &[&str]) -> Report {
    Report::of(doctor(args).args(["-o", "json"]).start(ns).unwrap(), SOON).unwrap()
}

/// By another program that starts it, like setpriv.
fn examined_by(ns: &NetNs, program: &str, args: &[&str]) -> Report {
    let mut command = Command::new(program);
    command.args(args).arg(binary().unwrap());
    command.args(["doctor", "--interface", UPLINK, "--no-cluster", "-o", "json"]);
    Report::of(Daemon::start(command, "doctor", ns).unwrap(), SOON).unwrap()
}

#[test]
fn a_sound_node_has_no_failure_and_stays_as_it_was() {
    let scene = Scene::on_switch(Hook::Tcx);
    let report = examined(&scene.node, &[]);
    assert_eq!(report.code, Some(0), "{}", report.said);
    report.find("ok", "loaded for each hook");
    report.find("ok", "hook tcx: the best there is: native XDP costs veth");
    report.find("ok", &format!("driver veth, MTU 1500; answers with {NODE_MAC}"));
    report.find("ok", "networks: 192.0.2.0/24");
    report.find("ok", "none runs");
    scene.assert_clean();
}

#[test]
fn a_daemon_that_runs_is_named_and_not_disturbed() {
    let scene = Scene::on_switch(Hook::Tcx);
    let daemon = scene.answering();
    let program = scene.program();
    let probe = scene.probe();
    probe.wait_answer_by(NODE_MAC, SOON).unwrap();
    let report = examined(&scene.node, &[]);
    assert_eq!(report.code, Some(0), "{}", report.said);
    report.find("ok", &format!("process {}", daemon.pid()));
    report.find(
        "ok",
        &format!("the announcer's program is attached: program id {}, tcx", program.unwrap()),
    );
    probe.wait_requests(100).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
    assert_eq!(scene.program(), program);
}

#[test]
fn an_interface_that_is_missing_down_or_unplugged_is_a_failure() {
    let scene = Scene::on_switch(Hook::Tcx);
    scene.cut();
    let report = examined(&scene.node, &[]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.find("failure", "no carrier");
    scene.node.ip(&format!("link set {UPLINK} down")).unwrap();
    let report = examined(&scene.node, &[]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    assert_eq!(report.find("failure", "it is down"), format!("ip link set {UPLINK} up"));
    scene.node.ip(&format!("link set {UPLINK} name ens20")).unwrap();
    let report = examined(&scene.node, &[]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.find("failure", "wait for interface ens18");
}

#[test]
fn other_programs_are_named_with_what_they_mean() {
    let scene = Scene::on_switch(Hook::Tcx);
    let _xdp = Attached::pass_all(&scene.node, UPLINK, "firewall", Hook::Generic).unwrap();
    let _tcx = Attached::pass_all(&scene.node, UPLINK, "cilium", Hook::Tcx).unwrap();
    let id = bpf::programs_at(&scene.node, UPLINK, Hook::Generic).unwrap()[0];
    // Names are for CAP_SYS_ADMIN alone: a person's doctor has it, a pod's has not.
    let examined = |args: &[&str]| {
        let doctor = doctor(args).args(["-o", "json"]).with_all_capabilities();
        Report::of(doctor.start(&scene.node).unwrap(), SOON).unwrap()
    };
    let report = examined(&[]);
    assert_eq!(report.code, Some(0), "tcx is there all the same: {}", report.said);
    let remedy = report.find("warning", &format!("firewall (program id {id}, generic mode)"));
    assert!(remedy.contains(&format!("bpftool prog show id {id}")), "{remedy}");
    report.find("ok", "at tcx, cilium");
    let report = examined(&["--hook", "xdp-generic"]);
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.find("failure", "xdp-generic is not to be had here");
}

#[test]
fn settings_that_do_harm_are_warned_of_and_others_are_not() {
    let scene = Scene::on_switch(Hook::Tcx);
    let set = |key: &str, value| {
        scene.node.sysctl(&format!("net/ipv4/conf/{UPLINK}/{key}"), value).unwrap();
    };
    set("arp_ignore", "2");
    set("arp_announce", "1");
    let sound = examined(&scene.node, &[]);
    sound.find("ok", "arp_ignore 2, arp_announce 1");
    set("proxy_arp", "1");
    set("rp_filter", "1");
    let report = examined(&scene.node, &[]);
    let remedy = report.find("warning", "proxy_arp is on");
    assert!(
        remedy.starts_with(&format!("sysctl -w net.ipv4.conf.{UPLINK}.proxy_arp=0")),
        "{remedy}"
    );
    let remedy = report.find("warning", "rp_filter 1 (strict), and the default route is elsewhere");
    assert!(remedy.contains("rp_filter=2"), "{remedy}");
    scene.node.ip(&format!("route add default via {CLIENT_IP}")).unwrap();
    examined(&scene.node, &[]).find("ok", "rp_filter 1 (strict): fine");
}

#[test]
fn a_port_of_a_bridge_is_told_what_silence_does() {
    let scene = Scene::on_switch(Hook::Tcx);
    scene
        .node
        .ip(&format!("link add br0 type bridge\nlink set br0 up\nlink set {UPLINK} master br0\n"))
        .unwrap();
    examined(&scene.node, &[])
        .find("ok", "it is a port of br0: requests for VIPs held elsewhere pass");
    scene.node.ip("link add kube-ipvs0 type bridge\n").unwrap();
    let report = examined(&scene.node, &[]);
    assert_eq!(report.find("warning", "kube-ipvs0"), "name the bridge: --interface br0");
}

#[test]
fn missing_capabilities_are_named_one_by_one() {
    let scene = Scene::on_switch(Hook::Tcx);
    let only = |capabilities: &str| {
        let bounding = format!("--bounding-set=-all{capabilities}");
        examined_by(&scene.node, "setpriv", &[&bounding, "--inh-caps=-all"])
    };
    let report = only(",+bpf,+net_admin,+net_raw,+perfmon");
    assert_eq!(report.code, Some(0), "{}", report.said);
    report.find("ok", "the four that are needed, and no others");
    report.find("ok", "loaded for each hook");
    let report = only(",+bpf,+net_admin");
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.find("failure", "CAP_NET_RAW is missing");
    report.find("warning", "CAP_PERFMON is missing");
    let report = only("");
    assert_eq!(report.code, Some(7), "{}", report.said);
    let remedy = report.find("failure", "cannot be loaded");
    assert!(remedy.contains("CAP_BPF"), "{remedy}");
}

/// In a mount namespace of its own, where nothing of this machine's is changed.
#[test]
fn a_bpf_file_system_that_is_absent_or_read_only_is_found() {
    let scene = Scene::on_switch(Hook::Tcx);
    let within = |mounts: &str, by: &str| {
        let script = format!("{mounts} && exec {by} \"$@\"");
        let args = ["--mount", "--propagation", "private", "sh", "-c", &script, "sh"];
        examined_by(&scene.node, "unshare", &args)
    };
    let read_only = "mount -t bpf -o ro bpf /sys/fs/bpf";
    let report = within(read_only, "env");
    assert_eq!(report.code, Some(7), "{}", report.said);
    let remedy = report.find("failure", "/sys/fs/bpf cannot be written");
    assert!(remedy.contains("remount,rw"), "{remedy}");
    let absent = "mount -t tmpfs none /sys/fs/bpf";
    let report = within(absent, "env");
    assert_eq!(report.code, Some(0), "it can mount one: {}", report.said);
    report.find("warning", "none at /sys/fs/bpf");
    let four = "setpriv --bounding-set=-all,+bpf,+net_admin,+net_raw,+perfmon";
    let report = within(absent, four);
    assert_eq!(report.code, Some(7), "{}", report.said);
    assert_eq!(report.failures().len(), 1, "{}", report.said);
    report.find("failure", "none at /sys/fs/bpf, and the daemon may not mount one");
}

#[test]
fn recorded_facts_are_judged_as_they_would_be_there() {
    let scene = Scene::on_switch(Hook::Tcx);
    scene.node.ip(&format!("link set {UPLINK} down")).unwrap();
    let mut recorder = doctor(&["--facts"]).start(&scene.node).unwrap();
    assert_eq!(recorder.wait_exit(SOON).unwrap().code(), Some(0), "facts are not judged");
    let facts: String = recorder.log().into_iter().map(|line| line.text + "\n").collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &facts).unwrap();
    // Somewhere else, where there is no such interface.
    let path = file.path().to_str().unwrap();
    let elsewhere = DaemonBuilder::new("doctor").unwrap().args(["--from", path, "-o", "json"]);
    let report = Report::of(elsewhere.start(&scene.client).unwrap(), SOON).unwrap();
    assert_eq!(report.code, Some(7), "{}", report.said);
    report.find("failure", "it is down");

    std::fs::write(file.path(), "{}").unwrap();
    let mut wrong = DaemonBuilder::new("doctor").unwrap().args(["--from", path]);
    wrong = wrong.named("doctor");
    let mut wrong = wrong.start(&scene.client).unwrap();
    assert_eq!(wrong.wait_exit(SOON).unwrap().code(), Some(2));
    assert!(wrong.print().contains("doctor --facts"), "{}", wrong.print());
}

#[test]
fn the_table_ends_in_a_count_and_in_what_to_do_first() {
    let scene = Scene::on_switch(Hook::Tcx);
    scene.node.ip(&format!("link set {UPLINK} down")).unwrap();
    let mut doctor = doctor(&[]).start(&scene.node).unwrap();
    assert_eq!(doctor.wait_exit(SOON).unwrap().code(), Some(7));
    let said = doctor.print();
    for part in ["1 failure", "First: ens18: ip link set ens18 up", "-> ip link set ens18 up"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mut yaml = DaemonBuilder::new("doctor").unwrap();
    yaml = yaml.args(["--interface", UPLINK, "--no-cluster", "-o", "yaml"]);
    let mut yaml = yaml.start(&scene.node).unwrap();
    yaml.wait_exit(SOON).unwrap();
    yaml.wait_for_log("failures: 1", SOON).unwrap();
}

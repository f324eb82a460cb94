//! ICMP echo (RFC 792) to a VIP: the Linux kernel asks, XDP answers.

use announcer_tests::lab::CLIENT_NIC;

use super::HOOK;
use crate::scene::{DARK, NODE_MAC, SOON, Scene, VIP};

/// What ping ends with when nobody has answered; 2 is any other error.
const NO_REPLY: &str = "exit status: 1";

/// `ping`, and whether every request was answered. It checks checksums and data itself.
fn ping(scene: &Scene, options: &[&str]) -> anyhow::Result<String> {
    let vip = VIP.to_string();
    let args: Vec<_> = options.iter().copied().chain([&*vip]).collect();
    scene.client.tool("ping", &args, "")
}

/// The kernel's own count of echo requests that reached it.
fn reached_the_kernel(scene: &Scene) -> u64 {
    let counts = scene.node.tool("nstat", &["-azs", "IcmpInEchos"], "").unwrap();
    let line = counts.lines().find(|line| line.starts_with("IcmpInEchos")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_ping_of_any_size_is_answered_without_the_kernel() {
    let scene = Scene::on_switch(HOOK);
    // It would answer, too.
    scene.node.ip(&format!("address add {VIP}/32 dev lo")).unwrap();
    let daemon = scene.answering();
    let before = reached_the_kernel(&scene);
    for size in ["0", "16", "56", "1472"] {
        let said = ping(&scene, &["-c3", "-i0.05", "-W10", "-s", size]).unwrap();
        assert!(said.contains("3 received, 0% packet loss"), "{said}");
        // The TTL that one hop away is still Linux's own.
        assert!(said.contains("ttl=64"), "{said}");
    }
    assert_eq!(reached_the_kernel(&scene), before);
    let asked = scene.client.ip(&format!("neigh show {VIP}")).unwrap();
    assert!(asked.contains(&NODE_MAC.to_string()), "{asked}");
    drop(daemon);
}

/// Fragments, and requests with IP options, are the kernel's: it has the VIP here.
#[test]
fn fragments_and_ip_options_are_left_to_the_kernel() {
    let scene = Scene::on_switch(HOOK);
    scene.node.ip(&format!("address add {VIP}/32 dev lo")).unwrap();
    let _daemon = scene.answering();
    let before = reached_the_kernel(&scene);
    ping(&scene, &["-c1", "-W10", "-s", "4000"]).unwrap();
    ping(&scene, &["-c1", "-W10", "-T", "tsonly"]).unwrap();
    assert_eq!(reached_the_kernel(&scene), before + 2);
}

#[test]
fn without_answer_ping_it_is_the_kernels_business() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering_with(&["--answer-ping", "false"]);
    // ARP is answered, and then nobody has the address.
    let said = ping(&scene, &["-c1", "-W1"]).unwrap_err();
    assert!(said.to_string().contains(NO_REPLY), "{said:#}");
    scene.node.ip(&format!("address add {VIP}/32 dev lo")).unwrap();
    let before = reached_the_kernel(&scene);
    ping(&scene, &["-c1", "-W10"]).unwrap();
    assert_eq!(reached_the_kernel(&scene), before + 1);
}

#[test]
fn no_ping_is_answered_beyond_the_end_of_a_vips_time() {
    let scene = Scene::on_switch(HOOK);
    let mut daemon = scene.answering();
    ping(&scene, &["-c1", "-W10"]).unwrap();
    let probe = scene.probe();
    daemon.kill().unwrap();
    probe.wait_until_dark(DARK, SOON).unwrap();
    // The client still knows the MAC.
    scene.client.ip(&format!("neigh replace {VIP} lladdr {NODE_MAC} dev {CLIENT_NIC}")).unwrap();
    let said = ping(&scene, &["-c1", "-W1"]).unwrap_err();
    assert!(said.to_string().contains(NO_REPLY), "{said:#}");
}

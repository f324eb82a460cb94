//! Who answers, and who must not.

use std::time::{Duration, Instant};

use announcer_tests::{
    capture::Capture,
    cluster::{Cluster, SOON, Timing},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
    recording::Recording,
};

use crate::{STAY, VIP, answered_by_node_1, cluster, held_by_node_1};

/// A kernel that answers makes a neighbour entry for each asker; this many do no harm.
const FEW: u32 = 64;

#[test]
fn of_nodes_that_all_have_the_vip_on_lo_the_holder_alone_answers() {
    of_nodes_that_all_have_the_vip_the_holder_alone_answers("lo", "");
}

/// As kube-proxy's IPVS mode leaves it without strictARP: on an interface that is down.
#[test]
fn of_nodes_that_all_have_the_vip_on_kube_ipvs0_the_holder_alone_answers() {
    // There it is a dummy device, which not every kernel has.
    let made = "link add kube-ipvs0 type bridge";
    of_nodes_that_all_have_the_vip_the_holder_alone_answers("kube-ipvs0", made);
}

fn of_nodes_that_all_have_the_vip_the_holder_alone_answers(interface: &str, made: &str) {
    let mut cluster = cluster(3, Timing::DEFAULT, []);
    let probe = vip_on_all_nodes(&cluster, interface, made);
    cluster.create_service("web", VIP).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_for_holder(VIP, SOON, |_| true).unwrap();
    let ordered = answered_by_one(&probe);
    let holder = cluster.holder(VIP).unwrap();
    let answerers: Vec<_> = ordered.answerers().into_keys().collect();
    assert_eq!(answerers, [cluster.lab().node(holder).mac]);
    assert!(ordered.requests.len() > 500, "{}", ordered.requests.len());
}

/// As a DaemonSet's update restarts it: its kernel is not to step in meanwhile.
#[test]
fn a_node_whose_announcer_has_left_is_silent_for_a_time_before_its_kernel_answers() {
    const LINGER: Duration = Duration::from_secs(4);
    let args = STAY.into_iter().chain(["--linger", "4s"]);
    let mut cluster = cluster(2, Timing::DEFAULT, args);
    held_by_node_1(&mut cluster);
    let probe = vip_on_all_nodes(&cluster, "lo", "");
    answered_by_one(&probe);
    let from = Instant::now();
    cluster.terminate(2, SOON).unwrap();
    let ended = Instant::now();
    let two = cluster.lab().node(2).mac;
    let first = probe.wait_answer_by(two, SOON).unwrap();
    assert!(first.at - from >= LINGER, "{:?} after its end", first.at - ended);
    let recording = probe.stop().unwrap();
    let silent = recording.between(from, first.sent);
    let one = cluster.lab().node(1).mac;
    assert_eq!(silent.answerers().into_keys().collect::<Vec<_>>(), [one]);
}

#[test]
fn an_announcer_that_is_restarted_leaves_no_moment_for_its_kernel() {
    let mut cluster = cluster(2, Timing::DEFAULT, STAY);
    held_by_node_1(&mut cluster);
    let probe = vip_on_all_nodes(&cluster, "lo", "");
    answered_by_one(&probe);
    let from = Instant::now();
    cluster.terminate(2, SOON).unwrap();
    cluster.start(2).unwrap();
    probe.wait_requests(500).unwrap();
    let recording = probe.stop().unwrap();
    let one = cluster.lab().node(1).mac;
    let since = recording.between(from, recording.to);
    assert_eq!(since.answerers().into_keys().collect::<Vec<_>>(), [one]);
}

/// Gives all nodes the VIP as an address, and answers to questions about others'; returns
/// when who has no announcer answers.
fn vip_on_all_nodes(cluster: &Cluster, interface: &str, made: &str) -> ProbeHandle {
    for node in cluster.lab().nodes() {
        node.ns.sysctl("net/ipv4/conf/all/arp_ignore", "0").unwrap();
        node.ns.ip(&format!("{made}\naddress add {VIP}/32 dev {interface}\n")).unwrap();
    }
    let probe = Probe::new(VIP).askers(FEW).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    for n in 1..=cluster.lab().nodes().len() {
        if cluster.daemon(n).is_err() {
            probe.wait_answer_by(cluster.lab().node(n).mac, SOON).unwrap();
        }
    }
    probe
}

/// Waits until one node answers everything. The others learn of the VIP when they have
/// read the Services.
fn answered_by_one(probe: &ProbeHandle) -> Recording {
    let deadline = Instant::now() + SOON;
    loop {
        let from = Instant::now();
        probe.wait_requests(1200).unwrap();
        let now = probe.snapshot();
        // The last answers may be on their way.
        let now = now.between(from, now.to - Duration::from_millis(200));
        if now.contested() == 0 && now.unanswered() == 0 {
            return now;
        }
        assert!(Instant::now() < deadline, "still answered by {:?}", now.answerers());
    }
}

#[test]
fn an_announcer_that_starts_beside_the_holder_sends_nothing_for_the_vip() {
    let mut cluster = cluster(2, Timing::DEFAULT, []);
    cluster.create_service("web", VIP).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    let probe = answered_by_node_1(&cluster);
    let newcomer = cluster.lab().node(2);
    let (switch, port) = cluster.lab().lan_port(newcomer);
    let capture = Capture::start(switch, port).unwrap();
    let mac = newcomer.mac;
    cluster.start(2).unwrap();
    cluster.wait_lease_duration().unwrap();
    cluster.terminate(2, SOON).unwrap();
    let recording = probe.stop().unwrap();
    let frames = capture.stop().unwrap();

    let sent: Vec<_> = frames
        .iter()
        .filter(|frame| !frame.outgoing)
        .filter_map(|frame| frame.arp())
        .filter(|arp| arp.sender_ip == VIP || arp.target_ip == VIP)
        .collect();
    assert_eq!(sent, [], "sent by {mac}");
    // The capture was in the right place: the client's requests came past it.
    assert!(frames.iter().any(|f| f.outgoing && f.arp().is_some_and(|a| a.target_ip == VIP)));
    let holder = cluster.lab().node(1).mac;
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [holder]);
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

#[test]
fn a_second_announcer_on_a_node_is_refused_and_told_of_the_first() {
    let mut cluster = cluster(1, Timing::DEFAULT, []);
    let probe = held_by_node_1(&mut cluster);
    let mut second = cluster.announcer(1).unwrap().start(&cluster.lab().node(1).ns).unwrap();
    let status = second.wait_exit(SOON).unwrap();
    assert_eq!(status.code(), Some(5), "{}", second.print());
    let first = cluster.daemon(1).unwrap().pid();
    assert!(second.print().contains(&first.to_string()), "names {first}: {}", second.print());
    // The first one goes on.
    cluster.wait_renewals(3).unwrap();
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.duplicated()), (0, 0));
}

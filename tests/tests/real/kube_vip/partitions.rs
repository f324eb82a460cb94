//! A node whose packets to the API server, or whose answers from it, are dropped by a
//! filter: connections stay open and nothing tells the node.

use std::time::{Duration, Instant};

use announcer_tests::{
    cluster::{SOON, Timing},
    lab::{CONTROL_IP, Node},
    neighbour,
};

use crate::{
    Mode, QUICK, VIP, arrived, held_by_node_1, leases, millis,
    wire::{gave_way, steady},
};

/// For how long.
const CUT_OFF: Duration = Duration::from_secs(20);

/// Which packets between a node and the API server are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    Both,
    /// What the node asks for may be done, and it does not hear of it.
    Answers,
}

fn drop_packets(node: &Node, what: Dropped) {
    let requests = match what {
        Dropped::Both => "drop",
        Dropped::Answers => "accept",
    };
    let rules = format!(
        "table ip cut {{
            chain in {{
                type filter hook input priority filter
                ip saddr {CONTROL_IP} drop
            }}
            chain out {{
                type filter hook output priority filter
                ip daddr {CONTROL_IP} {requests}
            }}
         }}\n"
    );
    node.ns.nft(&rules).unwrap();
}

fn drop_nothing(node: &Node) {
    node.ns.nft("delete table ip cut\n").unwrap();
}

#[test]
fn a_leader_cut_off_from_the_api_for_20_s_holds_until_its_successor_announces() {
    leader_cut_off(Mode::Hold, Dropped::Both);
}

#[test]
fn a_leader_cut_off_from_the_api_for_20_s_withdraws_before_its_successor_answers() {
    leader_cut_off(Mode::Withdraw, Dropped::Both);
}

#[test]
fn a_leader_that_hears_no_answers_for_20_s_holds_until_its_successor_announces() {
    leader_cut_off(Mode::Hold, Dropped::Answers);
}

#[test]
fn a_leader_that_hears_no_answers_for_20_s_withdraws_before_its_successor_answers() {
    leader_cut_off(Mode::Withdraw, Dropped::Answers);
}

fn leader_cut_off(mode: Mode, what: Dropped) {
    // So long that a machine with other work stalls in between: none but the leader
    // is to miss a renewal.
    let mut cluster = mode.cluster(3, Timing::DEFAULT);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let lab = cluster.lab();
    let leader = lab.node(1);
    neighbour::resolve(lab.client(), VIP, SOON).unwrap();
    let session = cluster.node_lease(1).unwrap().session;

    let began = Instant::now();
    drop_packets(leader, what);
    let successor = cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    arrived(&cluster, &probe, successor);
    println!("cut off to told by a successor: {:.0} ms", millis(began.elapsed()));
    let rest = (began + CUT_OFF).saturating_duration_since(Instant::now());
    probe.wait_requests(usize::try_from(rest.as_millis()).unwrap()).unwrap();
    let held = cluster.vip_lease(VIP);

    let restored = Instant::now();
    drop_nothing(leader);
    cluster.wait_for_node_lease(1, SOON, |l| l.is_open() && l.session != session).unwrap();
    println!("restored to a new session: {:.0} ms", millis(restored.elapsed()));
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), held, "it stays with its successor");
    let recording = probe.stop().unwrap();
    let successor = lab.node(successor).mac;
    gave_way(&recording, mode, leader.mac, successor);
    let late = recording.between(restored, recording.to);
    steady(&late, successor);
    assert!(late.announcements.iter().all(|a| a.mac == successor), "{:?}", late.announcements);
}

#[test]
fn a_follower_cut_off_from_the_api_disturbs_nobody() {
    follower_cut_off(Dropped::Both);
}

#[test]
fn a_follower_that_hears_no_answers_disturbs_nobody() {
    follower_cut_off(Dropped::Answers);
}

fn follower_cut_off(what: Dropped) {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    for followers in [&[2][..], &[2, 3]] {
        cluster.wait_lease_duration().unwrap();
        let before = leases(&cluster);
        for &n in followers {
            drop_packets(lab.node(n), what);
        }
        for &n in followers {
            cluster.wait_for_node_lease(n, SOON, |lease| !lease.is_open()).unwrap();
        }
        cluster.wait_lease_duration_of(&[1]).unwrap();
        for &n in followers {
            drop_nothing(lab.node(n));
        }
        for &n in followers {
            cluster.wait_for_node_lease(n, SOON, |lease| lease.is_open()).unwrap();
        }
        cluster.wait_renewals(2).unwrap();
        assert_eq!(leases(&cluster).0, before.0, "{followers:?}");
        assert_eq!(leases(&cluster).1[0], before.1[0], "{followers:?}");
    }
    let recording = probe.stop().unwrap();
    let holder = lab.node(1).mac;
    assert!(recording.announcements.iter().all(|a| a.mac == holder));
    steady(&recording, holder);
}

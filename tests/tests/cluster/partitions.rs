//! One node is cut off from the API server, from the LAN, or from both.
//!
//! (A holder that is cut off from both, and comes back, is in `crash`.)

use announcer_tests::{cluster::SOON, lab::Link, topology::Cut};

use crate::{
    Mode, QUICK, VIP, held_by_node_1, leases, quick,
    wire::{answerers, gave_way, steady},
};

#[test]
fn a_holder_cut_off_from_the_api_withdraws_before_its_successor_answers() {
    holder_without_api(Mode::Withdraw);
}

#[test]
fn a_holder_cut_off_from_the_api_holds_until_its_successor_announces() {
    holder_without_api(Mode::Hold);
}

fn holder_without_api(mode: Mode) {
    let mut cluster = mode.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let lab = cluster.lab();
    let cut_off = lab.node(1);
    let session = cluster.node_lease(1).unwrap().session;
    lab.cut(cut_off, Link::Management, Cut::Silent).unwrap();
    let holder = cluster.wait_for_holder(VIP, SOON, |n| n != 1).unwrap();
    let successor = lab.node(holder).mac;
    probe.wait_answer_by(successor, SOON).unwrap();
    let daemon = cluster.daemon(1).unwrap();
    let failed = "a request to the API server failed: update leases/announcer-node-node-1 (this";
    let failed = daemon.wait_for_log(failed, SOON).unwrap().text;
    for part in ["VIPs held here stay up", "next attempt in"] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    if mode == Mode::Withdraw {
        let over = daemon.wait_for_log("no longer answering for 192.0.2.10", SOON).unwrap().text;
        for part in ["--on-api-loss withdraw", "requests have failed for", "a renewal"] {
            assert!(over.contains(part), "{part}: {over}");
        }
    }
    if mode == Mode::Hold {
        daemon.wait_for_log("gave way: ", SOON).unwrap();
        daemon
            .wait_for_log("silent vip=192.0.2.10 why=\"yielded: another announcer", SOON)
            .unwrap();
    }
    cluster.wait_lease_duration_of(&[2, 3]).unwrap();

    lab.restore(cut_off, Link::Management).unwrap();
    cluster.wait_for_node_lease(1, SOON, |l| l.is_open() && l.session != session).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.holder(VIP), Some(holder), "it stays with its successor");
    gave_way(&probe.stop().unwrap(), mode, cut_off.mac, successor);
}

/// Frames vanish and nothing tells the node: its lease goes on, so the VIP stays there.
#[test]
fn a_holder_cut_off_from_the_lan_unawares_keeps_the_vip() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    let lab = cluster.lab();
    let cut_off = lab.node(1);
    lab.cut(cut_off, Link::Lan, Cut::Silent).unwrap();
    cluster.wait_lease_duration().unwrap();
    lab.restore(cut_off, Link::Lan).unwrap();
    probe.wait_answer_by(cut_off.mac, SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before);
    let recording = probe.stop().unwrap();
    assert_eq!((answerers(&recording), recording.duplicated()), (vec![cut_off.mac], 0));
    assert_eq!(recording.gaps().len(), 1, "{:?}", recording.gaps());
}

#[test]
fn a_follower_that_is_cut_off_disturbs_nobody() {
    let mut cluster = Mode::Withdraw.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let held = cluster.vip_lease(VIP);
    let lab = cluster.lab();
    for (followers, link) in [(&[2][..], Link::Lan), (&[2], Link::All), (&[2, 3], Link::Management)]
    {
        for &n in followers {
            lab.cut(lab.node(n), link, Cut::Silent).unwrap();
        }
        if link == Link::Lan {
            cluster.wait_lease_duration().unwrap();
        } else {
            for &n in followers {
                cluster.wait_for_node_lease(n, SOON, |lease| !lease.is_open()).unwrap();
            }
            cluster.wait_renewals_of(&[1], 2).unwrap();
        }
        for &n in followers {
            lab.restore(lab.node(n), link).unwrap();
        }
        for &n in followers {
            cluster.wait_for_node_lease(n, SOON, |lease| lease.is_open()).unwrap();
        }
        cluster.wait_renewals(2).unwrap();
        assert_eq!(cluster.vip_lease(VIP), held, "{followers:?} {link:?}");
    }
    steady(&probe.stop().unwrap(), lab.node(1).mac);
}

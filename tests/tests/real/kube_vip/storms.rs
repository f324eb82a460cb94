//! Many events about one VIP, and what happens to another one's lease.

use std::time::Instant;

use announcer_tests::cluster::{ANNOUNCE, SOON};
use serde_json::json;

use crate::{
    OTHER, QUIET, THIRD, VIP, answered_by, ask, held_by_node_1, leases, millis, quick, wire::steady,
};

/// Of both forms, five rounds.
const ANNOUNCEMENTS: usize = 10;

#[test]
fn a_storm_of_service_updates_moves_nothing_and_announces_nothing() {
    const UPDATES: usize = 200;
    let mut cluster = quick(3);
    cluster.create_service("web", VIP).unwrap();
    cluster.create_service("other", OTHER).unwrap();
    let [probe, other, third] = [VIP, OTHER, THIRD].map(|vip| ask(&cluster, vip));
    cluster.start_all().unwrap();
    let first = probe.wait_first_answer(SOON).unwrap();
    probe.wait_announcements(ANNOUNCEMENTS, SOON, |_| true).unwrap();
    other.wait_first_answer(SOON).unwrap();
    let before = leases(&cluster);

    let began = Instant::now();
    for n in 1..=UPDATES {
        let port = if n % 2 == 0 { 80 } else { 8000 };
        let update = json!({
            "metadata": { "annotations": { "example.com/update": n.to_string() } },
            "spec": { "ports": [{ "name": "http", "port": port }] },
        });
        cluster.patch_service("web", update).unwrap();
        // In passing, a neighbour that cannot make up its mind about its address.
        if n % 4 == 0 {
            let address = if n % 8 == 0 { THIRD } else { OTHER };
            cluster.set_addresses("other", &[address]).unwrap();
        }
    }
    println!("{UPDATES} updates: {:.0} ms", millis(began.elapsed()));
    // It ends as it was left, and late news would have come by then.
    cluster.wait_released(OTHER, SOON).unwrap();
    other.wait_until_dark(QUIET, SOON).unwrap();
    let holder = cluster.wait_for_holder(THIRD, SOON, |_| true).unwrap();
    let holder = cluster.lab().node(holder).mac;
    third.wait_answer_by(holder, SOON).unwrap();
    probe.wait_requests(1500).unwrap();
    assert_eq!(cluster.vip_lease(OTHER).and_then(|lease| lease.held), None);
    assert_eq!(leases(&cluster), before, "nothing moved, nothing was rewritten");
    let recording = probe.stop().unwrap();
    let announced = &recording.announcements;
    assert_eq!(announced.len(), ANNOUNCEMENTS, "{announced:?}");
    steady(&recording.between(first.sent, recording.to), first.mac);
    for probe in [other, third] {
        let recording = probe.stop().unwrap();
        assert_eq!((recording.contested(), recording.duplicated()), (0, 0), "{}", recording.vip);
    }
}

/// The sibling is one of the same holder, then one of another node.
#[test]
fn the_lease_of_a_sibling_may_be_deleted() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    let (label, value) = ANNOUNCE;
    for (name, vip, n) in [("other", OTHER, 1), ("third", THIRD, 2)] {
        // So that this node and no other holds it.
        cluster.set_endpoints(name, &[n]).unwrap();
        cluster.create_service_without_address(name, json!({ label: value })).unwrap();
        let local = json!({ "spec": { "externalTrafficPolicy": "Local" } });
        cluster.patch_service(name, local).unwrap();
        cluster.set_addresses(name, &[vip]).unwrap();
        cluster.wait_for_holder(vip, SOON, |holder| holder == n).unwrap();
    }
    let siblings = [(OTHER, 1), (THIRD, 2)].map(|(vip, n)| (n, answered_by(&cluster, vip, n)));
    cluster.wait_lease_duration().unwrap();
    let before = leases(&cluster);
    for (n, sibling) in &siblings {
        let lease = cluster.vip_lease(sibling.vip()).unwrap();
        cluster.delete_vip_lease(sibling.vip()).unwrap();
        cluster
            .wait_for_vip_lease(sibling.vip(), SOON, |l| {
                l.held == lease.held && l.version != lease.version
            })
            .unwrap();
        cluster.wait_lease_duration().unwrap();
        assert_eq!(cluster.holder(sibling.vip()), Some(*n));
        assert_eq!(leases(&cluster), before);
    }
    for (n, sibling) in siblings {
        let recording = sibling.stop().unwrap();
        let announced: Vec<_> = recording.announcements.iter().map(|a| a.mac).collect();
        let mac = cluster.lab().node(n).mac;
        assert!(announced.iter().all(|&by| by == mac), "{announced:?}");
        steady(&recording, mac);
    }
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

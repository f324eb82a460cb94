//! Addresses as a controller assigns them out of pools.

use std::net::Ipv4Addr;

use announcer_tests::cluster::SOON;

use crate::{
    QUIET, ask, quick,
    wire::{answerers, steady},
};

/// 192.0.2.20-192.0.2.29: its first, one in the middle, its last.
const RANGE: [Ipv4Addr; 3] = [vip(20), vip(25), vip(29)];
/// 192.0.2.240/29: its first and last, which would be no host's in a subnet of this size,
/// and one between.
const CIDR: [Ipv4Addr; 3] = [vip(240), vip(243), vip(247)];

const fn vip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

#[test]
fn each_address_of_a_range_and_of_a_cidr_is_answered_by_one_node() {
    let mut cluster = quick(3);
    cluster.start_all().unwrap();
    // Nodes that are new take nothing that another may have.
    cluster.wait_lease_duration().unwrap();
    let probes = [RANGE, CIDR].concat().into_iter().map(|vip| ask(&cluster, vip));
    let probes: Vec<_> = probes.collect();
    for probe in &probes {
        cluster.create_service(&format!("web-{}", probe.vip().octets()[3]), probe.vip()).unwrap();
    }
    for probe in probes {
        let vip = probe.vip();
        let holder = cluster.wait_for_holder(vip, SOON, |_| true).unwrap();
        let mac = cluster.lab().node(holder).mac;
        let first = probe.wait_answer_by(mac, SOON).unwrap();
        probe.wait_requests(300).unwrap();
        assert_eq!(cluster.holder(vip), Some(holder), "{vip}");
        let recording = probe.stop().unwrap();
        assert_eq!(answerers(&recording), [mac], "{vip}");
        steady(&recording.between(first.sent, recording.to - QUIET), mac);
    }
}

//! Strangers who use a VIP of the cluster, and other announcers, who are none.

use std::time::Duration;

use announcer_apiserver::{EVENTS_V1, LEASES, Match, SERVICES, Verb};
use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    capture::{Capture, Frame, Injector},
    cluster::{Cluster, NAMESPACE, NodeLease, SERVICES_IN, SOON},
    lab::{CLIENT_NIC, Link, UPLINK},
    topology::Cut,
};
use serde_json::{Value, json};

use crate::{QUICK, STAY, VIP, cluster, held_by_node_1, quick};

/// A virtual machine's, by its prefix.
const STRANGER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// What Service `web` was told of address conflicts.
fn events(cluster: &Cluster) -> Vec<Value> {
    let events = cluster.objects().list(&EVENTS_V1, SERVICES_IN).unwrap();
    let ours = |event: &Value| event["reason"] == "AddressConflict";
    events.into_iter().filter(ours).collect()
}

fn claim(cluster: &Cluster) {
    claim_by(cluster, STRANGER);
}

fn claim_by(cluster: &Cluster, mac: Mac) {
    let stranger = Injector::open(cluster.lab().client(), CLIENT_NIC).unwrap();
    let claim = ArpFrame::announcement(mac, VIP, Op::Reply);
    stranger.send(&claim.to_padded_bytes()).unwrap();
}

#[test]
fn a_conflict_is_an_event_on_the_service() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let written = Match::any().verb(Verb::Create).resource(EVENTS_V1);
    let mut others = cluster.audit().count(&written);
    claim(&cluster);
    // Others write Events, too: kube-proxy does when it starts.
    while events(&cluster).is_empty() {
        others += 1;
        assert!(cluster.audit().wait_for(&written, others, SOON), "no Event");
    }
    let told = events(&cluster);
    let [event] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(event["type"], "Warning");
    let service = cluster.objects().get(&SERVICES, SERVICES_IN, "web").unwrap();
    assert_eq!(event["regarding"]["uid"], service["metadata"]["uid"], "kubectl describe shows it");
    let note = event["note"].as_str().unwrap();
    for part in [&STRANGER.to_string(), "QEMU/KVM", "192.0.2.10", "ens18", "node-1", "defended"] {
        assert!(note.contains(part), "{part}: {note}");
    }
    // It goes on, and is no news: the line in the log neither.
    for _ in 0..3 {
        claim(&cluster);
        probe.wait_requests(200).unwrap();
    }
    cluster.wait_renewals(2).unwrap();
    assert_eq!(events(&cluster), told);
    let lines = |n: usize| {
        let log = cluster.daemon(n).unwrap().log();
        log.into_iter().filter(|line| line.text.contains("address conflict")).count()
    };
    assert_eq!(lines(1), 1);
    assert_eq!(lines(2), 0, "the holder alone is concerned");
    // Who holds it goes on.
    let recording = probe.stop().unwrap();
    assert_eq!((recording.unanswered(), recording.contested()), (0, 0));
    assert_eq!(cluster.holder(VIP), Some(1));
}

/// A node that nobody monitors has a new MAC, which its lease tells.
#[test]
fn a_mac_that_only_a_node_lease_knows_is_no_stranger() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let lease = json!({
        "metadata": {
            "name": NodeLease::name("node-9"),
            "labels": { "l2announcer.io/lease": "node", "l2announcer.io/session": "open" },
            "annotations": { "l2announcer.io/macs": STRANGER.to_string() },
        },
        "spec": { "holderIdentity": "node-9", "leaseDurationSeconds": 3600, "leaseTransitions": 1 },
    });
    cluster.create_lease(lease).unwrap();
    let lists = Match::any().verb(Verb::List).resource(LEASES);
    let before = cluster.audit().count(&lists);
    claim(&cluster);
    assert!(cluster.audit().wait_for(&lists, before + 1, SOON), "nobody looked");
    probe.wait_requests(200).unwrap();
    // Another one has no such lease; and it was looked for a moment ago.
    let unknown = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]);
    claim_by(&cluster, unknown);
    let line = cluster.daemon(1).unwrap().wait_for_log("address conflict", SOON).unwrap().text;
    assert!(line.contains(&unknown.to_string()), "{line}");
    assert_eq!(cluster.audit().count(&lists), before + 1);
}

#[test]
fn who_yields_keeps_the_lease_so_that_nobody_else_meets_the_stranger() {
    let args = STAY.into_iter().chain(["--on-conflict", "yield"]);
    let mut cluster = cluster(2, QUICK, args);
    let probe = held_by_node_1(&mut cluster);
    let lease = cluster.vip_lease(VIP);
    claim(&cluster);
    cluster.daemon(1).unwrap().wait_for_log("address conflict", SOON).unwrap();
    probe.wait_until_dark(Duration::from_millis(300), SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), lease);
    let name = NodeLease::name(cluster.name(1));
    let told = |cluster: &Cluster| {
        let lease = cluster.objects().get(&LEASES, NAMESPACE, &name).unwrap();
        let text = lease["metadata"]["annotations"]["l2announcer.io/conflicts"].as_str();
        text.map(|text| serde_json::from_str::<Value>(text).unwrap()["192.0.2.10"].clone())
    };
    let conflict = json!({ "mac": STRANGER.to_string(), "interface": UPLINK, "answered": false });
    assert_eq!(told(&cluster), Some(conflict), "for those who look from elsewhere");
    // Nobody answers the probes of the next attempt: it comes back by itself.
    probe.wait_answer_by(cluster.lab().node(1).mac, SOON).unwrap();
    cluster.daemon(1).unwrap().wait_for_log("address conflict over", SOON).unwrap();
    assert_eq!(cluster.vip_lease(VIP), lease);
    cluster.wait_renewals(2).unwrap();
    assert_eq!(told(&cluster), None);
}

#[test]
fn a_first_claim_is_probed_for_and_a_takeover_is_not() {
    let args = STAY.into_iter().chain(["--probe-interval", "200ms"]);
    let mut cluster = cluster(2, QUICK, args);
    let capture = Capture::start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let probe = held_by_node_1(&mut cluster);
    let [one, two] = [1, 2].map(|n| cluster.lab().node(n).mac);
    let probes_by = |mac: Mac| {
        let probe = ArpFrame::request(mac, std::net::Ipv4Addr::UNSPECIFIED, VIP);
        move |frame: &Frame| frame.arp().as_ref() == Some(&probe)
    };
    let by_one = capture.wait_for_many(3, SOON, probes_by(one)).unwrap();
    assert_eq!(by_one.len(), 3);

    cluster.lab().cut(cluster.lab().node(1), Link::All, Cut::Silent).unwrap();
    probe.wait_answer_by(two, SOON).unwrap();
    let frames = capture.stop().unwrap();
    assert!(!frames.iter().any(probes_by(two)), "a takeover does not wait");
    // The announcements of the one are no conflict to the other.
    cluster.lab().restore(cluster.lab().node(1), Link::All).unwrap();
    cluster.wait_lease_duration().unwrap();
    for n in [1, 2] {
        let log = cluster.daemon(n).unwrap().print();
        assert!(!log.contains("address conflict"), "{log}");
    }
}

//! What Services ask for, the wire does.

use std::{net::SocketAddrV4, time::Instant};

use announcer_apiserver::SERVICES;
use announcer_tests::{
    backend::http_get,
    cluster::{ANNOUNCE, SERVICES_IN, SOON, Timing},
    lab::CLIENT_NIC,
    probe::Probe,
};
use serde_json::json;

use crate::{OTHER, QUIET, THIRD, VIP, cluster, held_by_node_1, millis};

#[test]
fn the_wire_follows_a_service_from_its_address_to_its_end() {
    let mut cluster = cluster(2, Timing::DEFAULT, []);
    cluster.start_all().unwrap();
    let (label, value) = ANNOUNCE;
    cluster.create_service_without_address("web", json!({ label: value })).unwrap();
    let ask = |vip| Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    let (probe, other) = (ask(VIP), ask(OTHER));
    // So that nobody waits for those who might know more than it does.
    cluster.wait_lease_duration().unwrap();
    assert_eq!(probe.snapshot().answerers().len(), 0, "no address is written yet");

    let written = Instant::now();
    cluster.set_addresses("web", &[VIP]).unwrap();
    let first = probe.wait_first_answer(SOON).unwrap();
    let took = first.at.saturating_duration_since(written);
    println!("address written to first answer: {:.1} ms", millis(took));
    let holder = cluster.holder(VIP).unwrap();
    assert_eq!(first.mac, cluster.lab().node(holder).mac);
    let lease = cluster.vip_lease(VIP);

    // Something changes that is none of the announcer's business.
    let changed = Instant::now();
    let ports = json!({ "spec": { "ports": [
        { "name": "http", "port": 80 }, { "name": "https", "port": 443 },
    ] } });
    cluster.patch_service("web", ports).unwrap();
    cluster.set_label("web", "team", Some("a")).unwrap();
    cluster.wait_renewals(1).unwrap();
    probe.wait_requests(300).unwrap();
    let calm = probe.snapshot();
    let calm = calm.between(changed, calm.to - QUIET);
    assert_eq!((calm.unanswered(), calm.contested()), (0, 0));
    assert_eq!(cluster.vip_lease(VIP), lease);

    cluster.set_label("web", label, None).unwrap();
    probe.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(VIP, SOON).unwrap();
    cluster.set_label("web", label, Some(value)).unwrap();
    probe.wait_answer(SOON, |_| true).unwrap();

    assert_eq!(other.snapshot().answerers().len(), 0);
    cluster.set_addresses("web", &[OTHER]).unwrap();
    other.wait_first_answer(SOON).unwrap();
    probe.wait_until_dark(QUIET, SOON).unwrap();
    cluster.wait_released(VIP, SOON).unwrap();
    cluster.set_addresses("web", &[OTHER, VIP]).unwrap();
    probe.wait_answer(SOON, |_| true).unwrap();
    other.wait_answer(SOON, |_| true).unwrap();

    cluster.delete_service("web").unwrap();
    for (probe, vip) in [(probe, VIP), (other, OTHER)] {
        probe.wait_until_dark(QUIET, SOON).unwrap();
        cluster.wait_released(vip, SOON).unwrap();
        assert_eq!(probe.stop().unwrap().contested(), 0, "{vip}");
    }
}

#[test]
fn services_of_others_are_left_alone() {
    let mut cluster = cluster(1, Timing::DEFAULT, []);
    let (label, value) = ANNOUNCE;
    let objects = cluster.objects();
    cluster.create_service_without_address("unlabelled", json!({ "app": "web" })).unwrap();
    cluster.set_addresses("unlabelled", &[OTHER]).unwrap();
    let class = json!({
        "metadata": { "name": "classed", "labels": { label: value } },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "example.com/other",
            "ports": [{ "port": 80 }],
        },
    });
    objects.create(&SERVICES, SERVICES_IN, class).unwrap();
    cluster.set_addresses("classed", &[THIRD]).unwrap();
    cluster.create_service("web", VIP).unwrap();

    let probes = [VIP, OTHER, THIRD]
        .map(|vip| Probe::new(vip).rate(200).start(cluster.lab().client(), CLIENT_NIC).unwrap());
    cluster.start(1).unwrap();
    let [ours, others @ ..] = probes;
    // What was there before ours is known when ours is answered.
    ours.wait_first_answer(SOON).unwrap();
    for probe in others {
        probe.wait_requests(50).unwrap();
        let recording = probe.stop().unwrap();
        assert_eq!(recording.answerers().len(), 0, "{}", recording.vip);
        assert_eq!(cluster.vip_lease(recording.vip), None);
    }
}

#[test]
fn http_through_the_vip_reaches_a_backend() {
    let mut cluster = cluster(3, Timing::DEFAULT, []);
    let backend = cluster.serve("web", VIP).unwrap();
    let _probe = held_by_node_1(&mut cluster);
    cluster.wait_forwarded(VIP, SOON).unwrap();
    let vip = SocketAddrV4::new(VIP, 80);
    let answer = http_get(cluster.lab().client(), vip, SOON).unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "pod on node-3"), "{:?}", backend.address());
}

//! Requests through a VIP: ARP, the node's kube-proxy, a backend, and back.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use announcer_apiserver::ENDPOINT_SLICES;
use announcer_tests::{
    backend::{HttpAnswer, POD_PORT, http_get},
    cluster::{ANNOUNCE, Cluster, SERVICES_IN, SOON},
    controlplane,
    lab::CLIENT_IP,
    neighbour,
};
use anyhow::Result;
use serde_json::json;

use crate::{
    QUIET, VIP, answered_by, arrived, ask, held_by_node_1, quick,
    wire::{handed_over, steady},
};

const HTTP: SocketAddrV4 = SocketAddrV4::new(VIP, 80);

fn set_traffic_policy(cluster: &Cluster, policy: &str) {
    let patch = json!({ "spec": { "externalTrafficPolicy": policy } });
    cluster.patch_service("web", patch).unwrap();
}

/// Waits until node `n` forwards the VIP to some endpoint.
fn wait_forwarded_by(cluster: &Cluster, n: usize) {
    controlplane::wait_forwarded(&cluster.lab().node(n).ns, VIP, HTTP.port(), SOON).unwrap();
}

fn get(cluster: &Cluster) -> HttpAnswer {
    http_get(cluster.lab().client(), HTTP, SOON).unwrap()
}

fn answer(pod_on: usize, client: Ipv4Addr) -> HttpAnswer {
    HttpAnswer { status: 200, body: format!("pod on node-{pod_on}"), client }
}

#[test]
fn traffic_policy_cluster_any_node_answers_and_the_pod_sees_that_node() {
    let mut cluster = quick(3);
    let _backend = cluster.serve("web", VIP).unwrap();
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_forwarded(VIP, SOON).unwrap();
    assert_eq!(get(&cluster), answer(3, cluster.lab().node(1).ip));
    let (client, mac) = (cluster.lab().client(), cluster.lab().node(1).mac);
    assert_eq!(neighbour::mac_of(client, VIP).unwrap(), Some(mac));
    steady(&probe.stop().unwrap(), mac);
}

#[test]
fn traffic_policy_local_the_pods_node_answers_and_the_pod_sees_the_client() {
    let mut cluster = quick(3);
    let _backends = [1, 2, 3].map(|n| cluster.backend(n).unwrap());
    cluster.create_service("web", VIP).unwrap();
    cluster.set_endpoints("web", &[2]).unwrap();
    set_traffic_policy(&cluster, "Local");
    cluster.start_all().unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    let probe = answered_by(&cluster, VIP, 2);
    neighbour::resolve(cluster.lab().client(), VIP, SOON).unwrap();
    // Pods move, more of them come: always to a pod of the node that answers.
    let story: [(&[usize], usize); 5] =
        [(&[2], 2), (&[3], 3), (&[1, 3], 3), (&[1], 1), (&[1, 2], 1)];
    for (pods, holder) in story {
        cluster.set_endpoints("web", pods).unwrap();
        cluster.wait_for_holder(VIP, SOON, |n| n == holder).unwrap();
        arrived(&cluster, &probe, holder);
        wait_forwarded_by(&cluster, holder);
        assert_eq!(get(&cluster), answer(holder, CLIENT_IP), "pods on {pods:?}");
    }
    handed_over(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

/// New requests every 10 ms. One that begins while kube-proxy replaces its rules may
/// fail, a few in a flip and none after the last; whom the client finds by ARP must not
/// change.
#[test]
fn a_traffic_policy_that_flips_while_requests_run_moves_nothing() {
    const PACE: Duration = Duration::from_millis(10);
    const FLIPS: usize = 10;
    const FAILED_A_FLIP: usize = 5;
    const CALM: usize = 100;
    let mut cluster = quick(3);
    let _backends = [1, 3].map(|n| cluster.backend(n).unwrap());
    cluster.set_endpoints("web", &[1, 3]).unwrap();
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_forwarded(VIP, SOON).unwrap();
    let (held, client) = (cluster.vip_lease(VIP), cluster.lab().client());
    let (answers, answered) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let flip = |policy: &str, seen: fn(&HttpAnswer) -> bool| {
        set_traffic_policy(&cluster, policy);
        let (deadline, mut failed) = (Instant::now() + SOON, Vec::new());
        loop {
            let answer: Result<HttpAnswer> = answered.recv_timeout(SOON).unwrap();
            assert!(Instant::now() < deadline, "{policy}: still {answer:?}");
            match answer {
                Ok(answer) if seen(&answer) => break,
                Ok(_) => {}
                Err(error) => failed.push(error),
            }
        }
        println!("{policy}: {} failed", failed.len());
        assert!(failed.len() <= FAILED_A_FLIP, "{policy}: {failed:#?}");
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                if answers.send(http_get(client, HTTP, SOON)).is_err() {
                    return;
                }
            }
        });
        // Dropped by a panic, too: then the other thread ends as well.
        let _end = end;
        for _ in 0..FLIPS {
            flip("Local", |answer| answer.client == CLIENT_IP);
            flip("Cluster", |answer| answer.client != CLIENT_IP);
        }
        // Rules that are being replaced still are so soon, and not any more then.
        let (mut calm, mut failed) = (0, 0);
        while calm < CALM {
            match answered.recv_timeout(SOON).unwrap() {
                Ok(answer) => {
                    assert_eq!(answer.status, 200);
                    calm += 1;
                }
                Err(error) => {
                    (calm, failed) = (0, failed + 1);
                    assert!(failed <= FAILED_A_FLIP, "it goes on failing: {error:#}");
                }
            }
        }
    });
    assert_eq!(cluster.vip_lease(VIP), held, "its holder has a pod");
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn a_service_of_tcp_and_udp_ports_has_one_holder_and_one_announcement() {
    const BOTH_FORMS_OF_FIVE_ROUNDS: usize = 10;
    const DNS: u16 = 5353;
    let mut cluster = quick(3);
    let _http = cluster.backend(3).unwrap();
    let pod = cluster.lab().node(3);
    let dns = pod.pod.run(|| Ok(UdpSocket::bind((pod.pod_ip, DNS))?)).unwrap();
    let (label, value) = ANNOUNCE;
    cluster.create_service_without_address("web", json!({ label: value })).unwrap();
    let ports = json!([
        { "name": "http", "port": 80, "targetPort": POD_PORT },
        { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": DNS },
    ]);
    cluster.patch_service("web", json!({ "spec": { "ports": ports } })).unwrap();
    cluster.set_addresses("web", &[VIP]).unwrap();
    let slice = json!({
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [pod.pod_ip.to_string()], "nodeName": "node-3" }],
        "ports": [
            { "name": "http", "port": POD_PORT },
            { "name": "dns", "port": DNS, "protocol": "UDP" },
        ],
    });
    cluster.objects().create(&ENDPOINT_SLICES, SERVICES_IN, slice).unwrap();
    let probe = ask(&cluster, VIP);
    cluster.start_all().unwrap();
    let first = probe.wait_first_answer(SOON).unwrap();
    let held = cluster.vip_lease(VIP);
    cluster.wait_forwarded(VIP, SOON).unwrap();

    let holder = cluster.lab().node(cluster.holder(VIP).unwrap());
    assert_eq!(get(&cluster), answer(3, holder.ip));
    let asker = cluster.lab().client().run(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();
    for socket in [&asker, &dns] {
        socket.set_read_timeout(Some(SOON)).unwrap();
    }
    let mut text = [0; 16];
    asker.send_to(b"question", (VIP, 53)).unwrap();
    let (length, from) = dns.recv_from(&mut text).unwrap();
    assert_eq!((&text[..length], from.ip()), (&b"question"[..], holder.ip.into()));
    dns.send_to(b"answer", from).unwrap();
    let (length, from) = asker.recv_from(&mut text).unwrap();
    assert_eq!((&text[..length], from), (&b"answer"[..], SocketAddrV4::new(VIP, 53).into()));

    probe.wait_announcements(BOTH_FORMS_OF_FIVE_ROUNDS, SOON, |_| true).unwrap();
    // Long enough for a round too many.
    probe.wait_requests(1500).unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    let calm = probe.stop().unwrap();
    assert_eq!(calm.announcements.len(), BOTH_FORMS_OF_FIVE_ROUNDS, "{:?}", calm.announcements);
    steady(&calm.between(first.sent, calm.to - QUIET), first.mac);
}

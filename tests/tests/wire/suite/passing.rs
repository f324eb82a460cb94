//! Everything that is not ours reaches the kernel unchanged, in order.

use std::net::SocketAddrV4;

use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    backend::{Backend, http_get},
    lab::CLIENT_MAC,
};

use super::HOOK;
use crate::scene::{NODE_IP, NODE_MAC, SOON, Scene, request};

/// A frame with this EtherType (or length) and payload, to the node.
fn frame(destination: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0, &CLIENT_MAC.0, &kind.to_be_bytes()[..], payload].concat()
}

#[test]
fn frames_of_every_kind_arrive_as_they_were_sent() {
    let scene = Scene::on_cable(HOOK);
    let _daemon = scene.answering();
    let payload: Vec<u8> = (0..=255).cycle().take(1500).collect();
    let lldp = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    let elsewhere = Mac([0x02, 0, 0, 0, 0, 0x77]);
    let mut frames = Vec::new();
    for destination in [NODE_MAC, Mac::BROADCAST, elsewhere, lldp] {
        // IPv4, IPv6, LLDP, local experiments, Wake-on-LAN, MPLS, RARP; 802.3 with a length.
        for kind in [0x0800, 0x86dd, 0x88cc, 0x88b5, 0x0842, 0x8847, 0x8035, 46] {
            for len in [0, 1, 27, 28, 46, 1500] {
                frames.push(frame(destination, kind, &payload[..len]));
            }
        }
        // ARP that makes no sense, of every length.
        frames.extend((0..=50).map(|len| frame(destination, 0x0806, &payload[..len])));
        let asked = ArpFrame { destination, target_ip: [192, 0, 2, 200].into(), ..request() };
        frames.push(asked.to_padded_bytes());
        frames.push(ArpFrame { op: Op::Reply, ..asked }.to_bytes());
    }
    let kernel = scene.kernel();
    let asker = scene.asker();
    for frame in &frames {
        asker.send(frame);
    }
    let mut seen = kernel.wait_for_many(frames.len(), |_| true).unwrap();
    // A thread that changes its CPU in between can overtake itself.
    seen.sort_unstable();
    frames.sort_unstable();
    assert_eq!(seen, frames);
}

#[test]
fn connections_to_the_node_itself_work() {
    let scene = Scene::on_switch(HOOK);
    let _daemon = scene.answering();
    let backend = Backend::start(&scene.node, SocketAddrV4::new(NODE_IP, 0), &"x".repeat(1 << 20));
    let backend = backend.unwrap();
    let answer = http_get(&scene.client, backend.address(), SOON).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 1 << 20));
}

//! Frames longer than a page, and such as the kernel has in pieces.

use announcer_tests::{
    backend::{Backend, http_get},
    lab::{CLIENT_MAC, CLIENT_NIC, UPLINK},
};

use super::HOOK;
use crate::scene::{NODE_IP, NODE_MAC, SOON, Scene, reply_to, request};

const JUMBO: usize = 9000;
const ETHERNET_HEADER: usize = 14;

/// A cable for jumbo frames, which are longer than a page and so in several pieces.
fn scene() -> Scene {
    let scene = Scene::on_cable(HOOK);
    scene.node.ip(&format!("link set {UPLINK} mtu {JUMBO}\n")).unwrap();
    scene.client.ip(&format!("link set {CLIENT_NIC} mtu {JUMBO}\n")).unwrap();
    scene
}

/// A request with so many octets after it.
fn request_of(len: usize) -> Vec<u8> {
    let trailer = (0..=u8::MAX).cycle();
    request().to_bytes().into_iter().chain(trailer).take(len).collect()
}

#[test]
fn requests_of_every_size_are_answered() {
    let scene = scene();
    let _daemon = scene.answering();
    let asker = scene.asker();
    for len in [42, 60, 1514, 3000, 4096, 5000, 8000, JUMBO + ETHERNET_HEADER] {
        let request = request_of(len);
        assert_eq!(asker.answer_to(&request), reply_to(&request), "{len} octets");
    }
}

/// In the kernel's hands is nothing but the Ethernet header, the rest is in fragments.
#[test]
fn requests_whose_headers_are_in_pieces_are_answered() {
    let scene = scene();
    let _daemon = scene.answering();
    let asker = scene.asker();
    for len in [5000, 8000, JUMBO + ETHERNET_HEADER] {
        for linear in [14, 15, 41, 42, 60] {
            let request = request_of(len);
            let answer = asker.answer_to_fragmented(&request, linear);
            assert_eq!(answer, reply_to(&request), "{len} octets, {linear} of them in one piece");
        }
    }
}

/// Whatever is not ours, tags and what nobody knows included.
#[test]
fn other_frames_of_every_size_arrive_as_they_were_sent() {
    let scene = scene();
    let _daemon = scene.answering();
    let kernel = scene.kernel();
    let asker = scene.asker();
    let octets: Vec<u8> = (0..=u8::MAX).cycle().take(JUMBO).collect();
    let vlans = [[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7], [0x88, 0xa8, 0, 0, 0x81, 0, 0x0f, 0xff]];
    let mut frames = Vec::new();
    for len in [1514, 4096, 5000, JUMBO] {
        let headers = [&[0x08, 0x00][..], &[0x86, 0xdd], &[0x88, 0xb5], &vlans[0], &vlans[1]];
        for header in headers {
            let addresses = [NODE_MAC.0, CLIENT_MAC.0].concat();
            let frame = [&addresses, header, &octets].concat();
            frames.push(frame[..len].to_vec());
        }
    }
    for frame in &frames {
        asker.send(frame);
    }
    for frame in &frames {
        kernel.wait_for(frame).unwrap();
    }
}

#[test]
fn connections_to_the_node_itself_work_with_jumbo_frames() {
    let scene = scene();
    let _daemon = scene.answering();
    let address = std::net::SocketAddrV4::new(NODE_IP, 0);
    let backend = Backend::start(&scene.node, address, &"x".repeat(4 << 20)).unwrap();
    let answer = http_get(&scene.client, backend.address(), SOON).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 4 << 20));
}

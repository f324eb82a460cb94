//! Frames as they pass an interface: recorded, waited for, and injected.

use std::{
    os::fd::AsFd,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    arp::ArpFrame,
    netns::NetNs,
    packet_socket::{ETH_P_ALL, PacketSocket, Received},
    poll::{Stop, Stopped},
    watched::Watched,
};

/// A frame that passed the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When the kernel saw it.
    pub at: Instant,
    /// Sent by this host, not received.
    pub outgoing: bool,
    /// From the Ethernet destination on, VLAN tags in place.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// The frame as ARP for IPv4, if it is that.
    pub fn arp(&self) -> Option<ArpFrame> {
        ArpFrame::parse(&self.bytes)
    }
}

/// Records every frame on one interface, received and sent, from the moment it was
/// started until it is stopped or dropped.
///
/// On the receiving side it sees what XDP passed on to the kernel: XDP runs before, and tcx
/// after.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Watched<Vec<Frame>>>,
    stop: Stop,
    thread: Option<JoinHandle<Result<()>>>,
    place: String,
}

impl Capture {
    /// Starts to record on `ifname` of `ns`.
    ///
    /// # Errors
    /// No such interface; no CAP_NET_RAW.
    pub fn start(ns: &NetNs, ifname: &str) -> Result<Self> {
        let place = format!("{ifname} of {ns:?}");
        let socket = PacketSocket::open(ns, ifname, ETH_P_ALL)?;
        socket.set_promiscuous()?;
        let (stop, stopped) = Stop::new()?;
        let frames = Arc::new(Watched::<Vec<Frame>>::default());
        let sink = Arc::clone(&frames);
        let thread = thread::Builder::new()
            .name("lab-capture".into())
            .spawn(move || record(&socket, &stopped, &sink))?;
        Ok(Self { frames, stop, thread: Some(thread), place })
    }

    /// The frames so far.
    pub fn frames(&self) -> Vec<Frame> {
        self.frames.lock().clone()
    }

    /// Waits for a frame that `wanted` accepts, among those already recorded too.
    ///
    /// # Errors
    /// None came within `within`; the error tells what did come.
    pub fn wait_for(&self, within: Duration, wanted: impl Fn(&Frame) -> bool) -> Result<Frame> {
        Ok(self.wait_for_many(1, within, wanted)?.swap_remove(0))
    }

    /// Waits until `n` frames that `wanted` accepts have been recorded, and returns all
    /// such frames.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_for_many(
        &self,
        n: usize,
        within: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Vec<Frame>> {
        let (mut seen, mut found) = (0, Vec::new());
        let complete = self.frames.wait(within, |frames| {
            found.extend(frames.iter().skip(seen).filter(|f| wanted(f)).cloned());
            seen = frames.len();
            (found.len() >= n).then_some(())
        });
        if complete.is_none() {
            let (place, found) = (&self.place, found.len());
            bail!("{found} of {n} expected frames on {place} within {within:?}, {seen} in all");
        }
        Ok(found)
    }

    /// Stops and returns every frame.
    ///
    /// # Errors
    /// Frames were lost because the recording fell behind, or the interface failed.
    pub fn stop(mut self) -> Result<Vec<Frame>> {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let end = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            end.with_context(|| format!("capturing on {}", self.place))?;
        }
        Ok(std::mem::take(&mut *self.frames.lock()))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // What it would report belongs to `stop`.
            let _ = thread.join();
        }
    }
}

/// Sends raw frames from one interface.
#[derive(Debug)]
pub struct Injector(PacketSocket);

impl Injector {
    /// Opens `ifname` of `ns` for sending.
    ///
    /// # Errors
    /// No such interface; no CAP_NET_RAW.
    pub fn open(ns: &NetNs, ifname: &str) -> Result<Self> {
        PacketSocket::open(ns, ifname, 0).map(Self)
    }

    /// Sends `frame`, from the Ethernet destination on, as it is: not padded, nothing
    /// checked.
    ///
    /// # Errors
    /// Interface down; shorter than the 14 bytes of an Ethernet header.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.0.send(frame).with_context(|| format!("sending a frame of {} bytes", frame.len()))
    }
}

/// Sends frames from one interface that the kernel has in several pieces.
#[derive(Debug)]
pub struct Fragmenter(PacketSocket);

impl Fragmenter {
    /// Opens `ifname` of `ns` for sending.
    ///
    /// # Errors
    /// As [`Injector::open`].
    pub fn open(ns: &NetNs, ifname: &str) -> Result<Self> {
        let socket = PacketSocket::open(ns, ifname, 0)?;
        socket.set_header_before_frames()?;
        Ok(Self(socket))
    }

    /// Sends `frame`, of which the first `linear` octets are in one piece. The kernel takes
    /// heed of that for frames of about a page or more.
    ///
    /// # Errors
    /// As [`Injector::send`].
    pub fn send(&self, frame: &[u8], linear: u16) -> Result<()> {
        // struct virtio_net_hdr: no checksum or segmentation to be done, the header's length.
        let mut bytes = vec![0; 10];
        bytes[2..4].copy_from_slice(&linear.to_ne_bytes());
        bytes.extend(frame);
        self.0.send(&bytes).with_context(|| format!("sending a frame of {} bytes", frame.len()))
    }
}

fn record(socket: &PacketSocket, stopped: &Stopped, sink: &Watched<Vec<Frame>>) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let over = stopped.wait_readable(socket.as_fd())?;
        // What arrived before the stop is part of the recording.
        while let Some(received) = socket.receive(&mut buffer)? {
            let frame = whole(&received, &buffer);
            sink.update(|frames| frames.push(frame));
        }
        if over {
            break;
        }
    }
    match socket.dropped()? {
        0 => Ok(()),
        lost => bail!("{lost} frames were lost: the machine is too busy to record them"),
    }
}

/// The frame as it was on the wire: the kernel keeps the outermost tag beside it.
fn whole(received: &Received, buffer: &[u8]) -> Frame {
    let stored = buffer.get(..received.len).unwrap_or(buffer);
    let mut bytes = Vec::with_capacity(stored.len() + 4);
    match (received.tag, stored.split_at_checked(12)) {
        (Some(tag), Some((addresses, rest))) => {
            bytes.extend(addresses);
            bytes.extend(tag.tpid.to_be_bytes());
            bytes.extend(tag.tci.to_be_bytes());
            bytes.extend(rest);
        }
        _ => bytes.extend(stored),
    }
    Frame { at: received.at, outgoing: received.outgoing, bytes }
}

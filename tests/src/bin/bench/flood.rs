//! One thread that sends the same frame as fast as it can. On veth nothing is queued:
//! when a send returns, the frame has been through its receiver's XDP program and
//! network stack, and the answer back to the client.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use announcer_tests::{netns::NetNs, packet_socket::PacketSocket};

use crate::process::{SoftIrqThreads, thread_cpu_time};

/// Frames between two looks at the clock.
const BATCH: u32 = 256;

/// A client's interface, ready to flood.
pub(crate) struct Flood<'a> {
    client: &'a NetNs,
    nic: &'a str,
    socket: PacketSocket,
}

/// What a flood of requests took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) requests: u64,
    pub(crate) answers: u64,
    /// CPU time, on whatever thread.
    pub(crate) cpu: Duration,
}

impl Taken {
    /// Microseconds of CPU for each request.
    pub(crate) fn us_a_request(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// How many of the requests were answered, as a fraction.
    pub(crate) fn answered(self) -> f64 {
        self.answers as f64 / self.requests as f64
    }
}

impl<'a> Flood<'a> {
    pub(crate) fn on(client: &'a NetNs, nic: &'a str) -> Result<Self> {
        Ok(Self { client, nic, socket: PacketSocket::open(client, nic, 0)? })
    }

    /// Sends a frame so many times.
    pub(crate) fn burst(&self, frame: &[u8], count: u32) -> Result<()> {
        for _ in 0..count {
            // The device's queue is full: others must run first.
            while let Err(error) = self.socket.send(frame) {
                if error.raw_os_error() != Some(libc::ENOBUFS) {
                    return Err(failed(error));
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Sends requests for so long, and counts the answers that come in.
    pub(crate) fn requests(
        &self,
        request: &[u8],
        length: Duration,
        softirq: &SoftIrqThreads,
    ) -> Result<Taken> {
        let before = (self.received()?, softirq.cpu_time()?, thread_cpu_time());
        let start = Instant::now();
        let mut requests = 0;
        while start.elapsed() < length {
            self.burst(request, BATCH)?;
            requests += u64::from(BATCH);
        }
        let (thread, softirq) = (thread_cpu_time(), softirq.cpu_time()?);
        Ok(Taken {
            requests,
            answers: self.received()?.saturating_sub(before.0),
            cpu: (thread - before.2) + softirq.saturating_sub(before.1),
        })
    }

    /// Frames that the interface has received.
    fn received(&self) -> Result<u64> {
        let args = ["-json", "-stats", "link", "show", "dev", self.nic];
        let links: Value = serde_json::from_str(&self.client.tool("ip", &args, "")?)?;
        let packets = links.pointer("/0/stats64/rx/packets").and_then(Value::as_u64);
        packets.with_context(|| format!("`ip -stats` does not count what {} received", self.nic))
    }
}

fn failed(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("sending a frame")
}

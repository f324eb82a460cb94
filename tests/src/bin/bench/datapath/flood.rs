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
    /// By the clock on the wall.
    pub(crate) elapsed: Duration,
}

impl Taken {
    /// Microseconds of CPU for each request.
    pub(crate) fn us_a_request(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// How many answers came in a second.
    pub(crate) fn answers_a_second(self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
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
        (0..count).try_for_each(|_| self.send(frame))
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        // The device's queue is full: others must run first.
        while let Err(error) = self.socket.send(frame) {
            if error.raw_os_error() != Some(libc::ENOBUFS) {
                return Err(failed(error));
            }
            std::thread::yield_now();
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
        let start = Instant::now();
        let mut requests = 0;
        self.take(softirq, || {
            while start.elapsed() < length {
                self.burst(request, BATCH)?;
                requests += BATCH;
            }
            Ok(requests)
        })
    }

    /// Sends so many requests, and counts the answers that come in.
    pub(crate) fn some_requests(
        &self,
        request: &[u8],
        count: u32,
        softirq: &SoftIrqThreads,
    ) -> Result<Taken> {
        self.take(softirq, || self.burst(request, count).map(|()| count))
    }

    /// `send` says how many requests it has sent.
    fn take(&self, softirq: &SoftIrqThreads, send: impl FnOnce() -> Result<u32>) -> Result<Taken> {
        let before = (self.received()?, softirq.cpu_time()?, thread_cpu_time());
        let start = Instant::now();
        let requests = send()?;
        let (elapsed, thread, softirq) = (start.elapsed(), thread_cpu_time(), softirq.cpu_time()?);
        Ok(Taken {
            requests: requests.into(),
            answers: self.received()?.saturating_sub(before.0),
            cpu: (thread - before.2) + softirq.saturating_sub(before.1),
            elapsed,
        })
    }

    /// Frames that the interface has received.
    pub(crate) fn received(&self) -> Result<u64> {
        let args = ["-json", "-stats", "link", "show", "dev", self.nic];
        let links: Value = serde_json::from_str(&self.client.tool("ip", &args, "")?)?;
        let packets = links.pointer("/0/stats64/rx/packets").and_then(Value::as_u64);
        packets.with_context(|| format!("`ip -stats` does not count what {} received", self.nic))
    }
}

fn failed(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("sending a frame")
}

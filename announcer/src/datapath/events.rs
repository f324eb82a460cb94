//! What the program reports, read without polling.

use std::{
    fmt,
    net::Ipv4Addr,
    task::{Context, Poll, ready},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use announcer_ebpf::abi::{self, ClaimRecord};

use super::error::DatapathError;
use crate::{
    types::{BootTime, MacAddr, Vip},
    wire_state::{ClaimKind, ForeignClaim},
};

/// Foreign claims seen on one interface, oldest first.
pub struct ClaimStream {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl fmt::Debug for ClaimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimStream").finish_non_exhaustive()
    }
}

impl ClaimStream {
    pub(super) fn new(ring: RingBuf<MapData>) -> Result<Self, DatapathError> {
        // SAFETY: the RingBuf owns its map's descriptor and never replaces it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        ring.map(|ring| Self { ring }).map_err(|error| {
            DatapathError::system("waiting for the ring buffer of foreign claims", error.into())
        })
    }

    /// The next claim if there is one now. After a pause of the whole process
    /// this finds what the ring buffer kept meanwhile, without a wait.
    pub fn try_next(&mut self) -> Option<ForeignClaim> {
        let ring = self.ring.get_mut();
        loop {
            // A record that is none of ours is skipped.
            let record = ring.next()?;
            if let Some(claim) = decode(&record) {
                return Some(claim);
            }
        }
    }

    /// The next claim, when there is one.
    ///
    /// # Errors
    /// The event loop is shutting down.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<ForeignClaim>> {
        loop {
            if let Some(claim) = self.try_next() {
                return Poll::Ready(Ok(claim));
            }
            // Cleared, then looked again: a record that comes in between is seen.
            ready!(self.ring.poll_read_ready_mut(cx))?.clear_ready();
        }
    }
}

fn decode(record: &[u8]) -> Option<ForeignClaim> {
    let (at_ns, rest) = record.split_first_chunk::<8>()?;
    let (vip, rest) = rest.split_first_chunk::<4>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let target = rest.first_chunk::<4>()?;
    if record.len() != size_of::<ClaimRecord>() {
        return None;
    }
    Some(ForeignClaim {
        vip: Vip::new(Ipv4Addr::from(*vip).into()).ok()?,
        mac: MacAddr::new(*mac),
        announces: target == vip,
        kind: match u16::from_ne_bytes(*operation) {
            abi::OPERATION_PROBE => ClaimKind::Probe,
            1 => ClaimKind::Request,
            2 => ClaimKind::Reply,
            _ => return None,
        },
        at: BootTime::from_nanos(u64::from_ne_bytes(*at_ns)),
    })
}

/// What the program logs, on its way to tracing.
pub struct LogStream {
    logger: AsyncFd<EbpfLogger<ToTracing>>,
}

impl fmt::Debug for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStream").finish_non_exhaustive()
    }
}

impl LogStream {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let logger = EbpfLogger::init_with_logger(ebpf, ToTracing)
            .map_err(|_| DatapathError::Incomplete("AYA_LOGS"))?;
        // SAFETY: the logger owns its map's descriptor; flushing does not replace it.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
        logger.map(|logger| Self { logger }).map_err(|error| {
            DatapathError::system("waiting for the log of the BPF program", error.into())
        })
    }

    /// Forwards what comes; ready only when the event loop is shutting down.
    ///
    /// # Errors
    /// The event loop is shutting down.
    pub fn poll_forward(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            self.logger.get_mut().flush();
            ready!(self.logger.poll_read_ready_mut(cx))?.clear_ready();
        }
    }
}

struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(target: "announcer::xdp", "{}", record.args());
    }

    fn flush(&self) {}
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [192, 0, 2, 10];

    fn record(operation: u16, target: [u8; 4]) -> Vec<u8> {
        let mut record = 7_u64.to_ne_bytes().to_vec();
        record.extend([192, 0, 2, 10, 2, 0, 0, 0, 0, 1]);
        record.extend(operation.to_ne_bytes());
        record.extend(target);
        record
    }

    #[test]
    fn records_become_claims() {
        let claim = ForeignClaim {
            vip: "192.0.2.10".parse().expect("a VIP"),
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            announces: true,
            kind: ClaimKind::Reply,
            at: BootTime::from_nanos(7),
        };
        assert_eq!(decode(&record(2, VIP)), Some(claim));
        assert_eq!(decode(&record(1, VIP)).map(|claim| claim.kind), Some(ClaimKind::Request));
        let probe = ForeignClaim { announces: false, kind: ClaimKind::Probe, ..claim };
        assert_eq!(decode(&record(abi::OPERATION_PROBE, [0; 4])), Some(probe));
        let answer = ForeignClaim { announces: false, ..claim };
        assert_eq!(decode(&record(2, [192, 0, 2, 1])), Some(answer));
    }

    #[test]
    fn other_records_do_not() {
        let whole = record(1, VIP);
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "{len} octets");
        }
        assert_eq!(decode(&[&whole[..], &[0]].concat()), None);
        assert_eq!(decode(&record(3, VIP)), None);
    }
}

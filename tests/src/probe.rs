//! An ARP probe client: asks for a VIP at a steady rate, and records every answer
//! and every gratuitous ARP.
//!
//! Each request has a sender address of its own, so that an answer, which names it
//! as its target, is attributed to its request. The sender MAC stays the same, so the
//! switch learns one address only and floods no answers; and it is not the MAC of
//! the client's interface, so the client's kernel ignores the answers, and its
//! neighbour table says what gratuitous ARP alone has told it.

mod schedule;

use std::{
    net::Ipv4Addr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::schedule::Schedule;
use crate::{
    arp::{ArpFrame, ETH_P_ARP, Mac, Op},
    netns::NetNs,
    packet_socket::PacketSocket,
    poll::{Stop, Stopped},
    recording::{Announcement, Answer, Recording, Request},
    watched::Watched,
};

/// Sender addresses are taken from 198.18.0.0/15 (RFC 2544: benchmarks), which no lab
/// network uses.
const ASKERS_BASE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// As many as the range has, without its first and last address.
const MAX_ASKERS: u32 = (1 << 17) - 2;
/// An answer that takes longer than this after the last request is not waited for. A
/// reply takes well under a millisecond; a busy machine may delay the reading thread.
const GRACE: Duration = Duration::from_millis(200);

/// What to ask for, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    vip: Ipv4Addr,
    rate: u32,
    askers: u32,
}

/// A probe that is running; dropping it ends it.
#[derive(Debug)]
pub struct ProbeHandle {
    probe: Probe,
    seen: Arc<Watched<Seen>>,
    sending: Arc<AtomicBool>,
    stop: Stop,
    sender: Option<JoinHandle<Result<()>>>,
    receiver: Option<JoinHandle<Result<()>>>,
    from: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    sent: Vec<Instant>,
    /// With the index of the request.
    answers: Vec<(usize, Answer)>,
    announcements: Vec<Announcement>,
    skipped: u64,
    refused: u64,
}

impl Probe {
    /// Asks for `vip` 1000 times a second.
    pub const fn new(vip: Ipv4Addr) -> Self {
        Self { vip, rate: 1000, askers: MAX_ASKERS }
    }

    /// Asks `rate` times a second, 1 to 100,000.
    #[must_use]
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate.clamp(1, 100_000);
        self
    }

    /// Uses this many sender addresses in turn (1 to 131,070, the default). An answer is
    /// attributed to the latest request of its sender address.
    ///
    /// Few are for a kernel that answers: it makes a neighbour entry for each, in a
    /// table of about 1,000 that all namespaces share.
    #[must_use]
    pub fn askers(mut self, askers: u32) -> Self {
        self.askers = askers.clamp(1, MAX_ASKERS);
        self
    }

    /// Starts to ask on `ifname` of `ns`.
    ///
    /// # Errors
    /// No such interface; no CAP_NET_RAW.
    pub fn start(self, ns: &NetNs, ifname: &str) -> Result<ProbeHandle> {
        let station = station();
        let incoming = PacketSocket::open(ns, ifname, ETH_P_ARP)?;
        incoming.set_promiscuous()?;
        let outgoing = PacketSocket::open(ns, ifname, 0)?;
        let (stop, stopped) = Stop::new()?;
        let seen = Arc::new(Watched::new(Seen::default()));
        let sending = Arc::new(AtomicBool::new(true));
        let receiver = {
            let seen = Arc::clone(&seen);
            thread::Builder::new()
                .name("probe-receiver".into())
                .spawn(move || self.receive(station, &incoming, &stopped, &seen))?
        };
        let from = Instant::now();
        let sender = {
            let (seen, sending) = (Arc::clone(&seen), Arc::clone(&sending));
            thread::Builder::new()
                .name("probe-sender".into())
                .spawn(move || self.send(station, &outgoing, &sending, &seen))?
        };
        let (sender, receiver) = (Some(sender), Some(receiver));
        Ok(ProbeHandle { probe: self, seen, sending, stop, sender, receiver, from })
    }

    /// The sender address of request number `index`.
    fn asker(self, index: usize) -> Ipv4Addr {
        // Below 2^17, by the remainder.
        let slot = u32::try_from(index % self.askers as usize).unwrap_or(0);
        Ipv4Addr::from(ASKERS_BASE + 1 + slot)
    }

    /// Which of the `sent` requests an answer to `asker` is for: the latest of that
    /// address.
    fn request_of(self, asker: Ipv4Addr, sent: usize) -> Option<usize> {
        let slot = u32::from(asker).checked_sub(ASKERS_BASE + 1)? as usize;
        let askers = self.askers as usize;
        let last = sent.checked_sub(1)?;
        let rounds = last.checked_sub(slot).filter(|_| slot < askers)? / askers;
        Some(slot + rounds * askers)
    }

    fn send(
        self,
        station: Mac,
        socket: &PacketSocket,
        sending: &AtomicBool,
        seen: &Watched<Seen>,
    ) -> Result<()> {
        // SAFETY: no pointers; concerns this thread's own timers.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        let mut schedule = Schedule::new(Instant::now(), self.rate);
        while sending.load(Ordering::Relaxed) {
            let (due, skipped) = schedule.next(Instant::now());
            if skipped > 0 {
                seen.update(|seen| seen.skipped += skipped);
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let index = seen.lock().sent.len();
            let frame = ArpFrame::request(station, self.asker(index), self.vip).to_padded_bytes();
            // Recorded first: the answer may be read before `send` returns.
            seen.lock().sent.push(Instant::now());
            if let Err(error) = socket.send(&frame) {
                seen.update(|seen| {
                    seen.sent.pop();
                    seen.refused += 1;
                });
                // Down, or its queue full: both pass, and asking goes on.
                if !matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENOBUFS)) {
                    return Err(error).context("sending an ARP request");
                }
            } else {
                seen.update(|_| ());
            }
        }
        Ok(())
    }

    fn receive(
        self,
        station: Mac,
        socket: &PacketSocket,
        stopped: &Stopped,
        seen: &Watched<Seen>,
    ) -> Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let over = stopped.wait_readable(socket.as_fd())?;
            while let Some(received) = socket.receive(&mut buffer)? {
                let frame = buffer.get(..received.len).and_then(ArpFrame::parse);
                let Some(arp) = frame.filter(|arp| arp.sender_ip == self.vip) else { continue };
                let (mac, at) = (arp.sender_mac, received.at);
                if arp.is_announcement() {
                    let announcement = Announcement { mac, op: arp.op, at };
                    seen.update(|seen| seen.announcements.push(announcement));
                } else if arp.op == Op::Reply && arp.target_mac == station {
                    seen.update(|seen| {
                        let request = self.request_of(arp.target_ip, seen.sent.len());
                        let sent = request.and_then(|r| Some((r, *seen.sent.get(r)?)));
                        seen.answers.extend(sent.map(|(r, sent)| (r, Answer { mac, at, sent })));
                    });
                }
            }
            if over {
                break;
            }
        }
        match socket.dropped()? {
            0 => Ok(()),
            lost => bail!("the probe lost {lost} frames: the machine is too busy to record them"),
        }
    }
}

impl ProbeHandle {
    /// The address that is asked for.
    pub fn vip(&self) -> Ipv4Addr {
        self.probe.vip
    }

    /// Waits for an answer, by anybody, since the probe began.
    ///
    /// # Errors
    /// There was none within `within`.
    pub fn wait_first_answer(&self, within: Duration) -> Result<Answer> {
        self.seen
            .wait(within, |seen| seen.answers.first().map(|(_, answer)| *answer))
            .with_context(|| self.instead(format!("no answer within {within:?}"), self.from))
    }

    /// Waits for `mac` to answer a request that is sent after this call began.
    ///
    /// # Errors
    /// It did not within `within`; the error tells who did.
    pub fn wait_answer_by(&self, mac: Mac, within: Duration) -> Result<Answer> {
        let called = Instant::now();
        self.wait_answer(within, |answer| answer.mac == mac)
            .with_context(|| self.instead(format!("no answer by {mac}"), called))
    }

    /// Waits for an answer that `wanted` accepts, to a request that is sent after this
    /// call began.
    ///
    /// # Errors
    /// There was none within `within`; the error tells who did answer.
    pub fn wait_answer(
        &self,
        within: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        let called = Instant::now();
        let mut looked_at = self.seen.lock().answers.len();
        let answer = self.seen.wait(within, |seen| {
            let mut new = seen.answers.iter().skip(looked_at).map(|(_, answer)| *answer);
            looked_at = seen.answers.len();
            new.find(|answer| answer.sent >= called && wanted(answer))
        });
        let missing = || self.instead(format!("not the wanted answer within {within:?}"), called);
        answer.with_context(missing)
    }

    /// Waits until nobody has answered any request for as long as `quiet`, counted from
    /// this call at the earliest, and returns the last answer before.
    ///
    /// # Errors
    /// Somebody still answered when `within` was over; the error tells who.
    pub fn wait_until_dark(&self, quiet: Duration, within: Duration) -> Result<Option<Answer>> {
        let called = Instant::now();
        let dark = self.seen.wait(within, |seen| {
            let last = seen.answers.last().map(|(_, answer)| *answer);
            let since = last.map_or(called, |answer| answer.at.max(called));
            // By the clock of requests, so that a stall of the probe is not darkness.
            let asked = seen.sent.last().is_some_and(|&sent| sent >= since + quiet);
            asked.then_some(last)
        });
        let missing = || self.instead(format!("not dark within {within:?}"), called);
        dark.with_context(missing)
    }

    /// Waits until `n` more requests have been sent than when this was called.
    ///
    /// # Errors
    /// That took longer than twice the time that the rate says, and ten seconds.
    pub fn wait_requests(&self, n: usize) -> Result<()> {
        let goal = self.seen.lock().sent.len() + n;
        let due = Duration::from_secs_f64(n as f64 / f64::from(self.probe.rate));
        let within = due * 2 + Duration::from_secs(10);
        self.seen
            .wait(within, |seen| (seen.sent.len() >= goal).then_some(()))
            .with_context(|| format!("{n} requests could not be sent within {within:?}"))
    }

    /// Waits until `n` gratuitous ARPs that `wanted` accepts have been seen since the
    /// probe began, and returns all such.
    ///
    /// # Errors
    /// There were fewer within `within`.
    pub fn wait_announcements(
        &self,
        n: usize,
        within: Duration,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> Result<Vec<Announcement>> {
        let found = self.seen.wait(within, |seen| {
            let found = seen.announcements.iter().filter(|a| wanted(a)).copied();
            Some(found.collect::<Vec<_>>()).filter(|found| found.len() >= n)
        });
        found.with_context(|| {
            let all = &self.seen.lock().announcements;
            format!("fewer than {n} wanted gratuitous ARPs within {within:?}; seen: {all:?}")
        })
    }

    /// What was seen so far. Requests of the last moment may still be answered.
    pub fn snapshot(&self) -> Recording {
        recording(self.probe.vip, self.from, Instant::now(), &self.seen.lock())
    }

    /// Ends the probe: no more requests, and time for the last answers to arrive.
    ///
    /// # Errors
    /// The recording is not complete: frames were lost, or the interface failed.
    pub fn stop(mut self) -> Result<Recording> {
        let to = self.end_sending()?;
        // That nothing more comes is no event: this is the one wait by time.
        let _: Option<()> = self.seen.wait(GRACE, |_| None);
        self.end_receiving()?;
        Ok(recording(self.probe.vip, self.from, to, &self.seen.lock()))
    }

    fn end_sending(&mut self) -> Result<Instant> {
        self.sending.store(false, Ordering::Relaxed);
        join(self.sender.take())?;
        Ok(Instant::now())
    }

    fn end_receiving(&mut self) -> Result<()> {
        self.stop.stop();
        join(self.receiver.take())
    }

    /// `what` was missed, and what there was instead since `since`.
    fn instead(&self, what: String, since: Instant) -> String {
        let recording = self.snapshot().between(since, Instant::now());
        let answerers = recording.answerers();
        let by: Vec<_> =
            answerers.iter().map(|(mac, a)| format!("{mac} answered {}", a.requests)).collect();
        let by = if by.is_empty() { "nobody answered".to_owned() } else { by.join(", ") };
        let (vip, requests) = (self.probe.vip, recording.requests.len());
        format!("{vip}: {what}: of {requests} requests {by}")
    }
}

impl Drop for ProbeHandle {
    fn drop(&mut self) {
        // What the threads would report belongs to `stop`.
        let _ = self.end_sending();
        let _ = self.end_receiving();
    }
}

fn join(thread: Option<JoinHandle<Result<()>>>) -> Result<()> {
    let Some(thread) = thread else { return Ok(()) };
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn recording(vip: Ipv4Addr, from: Instant, to: Instant, seen: &Seen) -> Recording {
    let request = |&sent| Request { sent, answers: Vec::new() };
    let mut requests: Vec<_> = seen.sent.iter().map(request).collect();
    for &(index, answer) in &seen.answers {
        if let Some(request) = requests.get_mut(index) {
            request.answers.push(answer);
        }
    }
    let announcements = seen.announcements.clone();
    Recording {
        vip,
        from,
        to,
        requests,
        announcements,
        skipped: seen.skipped,
        refused: seen.refused,
    }
}

/// A MAC for one probe or sweep: 02:00:00:a0 and a number.
pub(crate) fn station() -> Mac {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Mac([0x02, 0x00, 0x00, 0xa0, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_requests() {
        let probe = Probe::new(Ipv4Addr::LOCALHOST).askers(3);
        for (index, sent, expected) in [
            (0, 0, None),
            (0, 1, Some(0)),
            (1, 1, None),
            (2, 3, Some(2)),
            (2, 5, Some(2)),
            (0, 5, Some(3)),
            (1, 5, Some(4)),
        ] {
            let found = probe.request_of(probe.asker(index), sent);
            assert_eq!(found, expected, "asker of {index} when {sent} were sent");
        }
        assert_eq!(probe.request_of(Ipv4Addr::new(198, 18, 0, 9), 50), None);
        assert_eq!(probe.request_of(Ipv4Addr::new(192, 0, 2, 1), 50), None);
    }
}

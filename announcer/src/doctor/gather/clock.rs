//! How fast the clock is that everything is dated with.

use std::{fs, io, time::Duration};

use crate::doctor::facts::Clock;

const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Both clocks, at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    boot: i64,
    raw: i64,
}

impl Reading {
    pub(super) fn now() -> Self {
        // The middle one of three readings: what comes between the first and the last is seen.
        let take = || {
            let before = read(libc::CLOCK_MONOTONIC_RAW);
            let boot = read(libc::CLOCK_BOOTTIME);
            let after = read(libc::CLOCK_MONOTONIC_RAW);
            (after - before, Self { boot, raw: before + (after - before) / 2 })
        };
        let best = (0..10).map(|_| take()).min_by_key(|(took, _)| *took);
        best.map_or(Self { boot: 0, raw: 0 }, |(_, reading)| reading)
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid, writable timespec; both clocks exist since Linux 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    at.tv_sec * 1_000_000_000 + at.tv_nsec
}

/// Since `start`, or for so long if that is more.
pub(super) fn compare(start: Reading, at_least: Duration) -> Clock {
    let since = |end: Reading| u64::try_from(end.raw - start.raw).unwrap_or(0);
    let passed = Duration::from_nanos(since(Reading::now()));
    std::thread::sleep(at_least.saturating_sub(passed));
    let end = Reading::now();
    let ahead = (end.boot - start.boot) - (end.raw - start.raw);
    #[expect(clippy::cast_precision_loss, reason = "a few digits are enough")]
    let measured_ppm = ahead as f64 / (since(end).max(1) as f64) * 1e6;
    Clock {
        // No negative zero.
        measured_ppm: (measured_ppm * 10.0).round() / 10.0 + 0.0,
        measured_for_ms: since(end) / 1_000_000,
        set_ppm: set_ppm().map_err(|error| error.to_string()),
        source: fs::read_to_string(SOURCE).ok().map(|source| source.trim().to_owned()),
    }
}

/// The kernel's correction: the length of a tick (10 ms by design) and a frequency in
/// 2^-16 ppm. Only read, which everybody may.
fn set_ppm() -> io::Result<f64> {
    // SAFETY: timex is integers, for which zeroes are values; modes 0 changes nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: a valid, writable timex.
    if unsafe { libc::adjtimex(&raw mut timex) } < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(clippy::cast_precision_loss, reason = "a few digits are enough")]
    let (tick, frequency) = (timex.tick as f64, timex.freq as f64);
    Ok(((tick - 10_000.0) * 100.0 + frequency / 65_536.0).round())
}

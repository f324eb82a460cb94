//! What the kernel says of processes: their memory, and the CPU that they used (proc(5)).

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All of it (VmRSS).
    pub(crate) resident: u64,
    /// With shared pages divided by the number of those who share them.
    pub(crate) proportional: u64,
    /// Without what is mapped from files.
    pub(crate) anonymous: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?)
            .with_context(|| format!("smaps_rollup of process {pid} is not as expected"))
    }

    fn read(rollup: &str) -> Option<Self> {
        let field = |name: &str| {
            let value = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes * 1024)
        };
        Some(Self {
            resident: field("Rss:")?,
            proportional: field("Pss:")?,
            anonymous: field("Anonymous:")?,
        })
    }
}

/// CPU time that a process has used, user and system, in steps of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).with_context(|| format!("stat of process {pid}: {stat}"))?;
    // USER_HZ, which is 100 on every architecture but Alpha.
    Ok(Duration::from_millis(10) * ticks)
}

fn ticks(stat: &str) -> Option<u32> {
    // The name, in parentheses, may contain anything; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

/// CPU time of the calling thread, with the interrupts and soft interrupts that ran on it.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid, writable timespec; the clock exists since Linux 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    let nanos = u32::try_from(ts.tv_nsec).unwrap_or(0);
    Duration::new(ts.tv_sec.unsigned_abs(), nanos)
}

/// CPU time of the kernel's threads that run soft interrupts which don't fit in elsewhere.
#[derive(Debug)]
pub(crate) struct SoftIrqThreads(Vec<u32>);

impl SoftIrqThreads {
    pub(crate) fn find() -> Result<Self> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            // Processes may end meanwhile; these don't.
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if name.starts_with("ksoftirqd/") {
                pids.push(pid);
            }
        }
        Ok(Self(pids))
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.0.iter().try_fold(Duration::ZERO, |sum, pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
            let ns = stat.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok());
            Ok(sum + Duration::from_nanos(ns.with_context(|| format!("schedstat: {stat}"))?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_found_among_the_rest() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0    [rollup]\n\
                      Rss:               11264 kB\nPss:                9000 kB\n\
                      Pss_Dirty:          1 kB\nAnonymous:       5000 kB\n";
        let expected =
            Memory { resident: 11264 * 1024, proportional: 9000 * 1024, anonymous: 5000 * 1024 };
        assert_eq!(Memory::read(rollup), Some(expected));
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(0 < memory.proportional && memory.proportional <= memory.resident, "{memory:?}");
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(thread_cpu_time() > Duration::ZERO);
    }
}

//! What the kernel counts of BPF programs (bpf(2)): /proc/self/fdinfo of a program's
//! descriptor has it as text.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use anyhow::{Result, bail};

use super::Program;

/// How often a program ran while the statistics were on, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// How often.
    pub count: u64,
    /// For how long in all.
    pub time: Duration,
}

impl Runs {
    /// What was counted until now.
    ///
    /// # Errors
    /// No /proc; a kernel before 5.1.
    pub fn of(program: &Program) -> Result<Self> {
        let fd = program.as_fd().as_raw_fd();
        Self::read(&fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?)
    }

    fn read(fdinfo: &str) -> Result<Self> {
        let field = |name: &str| {
            let line = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse().ok())
        };
        match (field("run_cnt"), field("run_time_ns")) {
            (Some(count), Some(ns)) => Ok(Self { count, time: Duration::from_nanos(ns) }),
            _ => bail!("no statistics in fdinfo of a BPF program:\n{fdinfo}"),
        }
    }

    /// Nanoseconds a run since `before`; `None` when it has not run.
    pub fn ns_each_since(self, before: Self) -> Option<f64> {
        let count = self.count.checked_sub(before.count).filter(|&count| count > 0)?;
        Some((self.time.saturating_sub(before.time)).as_secs_f64() * 1e9 / count as f64)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_from_fdinfo() {
        let fdinfo = "pos:\t0\nprog_type:\t6\nrun_time_ns:\t3000\nrun_cnt:\t30\nrecursion:\t0\n";
        let runs = Runs::read(fdinfo).unwrap();
        assert_eq!(runs, Runs { count: 30, time: Duration::from_micros(3) });
        let before = Runs { count: 10, time: Duration::from_micros(1) };
        assert_eq!(runs.ns_each_since(before), Some(100.0));
        assert_eq!(runs.ns_each_since(runs), None);
        assert!(Runs::read("pos:\t0\n").is_err());
    }
}

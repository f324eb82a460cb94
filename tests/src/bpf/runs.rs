//! What the kernel counts of BPF programs (bpf(2)): /proc/self/fdinfo of a program's
//! descriptor has it as text.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use announcer_tests::{netns::NetNs, xdp::Program};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How often a program ran while the statistics were on, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

/// The XDP program that is attached to an interface.
pub(crate) fn attached_to(ns: &NetNs, interface: &str) -> Result<Program> {
    let links = ns.tool("ip", &["-json", "link", "show", "dev", interface], "")?;
    let links: Value = serde_json::from_str(&links)?;
    let id = links.pointer("/0/xdp/prog/id").and_then(Value::as_u64);
    let id = id.with_context(|| format!("{interface} of {ns:?} has no XDP program"))?;
    Program::with_id(u32::try_from(id)?)
}

impl Runs {
    /// What was counted until now.
    pub(crate) fn of(program: &Program) -> Result<Self> {
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
    pub(crate) fn ns_each_since(self, before: Self) -> Option<f64> {
        let count = self.count.checked_sub(before.count).filter(|&count| count > 0)?;
        Some((self.time.saturating_sub(before.time)).as_secs_f64() * 1e9 / count as f64)
    }
}

#[cfg(test)]
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

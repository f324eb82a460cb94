//! The empty XDP program, and what the kernel counts of programs (bpf(2)).
//!
//! Programs are known by their descriptors, whose /proc/self/fdinfo has the statistics
//! as text.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use announcer_tests::netns::NetNs;

// Commands of bpf(2).
const PROG_LOAD: libc::c_int = 5;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const LINK_CREATE: libc::c_int = 28;
/// Linux 5.8.
const ENABLE_STATS: libc::c_int = 32;

/// `BPF_PROG_TYPE_XDP`.
const TYPE_XDP: u32 = 6;
/// `BPF_XDP`.
const ATTACH_XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE`: generic XDP.
const SKB_MODE: u32 = 1 << 1;
/// `return XDP_PASS`: what the announcer's own program `announcer_empty` compiles to.
const PASS_EVERYTHING: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The first members of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// While this lives, the kernel counts runs and run time of all BPF programs.
#[derive(Debug)]
pub(crate) struct Statistics {
    _enabled: OwnedFd,
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

/// A program on an interface, until dropped.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) program: Program,
    _link: OwnedFd,
}

/// How often a program ran while [`Statistics`] were counted, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

impl Statistics {
    pub(crate) fn enable() -> Result<Self> {
        // 0 is BPF_STATS_RUN_TIME.
        // SAFETY: the command reads one u32.
        let enabled = unsafe { bpf(ENABLE_STATS, &0_u32) };
        Ok(Self { _enabled: enabled.context("BPF statistics need root, and Linux 5.8")? })
    }
}

impl Program {
    /// The XDP program that is attached to an interface.
    pub(crate) fn attached_to(ns: &NetNs, interface: &str) -> Result<Self> {
        let links = ns.tool("ip", &["-json", "link", "show", "dev", interface], "")?;
        let links: Value = serde_json::from_str(&links)?;
        let id = links.pointer("/0/xdp/prog/id").and_then(Value::as_u64);
        let id = id.with_context(|| format!("{interface} of {ns:?} has no XDP program"))?;
        // SAFETY: the command reads one u32.
        let program = unsafe { bpf(PROG_GET_FD_BY_ID, &u32::try_from(id)?) };
        Ok(Self(program.with_context(|| format!("opening BPF program {id}"))?))
    }

    fn load_empty() -> Result<Self> {
        let license = c"Dual MIT/GPL";
        let load = ProgLoad {
            prog_type: TYPE_XDP,
            insn_cnt: u32::try_from(PASS_EVERYTHING.len())?,
            insns: PASS_EVERYTHING.as_ptr() as u64,
            license: license.as_ptr() as u64,
            prog_name: *b"bench_empty\0\0\0\0\0",
            expected_attach_type: ATTACH_XDP,
            ..ProgLoad::default()
        };
        // SAFETY: laid out as the command wants it; the instructions and the license
        // outlive the call, and there are as many instructions as it says.
        let program = unsafe { bpf(PROG_LOAD, &load) };
        Ok(Self(program.context("loading the empty XDP program")?))
    }

    /// What was counted until now.
    pub(crate) fn runs(&self) -> Result<Runs> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()))?;
        Runs::read(&info)
    }
}

impl Attached {
    /// The empty program in generic mode on an interface.
    pub(crate) fn empty(ns: &NetNs, interface: &str) -> Result<Self> {
        let program = Program::load_empty()?;
        let link = LinkCreate {
            prog_fd: u32::try_from(program.0.as_raw_fd())?,
            target_ifindex: ns.run(|| Ok(index_of(interface)?))?,
            attach_type: ATTACH_XDP,
            flags: SKB_MODE,
        };
        // An index belongs to the namespace of the thread that asks.
        // SAFETY: laid out as the command wants it, without pointers.
        let link = ns.run(|| Ok(unsafe { bpf(LINK_CREATE, &link) }?))?;
        Ok(Self { program, _link: link })
    }
}

impl Runs {
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

fn index_of(interface: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: a NUL-terminated name.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A command that answers with a descriptor.
///
/// # Safety
/// `attributes` is laid out as the command wants it; pointers in it are valid.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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

//! The kernel, this process and the machine, out of /proc and /sys.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::{
    datapath::survey::{self, Found},
    doctor::facts::{Kernel, Machine, Process},
};

/// By number (linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Settings of BPF that are worth a word.
const SYSCTLS: [&str; 3] =
    ["kernel/unprivileged_bpf_disabled", "net/core/bpf_jit_enable", "net/core/bpf_jit_harden"];

pub(super) fn kernel() -> Kernel {
    Kernel {
        release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        version: survey::kernel_version(),
        features: survey::features(),
        has_btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
        lockdown: line("/sys/kernel/security/lockdown"),
        sysctls: sysctls(SYSCTLS),
    }
}

pub(super) fn process() -> Process {
    let status = fs::read_to_string("/proc/thread-self/status").map_err(|error| error.to_string());
    let field = |name: &str| -> Found<String> {
        let status = status.as_ref().map_err(Clone::clone)?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value
            .ok_or_else(|| format!("/proc/thread-self/status has no {name}"))?
            .trim()
            .to_owned())
    };
    Process {
        // SAFETY: takes nothing, and cannot fail.
        uid: unsafe { libc::geteuid() },
        capabilities: field("CapEff").and_then(|mask| capabilities(&mask)),
        memlock: memlock(),
        has_seccomp: field("Seccomp").is_ok_and(|mode| mode != "0"),
    }
}

fn capabilities(mask: &str) -> Found<BTreeSet<String>> {
    let mask = u64::from_str_radix(mask, 16).map_err(|error| format!("CapEff {mask}: {error}"))?;
    let name = |bit: usize| {
        CAPABILITIES.get(bit).map_or_else(|| format!("CAP_{bit}"), |name| (*name).to_owned())
    };
    Ok((0..64).filter(|bit| mask >> bit & 1 == 1).map(name).collect())
}

fn memlock() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid, writable rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

pub(super) fn machine() -> Machine {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let is_virtual = flags
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
    let known = |path| line(path).filter(|text| !text.is_empty());
    Machine {
        vendor: known("/sys/class/dmi/id/sys_vendor"),
        product: known("/sys/class/dmi/id/product_name"),
        is_virtual: is_virtual || fs::exists("/sys/hypervisor/type").unwrap_or(false),
    }
}

/// Those that there are.
pub(super) fn sysctls<K: AsRef<str>>(
    keys: impl IntoIterator<Item = K>,
) -> BTreeMap<String, String> {
    let read = |key: K| {
        let key = key.as_ref();
        Some((key.to_owned(), line(&format!("/proc/sys/{key}"))?))
    };
    keys.into_iter().filter_map(read).collect()
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_mask() {
        // Bits 12, 13, 38 and 39 of linux/capability.h.
        let names = capabilities("000000c000003000").unwrap_or_default();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON"]);
        assert!(capabilities("all").is_err());
    }
}

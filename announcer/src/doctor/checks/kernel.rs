//! Version, features, BTF, lockdown, settings of BPF.

use crate::{
    datapath::survey::Found,
    doctor::{
        facts::{Facts, Kernel},
        report::{Finding, Group},
    },
};

const GROUP: Group = Group::Kernel;
/// The oldest kernel that will do.
const OLDEST: [u32; 3] = [5, 15, 0];

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    let mut findings = vec![version(kernel)];
    let features = &kernel.features;
    let tried = [
        ("XDP programs", &features.xdp, "CONFIG_BPF_SYSCALL"),
        ("tc programs", &features.sched_cls, "CONFIG_NET_CLS_BPF and CONFIG_NET_XGRESS"),
        ("ring buffers", &features.ring_buffer, "Linux 5.8"),
        ("boot clock in BPF", &features.boot_clock, "Linux 5.8 (bpf_ktime_get_boot_ns)"),
    ];
    findings
        .extend(tried.into_iter().filter_map(|(what, tried, needs)| feature(what, tried, needs)));
    findings.push(own_programs(facts));
    findings.push(if kernel.has_btf {
        Finding::ok(GROUP, "BTF", "/sys/kernel/btf/vmlinux is there")
    } else {
        // The programs relocate nothing against the kernel's types.
        Finding::ok(GROUP, "BTF", "the kernel has none; the announcer does not need it")
    });
    findings.extend(lockdown(kernel));
    findings.extend(sysctls(kernel));
    findings
}

fn version(kernel: &Kernel) -> Finding {
    let release = &kernel.release;
    match kernel.version {
        Ok(version) if version < OLDEST => Finding::failure(
            GROUP,
            "version",
            format!("Linux {release}"),
            "install Linux 5.15 or later; 6.6 or later has tcx",
        ),
        Ok([major, minor, _]) if [major, minor] < [6, 6] => Finding::hint(
            GROUP,
            "version",
            format!("Linux {release}: no tcx, which comes with 6.6"),
            "where the driver has no native XDP, generic XDP costs each frame 60 to 250 ns, tcx 33 ns",
        ),
        Ok(_) => Finding::ok(GROUP, "version", format!("Linux {release}")),
        Err(ref error) => Finding::warning(
            GROUP,
            "version",
            format!("Linux {release}, which cannot be understood: {error}"),
            "make sure that it is Linux 5.15 or later",
        ),
    }
}

/// What could not be tried is told once, by [`own_programs`].
fn feature(what: &str, tried: &Found<bool>, needs: &str) -> Option<Finding> {
    match tried {
        Ok(true) => Some(Finding::ok(GROUP, what, "tried, and it works")),
        Ok(false) => Some(Finding::failure(
            GROUP,
            what,
            "the kernel has none",
            format!("use a kernel with {needs}"),
        )),
        Err(_) => None,
    }
}

fn own_programs(facts: &Facts) -> Finding {
    let what = "our programs";
    let Err(error) = &facts.kernel.features.own_programs else {
        return Finding::ok(GROUP, what, "loaded for each hook, and unloaded");
    };
    let is_permitted = super::permissions::may_use_bpf(facts);
    let is_refused = error.contains("os error 1)") || error.contains("os error 13)");
    let remedy = match (is_refused, is_permitted) {
        (true, false) => "run the doctor as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        (true, true) if facts.process.has_seccomp => {
            "a seccomp profile forbids bpf(2): allow it for this container or unit"
        }
        (true, true) => {
            "look at /sys/kernel/security/lockdown, and for a security module's denial in `dmesg`"
        }
        (false, _) => "send the output of `announcer doctor --facts` with a bug report",
    };
    Finding::failure(GROUP, what, format!("cannot be loaded: {error}"), remedy)
}

fn lockdown(kernel: &Kernel) -> Option<Finding> {
    let lockdown = kernel.lockdown.as_deref()?;
    let mode = lockdown.split('[').nth(1)?.split(']').next()?;
    let found = match mode {
        "none" => "off".to_owned(),
        // LOCKDOWN_BPF_READ_KERNEL is about bpf_probe_read, which the programs do not call.
        mode => format!("{mode}: fine, the programs do not read the kernel's memory"),
    };
    Some(Finding::ok(GROUP, "lockdown", found))
}

fn sysctls(kernel: &Kernel) -> Vec<Finding> {
    let value = |key: &str| kernel.sysctls.get(key).map(String::as_str);
    let mut findings = Vec::new();
    if let Some(value) = value("kernel/unprivileged_bpf_disabled") {
        let found = match value {
            "0" => "0: also others than root may use BPF; fine for us",
            _ => "only who has CAP_BPF may use BPF; fine for us",
        };
        findings.push(Finding::ok(GROUP, "unprivileged BPF", found));
    }
    if value("net/core/bpf_jit_enable") == Some("0") {
        findings.push(Finding::warning(
            GROUP,
            "BPF compiler",
            "off: programs are interpreted, many times slower, for every frame",
            "sysctl -w net.core.bpf_jit_enable=1",
        ));
    }
    if value("net/core/bpf_jit_harden") == Some("2") {
        findings.push(Finding::ok(
            GROUP,
            "BPF hardening",
            "net.core.bpf_jit_harden is 2: programs of root are blinded, too, and somewhat slower",
        ));
    }
    findings
}

//! Capabilities, locked memory, the BPF file system.

use crate::doctor::{
    facts::Facts,
    report::{Finding, Group},
};

const GROUP: Group = Group::Permissions;

/// What the daemon needs, and for what.
const NEEDED: [(&str, &str); 4] = [
    ("CAP_BPF", "loads programs and maps"),
    ("CAP_NET_ADMIN", "attaches them"),
    ("CAP_NET_RAW", "sends gratuitous ARP"),
    ("CAP_PERFMON", "lets the verifier see more"),
];

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut findings = capabilities(facts);
    findings.extend(memlock(facts));
    findings.push(bpffs(facts));
    findings
}

/// CAP_SYS_ADMIN stands in for what was split off from it in Linux 5.8.
fn has(facts: &Facts, capability: &str) -> bool {
    let Ok(own) = &facts.process.capabilities else { return false };
    let stands_in = matches!(capability, "CAP_BPF" | "CAP_PERFMON");
    own.contains(capability) || stands_in && own.contains("CAP_SYS_ADMIN")
}

/// Whether loading programs for the network is permitted.
pub(super) fn may_use_bpf(facts: &Facts) -> bool {
    has(facts, "CAP_BPF") && has(facts, "CAP_NET_ADMIN")
}

fn capabilities(facts: &Facts) -> Vec<Finding> {
    let own = match &facts.process.capabilities {
        Ok(own) => own,
        Err(error) => {
            let found = format!("cannot be read: {error}");
            let remedy = "mount /proc where the doctor runs";
            return vec![Finding::warning(GROUP, "capabilities", found, remedy)];
        }
    };
    let mut findings = Vec::new();
    for (capability, purpose) in NEEDED.into_iter().filter(|(name, _)| !has(facts, name)) {
        let found = format!("{capability} is missing, which {purpose}");
        let remedy = format!(
            "add {capability}: securityContext.capabilities.add of the container, \
             AmbientCapabilities= of a systemd unit, or run as root"
        );
        findings.push(if capability == "CAP_PERFMON" {
            Finding::warning(GROUP, "capabilities", found, remedy)
        } else {
            Finding::failure(GROUP, "capabilities", found, remedy)
        });
    }
    let is_needed = |name: &&String| NEEDED.iter().any(|(needed, _)| needed == name);
    let others: Vec<_> = own.iter().filter(|name| !is_needed(name)).map(String::as_str).collect();
    let found = match (findings.is_empty(), &others[..]) {
        (false, _) => return findings,
        (true, []) => "the four that are needed, and no others".to_owned(),
        (true, few @ ([_] | [_, _] | [_, _, _])) => {
            format!("the four that are needed; superfluous: {}", few.join(", "))
        }
        (true, many) => format!(
            "the four that are needed; {} others are superfluous (deploy/ drops them)",
            many.len()
        ),
    };
    vec![Finding::ok(GROUP, "capabilities", found)]
}

fn memlock(facts: &Facts) -> Option<Finding> {
    let limit = facts.process.memlock?;
    let is_counted = facts.kernel.version.as_ref().is_ok_and(|version| *version < [5, 11, 0]);
    is_counted.then(|| {
        Finding::failure(
            GROUP,
            "memlock",
            format!("{limit} octets of locked memory, which BPF maps count as before Linux 5.11"),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the systemd unit",
        )
    })
}

fn bpffs(facts: &Facts) -> Finding {
    let bpffs = &facts.bpffs;
    let (what, path) = ("BPF file system", &bpffs.path);
    match (&bpffs.is_mounted, &bpffs.is_writable) {
        (Ok(true), Ok(())) => Finding::ok(GROUP, what, format!("{path} is mounted and writable")),
        (Ok(true), Err(error)) => Finding::failure(
            GROUP,
            what,
            format!("{path} cannot be written: {error}"),
            format!(
                "mount -o remount,rw {path}; in a container mount the host's without readOnly, and \
                 run as uid 0"
            ),
        ),
        (Ok(false), _) if has_sys_admin(facts) => Finding::warning(
            GROUP,
            what,
            format!("none at {path}; the daemon mounts one if it may (CAP_SYS_ADMIN)"),
            format!(
                "mount -t bpf bpf {path} (systemd does so by itself); in a container mount the \
                 host's {path}, or what is pinned is gone with the container"
            ),
        ),
        (Ok(false), _) => Finding::failure(
            GROUP,
            what,
            format!("none at {path}, and the daemon may not mount one"),
            format!("mount -t bpf bpf {path} as root; in a container mount the host's {path}"),
        ),
        (Err(error), _) => Finding::failure(
            GROUP,
            what,
            format!("{path} cannot be looked at: {error}"),
            format!("mount -t bpf bpf {path} as root; it needs sysfs at /sys"),
        ),
    }
}

fn has_sys_admin(facts: &Facts) -> bool {
    facts.process.capabilities.as_ref().is_ok_and(|own| own.contains("CAP_SYS_ADMIN"))
}

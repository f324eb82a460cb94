//! What a node's BPF maps say, as bpftool dumps them: the kernel's own word, without
//! the daemon.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use announcer_tests::netns::NetNs;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What a node's program does with ARP requests for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It answers, for so much longer unless the daemon says otherwise.
    Answers {
        left: Duration,
        /// Requests that it has answered.
        answered: u64,
    },
    /// It drops them.
    Silent,
}

/// The entry of `vip` in the maps of the daemon in `ns`; `None`: there is none (yet).
pub(crate) fn entry(ns: &NetNs, vip: Ipv4Addr) -> Result<Option<Entry>> {
    let pins = pins(ns)?;
    let vips = dump(&pins.join("VIPS"))?;
    let Some(found) = vips.iter().find(|entry| bytes(&entry["key"]) == vip.octets()) else {
        return Ok(None);
    };
    // The ABI: u64 valid_until_ns, u32 slot, u32 flags, in this machine's byte order.
    let value = bytes(&found["value"]);
    let (Some((until, rest)), true) = (value.split_first_chunk(), value.len() == 16) else {
        bail!("an entry of VIPS has {} bytes, not 16", value.len());
    };
    let (slot, flags) = rest.split_at(4);
    if flags == 2_u32.to_ne_bytes() {
        return Ok(Some(Entry::Silent));
    }
    let left = u64::from_ne_bytes(*until).saturating_sub(boot_time_ns()?);
    let slots = dump(&pins.join("VIP_ANSWERED"))?;
    let per_cpu = slots.iter().find(|entry| bytes(&entry["key"]) == slot);
    let counts = per_cpu.and_then(|entry| entry["values"].as_array());
    let count = |cpu: &Value| bytes(&cpu["value"]).try_into().map_or(0, u64::from_ne_bytes);
    let answered = counts.into_iter().flatten().map(count).sum();
    Ok(Some(Entry::Answers { left: Duration::from_nanos(left), answered }))
}

/// The directory of the one interface that the daemon is attached to.
fn pins(ns: &NetNs) -> Result<PathBuf> {
    let all = ns.pins();
    let mut interfaces = fs::read_dir(&all).with_context(|| all.display().to_string())?;
    let first = interfaces.next().with_context(|| format!("nothing in {}", all.display()))?;
    Ok(first?.path())
}

fn dump(map: &Path) -> Result<Vec<Value>> {
    let output =
        Command::new("bpftool").args(["--json", "map", "dump", "pinned"]).arg(map).output();
    let output =
        output.context("bpftool: run `cargo xtask setup`, or `apt-get install bpftool`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("bpftool map dump pinned {}: {}", map.display(), said.trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// bpftool writes bytes as strings like "0x1f".
fn bytes(value: &Value) -> Vec<u8> {
    let byte = |value: &Value| u8::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
    value.as_array().into_iter().flatten().filter_map(byte).collect()
}

fn boot_time_ns() -> Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a writable timespec; the clock exists since Linux 2.6.39.
    if unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) } != 0 {
        bail!("CLOCK_BOOTTIME: {}", std::io::Error::last_os_error());
    }
    Ok(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
}

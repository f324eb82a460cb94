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
    // The ABI, in this machine's byte order: u64 valid_until_ns, u32 slot, [u8; 2] the
    // address's first octets, u16 flags; the last octets are the index.
    let [a, b, c, d] = vip.octets();
    let index = u32::from(u16::from_be_bytes([c, d]));
    let value = lookup(&pins.join("VIPS_DIRECT"), index)?;
    let (Some((until, rest)), true) = (value.split_first_chunk(), value.len() == 16) else {
        bail!("an entry of VIPS_DIRECT has {} bytes, not 16", value.len());
    };
    let (slot, rest) = rest.split_at(4);
    let (network, flags) = rest.split_at(2);
    if network != [a, b] {
        return Ok(None);
    }
    match u16::from_ne_bytes(flags.try_into()?) {
        1 => {}
        2 => return Ok(Some(Entry::Silent)),
        _ => return Ok(None),
    }
    let left = u64::from_ne_bytes(*until).saturating_sub(boot_time_ns()?);
    let slot = u32::from_ne_bytes(slot.try_into()?);
    let answered = lookup(&pins.join("VIP_ANSWERED"), slot)?;
    let answered = u64::from_ne_bytes(answered.as_slice().try_into()?);
    Ok(Some(Entry::Answers { left: Duration::from_nanos(left), answered }))
}

/// The directory of the one interface that the daemon is attached to.
fn pins(ns: &NetNs) -> Result<PathBuf> {
    let all = ns.pins();
    let mut interfaces = fs::read_dir(&all).with_context(|| all.display().to_string())?;
    let first = interfaces.next().with_context(|| format!("nothing in {}", all.display()))?;
    Ok(first?.path())
}

fn lookup(map: &Path, index: u32) -> Result<Vec<u8>> {
    let key = index.to_ne_bytes().map(|octet| octet.to_string());
    let output = Command::new("bpftool")
        .args(["--json", "map", "lookup", "pinned"])
        .arg(map)
        .arg("key")
        .args(key)
        .output();
    let output =
        output.context("bpftool: run `cargo xtask setup`, or `apt-get install bpftool`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("bpftool map lookup pinned {}: {}", map.display(), said.trim());
    }
    let found: Value = serde_json::from_slice(&output.stdout)?;
    Ok(bytes(&found["value"]))
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

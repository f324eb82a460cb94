//! Looks at what is pinned, without a daemon and without disturbing one: maps are
//! read, and neither the instance lock nor the ring buffers are touched.

use std::{collections::BTreeMap, path::Path};

use aya::maps::{Array, MapData};

use announcer_ebpf::abi::{
    self, ABI_VERSION, HELD, InterfaceConfig, SILENT, SessionRecord, VipEntry,
};

use super::{
    attach,
    counters::{CounterReader, Totals},
    current_namespace,
    error::DatapathError,
    hook::{EffectiveHook, Reason},
    link::Link,
    maps,
    netlink::{InterfaceFacts, Netlink},
    pins::PinDir,
    table::{self, VipTable},
};
use crate::{
    types::{BootTime, IfIndex, MacAddr, Session, Vip},
    uplink::Uplink,
    wire_state::WireEntry,
};

/// What is pinned for one interface.
#[derive(Debug)]
pub struct Inspection {
    /// The interface's index.
    pub index: IfIndex,
    /// What it is like now; `None` when it is gone and its pins are left.
    pub uplink: Option<Uplink>,
    /// Where the pinned program is attached; `None` when it is not.
    pub hook: Option<EffectiveHook>,
    /// What the maps say, or why they cannot be read: pins that a daemon of another
    /// version made, or that one was killed while making.
    pub maps: Result<PinnedMaps, DatapathError>,
}

/// What the maps of one interface say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedMaps {
    /// The MAC that is answered with.
    pub mac: MacAddr,
    /// Why the hook is the one it is.
    pub reason: Reason,
    /// Requests for VIPs that are not answered pass, to the others that get frames through
    /// the interface.
    pub shared: bool,
    /// Pings to held VIPs are answered.
    pub answer_ping: bool,
    /// The session under which the VIPs are held; `None` for static VIPs.
    pub session: Option<Session>,
    /// The VIPs that this node knows.
    pub vips: BTreeMap<Vip, PinnedVip>,
    /// Frames by what became of them, since the maps were made.
    pub totals: Totals,
}

/// What the maps say of one VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedVip {
    /// What is done with requests for it.
    pub entry: WireEntry,
    /// Requests answered since it was added.
    pub answered: u64,
}

/// Reads what is pinned below `pin_root` for the calling thread's network namespace,
/// by index. Must be called within a tokio runtime.
///
/// # Errors
/// [`DatapathError::NotPermitted`], [`DatapathError::Unsupported`] before Linux 5.14,
/// [`DatapathError::Netlink`], [`DatapathError::Pin`]. What concerns one interface
/// only is in its [`Inspection::maps`].
pub async fn inspect(pin_root: &Path) -> Result<Vec<Inspection>, DatapathError> {
    let mut pinned = PinDir::all(pin_root, current_namespace()?)?;
    if pinned.is_empty() {
        return Ok(Vec::new());
    }
    pinned.sort_unstable_by_key(|(index, _)| *index);
    let now = Netlink::connect()?.snapshot().await?;
    let mut found = Vec::new();
    for (index, pins) in pinned {
        let facts = now.by_index(index);
        let maps = match read(&pins) {
            Err(error @ DatapathError::NotPermitted { .. }) => return Err(error),
            // Taken down since the directory was read.
            Err(_) if !pins.exists() => continue,
            maps => maps,
        };
        let hook = facts.and_then(|facts| attached_hook(facts, &pins));
        let uplink = facts.map(|facts| Uplink::new(facts, &now));
        found.push(Inspection { index, uplink, hook, maps });
    }
    Ok(found)
}

fn read(pins: &PinDir) -> Result<PinnedMaps, DatapathError> {
    let config: Array<MapData, InterfaceConfig> = table::open(pins, abi::CONFIG)?;
    let config = config.get(&0, 0).map_err(|error| DatapathError::map(abi::CONFIG, error))?;
    if config.abi_version != ABI_VERSION {
        return Err(DatapathError::OtherAbi { found: config.abi_version, ours: ABI_VERSION });
    }
    let session: Array<MapData, SessionRecord> = table::open(pins, abi::SESSION)?;
    let session = session.get(&0, 0).map_err(|error| DatapathError::map(abi::SESSION, error))?;
    let reader = CounterReader::open(pins)?;
    Ok(PinnedMaps {
        mac: MacAddr::new(config.mac),
        reason: Reason::from_flags(config.flags),
        shared: config.flags & abi::SHARED != 0,
        answer_ping: config.flags & abi::ANSWER_PING != 0,
        session: maps::decode_session(&session),
        vips: read_vips(pins, &reader.answered()?)?,
        totals: reader.totals()?,
    })
}

fn read_vips(
    pins: &PinDir,
    answered: &BTreeMap<Vip, u64>,
) -> Result<BTreeMap<Vip, PinnedVip>, DatapathError> {
    let (now, mut known) = (BootTime::now(), BTreeMap::new());
    for (vip, entry) in VipTable::open(pins)?.read()? {
        let Some(entry) = meaning(&entry, now) else { continue };
        let answered = answered.get(&vip).copied().unwrap_or(0);
        known.insert(vip, PinnedVip { entry, answered });
    }
    Ok(known)
}

/// `None` for flags that no version has written, and for what is the kernel's again.
fn meaning(entry: &VipEntry, now: BootTime) -> Option<WireEntry> {
    match entry.flags {
        HELD => Some(WireEntry::Answer { until: BootTime::from_nanos(entry.valid_until_ns) }),
        SILENT if entry.valid_until_ns == 0 || now.as_nanos() < entry.valid_until_ns => {
            Some(WireEntry::Silent)
        }
        _ => None,
    }
}

/// The hook of the pinned link's program, if that is on this interface.
fn attached_hook(facts: &InterfaceFacts, pins: &PinDir) -> Option<EffectiveHook> {
    let link = Link::pinned(&pins.link()).ok()?;
    attach::hook_of(facts, link.program_id().ok()?)
}

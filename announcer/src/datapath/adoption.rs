//! Takes over what a former daemon left pinned.

use std::os::fd::AsFd as _;

use aya::{
    EbpfError,
    maps::{Array, Map, MapData, MapError},
};

use announcer_ebpf::abi::{self, ABI_VERSION, InterfaceConfig, VipEntry};

use super::{
    Options,
    attach::{self, Attached, Attachment, Former},
    error::DatapathError,
    hook::{Hook, Reason},
    link::Link,
    maps::Maps,
    netlink::InterfaceFacts,
    object,
    pins::PinDir,
    table::VipTable,
};
use crate::types::BootTime;

/// A pinned link and maps that this version understands.
struct Leftover {
    attached: Former,
    max_vips: u32,
}

/// Loads this version's program over the pinned maps, and puts it into the pinned
/// link in place of the old one: atomically, so that no frame goes unseen.
///
/// `None` if there was nothing, or nothing of use; then it is removed.
pub(crate) fn adopt(
    facts: &InterfaceFacts,
    pins: &PinDir,
    options: &Options,
) -> Result<Option<Attached>, DatapathError> {
    if !pins.exists() {
        return Ok(None);
    }
    let leftover = match inspect(facts, pins) {
        Ok(leftover) => leftover,
        Err(reason) => return discard(facts, pins, &reason),
    };
    let Leftover { attached: former, max_vips } = leftover;
    if former.hook.is_xdp() {
        attach::refuse_foreign(facts, Some(former.program_id))?;
    }
    if max_vips != options.max_vips.get() {
        if !answers_anything(pins)? {
            return discard(facts, pins, "its maps are of another size (--max-vips)");
        }
        tracing::warn!(
            interface = facts.name,
            max_vips,
            wanted = options.max_vips,
            "adopted maps keep their size, as VIPs are answered out of them"
        );
    }
    let mut ebpf = match object::load(pins, max_vips, options.bpf_log) {
        Err(DatapathError::Load(EbpfError::MapError(
            error @ MapError::IncompatiblePinnedMap { .. },
        ))) => return discard(facts, pins, &error.to_string()),
        loaded => loaded?,
    };
    let mut maps = Maps::take(&mut ebpf)?;
    // The MAC and who shares the frames stay as they were, until the daemon says otherwise:
    // the program goes on with them.

    let attachment = if options.hook.is_served_by(former.hook, former.reason, facts) {
        let program = object::load_program(&mut ebpf, former.hook)?;
        former
            .link
            .replace_program(program.as_fd())
            .map_err(|error| DatapathError::pin("adopting", pins.link(), error))?;
        let Former { link, hook, reason, .. } = former;
        let is_chosen = options.hook == Hook::Auto && reason.has(Reason::CHOSEN);
        let reason = if is_chosen { reason } else { Reason::of(options.hook, facts) };
        Attachment { link, hook, reason }
    } else {
        // A link cannot change its hook. Between XDP and tcx both are there for a moment;
        // from one kind of XDP to the other, frames in between reach the kernel.
        tracing::warn!(interface = facts.name, from = %former.hook, to = %options.hook,
            "attaching anew, since the hook changes");
        let attachment = attach::attach(&mut ebpf, facts, options.hook, Some(&former))?;
        pins.put_link(&attachment.link)?;
        attachment
    };
    maps.set_reason(attachment.reason)?;
    Ok(Some(Attached { ebpf, maps, attachment }))
}

/// Whether a VIP is held in time: what would be lost with the maps.
fn answers_anything(pins: &PinDir) -> Result<bool, DatapathError> {
    let now = BootTime::now().as_nanos();
    let answers = |entry: &VipEntry| entry.flags & abi::HELD != 0 && now < entry.valid_until_ns;
    Ok(VipTable::open(pins)?.read()?.iter().any(|(_, entry)| answers(entry)))
}

fn discard(
    facts: &InterfaceFacts,
    pins: &PinDir,
    reason: &str,
) -> Result<Option<Attached>, DatapathError> {
    tracing::warn!(interface = facts.name, reason, "removed what a former daemon left pinned");
    pins.remove()?;
    Ok(None)
}

/// What is pinned, or why it is of no use.
fn inspect(facts: &InterfaceFacts, pins: &PinDir) -> Result<Leftover, String> {
    let config: Array<MapData, InterfaceConfig> = open_map(pins, abi::CONFIG)?;
    let config = config.get(&0, 0).map_err(|error| error.to_string())?;
    if config.abi_version != ABI_VERSION {
        return Err(format!("its ABI version is {}, ours {ABI_VERSION}", config.abi_version));
    }
    let link = Link::pinned(&pins.link())
        .map_err(|_| "it was killed before it was attached".to_owned())?;
    let program_id = link.program_id().map_err(|error| error.to_string())?;
    // Each interface has its own instance of the program, so the program tells
    // whether the link is this interface's, or one's that had its index before.
    let hook =
        attach::hook_of(facts, program_id).ok_or("its link is not attached to this interface")?;
    let slots: Array<MapData, u64> = open_map(pins, abi::VIP_CLAIMED)?;
    let attached = Former { link, program_id, hook, reason: Reason::from_flags(config.flags) };
    Ok(Leftover { attached, max_vips: slots.len() })
}

fn open_map<T>(pins: &PinDir, name: &str) -> Result<T, String>
where
    T: TryFrom<Map, Error = MapError>,
{
    MapData::from_pin(pins.map(name))
        .and_then(Map::from_map_data)
        .and_then(T::try_from)
        .map_err(|error| format!("its map {name}: {error}"))
}

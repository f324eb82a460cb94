//! Takes over what a former daemon left pinned.

use aya::{
    EbpfError,
    maps::{Array, Map, MapData, MapError},
    programs::{
        links::{FdLink, LinkError, PinnedLink},
        xdp::XdpLink,
    },
};

use announcer_ebpf::abi::{self, ABI_VERSION, InterfaceConfig};

use super::{
    Options,
    error::DatapathError,
    hook::EffectiveHook,
    maps::{Maps, Settings},
    netlink::InterfaceFacts,
    pins::PinDir,
    xdp::{self, Attached},
};
use crate::types::MacAddr;

/// A pinned link and maps that this version understands.
struct Leftover {
    link: FdLink,
    program_id: u32,
    hook: EffectiveHook,
    max_vips: u32,
}

/// Loads this version's program over the pinned maps, and puts it into the pinned
/// link in place of the old one: atomically, so that no frame goes unseen.
///
/// `None` if there was nothing, or nothing of use; then it is removed.
pub(crate) fn adopt(
    facts: &InterfaceFacts,
    mac: MacAddr,
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
    xdp::refuse_foreign(facts, Some(leftover.program_id))?;
    if leftover.max_vips != options.max_vips.get() {
        tracing::warn!(
            interface = facts.name,
            max_vips = leftover.max_vips,
            wanted = options.max_vips,
            "adopted maps keep their size until the daemon is stopped gracefully"
        );
    }
    let mut ebpf = match xdp::load(pins, leftover.max_vips, options.bpf_log) {
        Err(DatapathError::Load(EbpfError::MapError(
            error @ MapError::IncompatiblePinnedMap { .. },
        ))) => return discard(facts, pins, &error.to_string()),
        loaded => loaded?,
    };
    let mut maps = Maps::take(&mut ebpf)?;
    maps.configure(Settings::new(mac, false, options))?;

    let program = xdp::load_program(&mut ebpf)?;
    let (link, hook) = if xdp::satisfies(leftover.hook, options.hook, facts) {
        let failed = |error: LinkError| DatapathError::pin("adopting", pins.link(), error);
        let link = XdpLink::try_from(leftover.link).map_err(failed)?;
        let id = program.attach_to_link(link).map_err(DatapathError::program)?;
        let link = program.take_link(id).map_err(DatapathError::program)?;
        (link.try_into().map_err(failed)?, leftover.hook)
    } else {
        // A link cannot change its hook: frames in between reach the kernel.
        tracing::warn!(interface = facts.name, from = %leftover.hook, to = %options.hook,
            "attaching anew, since the hook changes");
        drop(leftover.link);
        pins.remove_link()?;
        xdp::attach(program, facts, options.hook, pins)?
    };
    Ok(Some(Attached { ebpf, maps, link, hook }))
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
    let link = PinnedLink::from_pin(pins.link())
        .map_err(|_| "it was killed before it was attached".to_owned())?;
    let link = FdLink::from(link);
    let program_id = link.info().map_err(|error| error.to_string())?.program_id();
    // Each interface has its own instance of the program, so the program tells
    // whether the link is this interface's, or one's that had its index before.
    let hook = facts.hook_of(program_id).ok_or("its link is not attached to this interface")?;
    let slots: Array<MapData, u64> = open_map(pins, abi::VIP_CLAIMED)?;
    Ok(Leftover { link, program_id, hook, max_vips: slots.len() })
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

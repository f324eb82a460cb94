//! Loads and attaches the XDP program.

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        ProgramError, Xdp,
        links::{FdLink, LinkError},
        loaded_programs,
    },
};

use announcer_ebpf::abi;

use super::{
    Options,
    error::{DatapathError, os_error},
    hook::{EffectiveHook, Hook},
    maps::{Maps, Settings},
    netlink::{AttachedProgram, InterfaceFacts},
    pins::PinDir,
};
use crate::types::MacAddr;

/// The BPF object: the programs [`abi::PROGRAM`] and [`abi::EMPTY_PROGRAM`].
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/announcer-xdp"));

/// Ring buffer of aya-log; it exists even when nothing is logged.
const LOG_MAP: &str = "AYA_LOGS";
/// Least size of a ring buffer on machines with pages of up to 64 KiB is one
/// page; aya rounds up.
const NO_LOG_BYTES: u32 = 4096;

/// A program that is loaded, its link, and what remains of the object it came from.
pub(crate) struct Attached {
    pub(crate) ebpf: Ebpf,
    pub(crate) maps: Maps,
    pub(crate) link: FdLink,
    pub(crate) hook: EffectiveHook,
}

/// A fresh start: maps, what the program must find in them, program, link.
pub(crate) fn create(
    facts: &InterfaceFacts,
    mac: MacAddr,
    pins: &PinDir,
    options: &Options,
) -> Result<Attached, DatapathError> {
    pins.create()?;
    let mut ebpf = load(pins, options.max_vips.get(), options.bpf_log)?;
    let mut maps = Maps::take(&mut ebpf)?;
    maps.configure(Settings::new(mac, false, options))?;
    let (link, hook) = attach(load_program(&mut ebpf)?, facts, options.hook, pins)?;
    Ok(Attached { ebpf, maps, link, hook })
}

/// Creates the maps, or reopens those that are pinned in `pins`, and reads the programs.
///
/// No RLIMIT_MEMLOCK is raised: since Linux 5.11 BPF memory is charged to the cgroup.
pub(crate) fn load(pins: &PinDir, max_vips: u32, log: bool) -> Result<Ebpf, DatapathError> {
    // The level is a constant to the verifier: it removes what is not enabled.
    let level = if log { aya_log::Level::Info as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, &level, true);
    if !log {
        loader.map_max_entries(LOG_MAP, NO_LOG_BYTES);
    }
    for map in abi::PINNED_MAPS {
        loader.map_pin_path(map, pins.map(map));
    }
    for map in [abi::VIPS, abi::VIP_ANSWERED, abi::VIP_CLAIMED] {
        loader.map_max_entries(map, max_vips);
    }
    loader.load(OBJECT).map_err(DatapathError::load)
}

/// Loads the answering program into the kernel.
pub(crate) fn load_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    let incomplete = DatapathError::Incomplete(abi::PROGRAM);
    let Some(program) = ebpf.program_mut(abi::PROGRAM) else { return Err(incomplete) };
    let program: &mut Xdp = program.try_into().map_err(|_| incomplete)?;
    program.load().map_err(DatapathError::program)?;
    Ok(program)
}

/// The hooks to try, best first.
fn candidates(hook: Hook, facts: &InterfaceFacts) -> &'static [EffectiveHook] {
    match hook {
        Hook::XdpNative => &[EffectiveHook::XdpNative],
        Hook::XdpGeneric => &[EffectiveHook::XdpGeneric],
        Hook::Auto if facts.is_veth() => &[EffectiveHook::XdpGeneric],
        Hook::Auto => &[EffectiveHook::XdpNative, EffectiveHook::XdpGeneric],
    }
}

/// Whether an attachment that exists is what `hook` asks for. With `auto` a
/// generic one is kept where native was tried in vain: each try can reset the link.
pub(crate) fn satisfies(attached: EffectiveHook, hook: Hook, facts: &InterfaceFacts) -> bool {
    candidates(hook, facts).contains(&attached)
}

/// Attaches to an interface that has no XDP program, and pins the link.
pub(crate) fn attach(
    program: &mut Xdp,
    facts: &InterfaceFacts,
    hook: Hook,
    pins: &PinDir,
) -> Result<(FdLink, EffectiveHook), DatapathError> {
    let candidates = candidates(hook, facts);
    for (rank, &candidate) in candidates.iter().enumerate() {
        let is_last = rank + 1 == candidates.len();
        match attach_once(program, facts, candidate) {
            Ok(link) => {
                let pinned = link
                    .pin(pins.link())
                    .map_err(|error| DatapathError::pin("pinning", pins.link(), error))?;
                return Ok((pinned.into(), candidate));
            }
            Err(error) if !is_last && !is_final(&error) => {
                tracing::debug!(interface = facts.name, hook = %candidate, %error, "not available");
            }
            Err(error) => return Err(attach_error(error, facts, candidate)),
        }
    }
    Err(DatapathError::Incomplete("hook to try"))
}

fn attach_once(
    program: &mut Xdp,
    facts: &InterfaceFacts,
    hook: EffectiveHook,
) -> Result<FdLink, ProgramError> {
    let id = program.attach(facts.index.get(), hook.mode())?;
    let link = program.take_link(id)?;
    link.try_into().map_err(|error: LinkError| error.into())
}

/// Another hook would fail for the same reason, or hide it.
fn is_final(error: &ProgramError) -> bool {
    matches!(os_error(error), Some(libc::EPERM | libc::EBUSY | libc::EEXIST | libc::ENODEV))
}

fn attach_error(
    source: ProgramError,
    facts: &InterfaceFacts,
    hook: EffectiveHook,
) -> DatapathError {
    let interface = facts.name.clone();
    let source = Box::new(source);
    match os_error(&*source) {
        Some(libc::EPERM) => {
            DatapathError::NotPermitted { what: "attaching an XDP program", source }
        }
        Some(libc::ENODEV) => DatapathError::NoSuchInterface(interface),
        Some(libc::EBUSY | libc::EEXIST) => DatapathError::Attach { interface, hook, source },
        _ if hook == EffectiveHook::XdpNative => {
            let driver = facts.driver.clone().unwrap_or_else(|| "unknown".to_owned());
            DatapathError::HookUnavailable { interface, hook, driver, source }
        }
        _ => DatapathError::Attach { interface, hook, source },
    }
}

/// Refuses an interface that has an XDP program other than `ours`.
pub(crate) fn refuse_foreign(
    facts: &InterfaceFacts,
    ours: Option<u32>,
) -> Result<(), DatapathError> {
    match facts.xdp.iter().find(|program| Some(program.id) != ours) {
        None => Ok(()),
        Some(foreign) => Err(DatapathError::ForeignProgram {
            interface: facts.name.clone(),
            program: AttachedProgram { name: program_name(foreign.id), ..foreign.clone() },
        }),
    }
}

fn program_name(id: u32) -> Option<String> {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    program.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

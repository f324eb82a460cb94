//! Loads the maps and the program for a hook.

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError, ProgramFd, SchedClassifier, Xdp},
    util::KernelVersion,
};

use announcer_ebpf::abi;

use super::{error::DatapathError, hook::EffectiveHook, pins::PinDir};

/// The BPF object, with the programs that [`abi`] names.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/announcer-xdp"));

/// Ring buffer of aya-log; it exists even when nothing is logged.
const LOG_MAP: &str = "AYA_LOGS";
/// Least size of a ring buffer on machines with pages of up to 64 KiB is one
/// page; aya rounds up.
const NO_LOG_BYTES: u32 = 4096;
/// The first kernel that has XDP programs for frames in several buffers.
const FRAGS: KernelVersion = KernelVersion::new(5, 18, 0);

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

/// Loads the answering program for `hook` into the kernel.
pub(crate) fn load_program(
    ebpf: &mut Ebpf,
    hook: EffectiveHook,
) -> Result<ProgramFd, DatapathError> {
    let name = program_name(hook);
    let program = ebpf.program_mut(name).ok_or(DatapathError::Incomplete(name))?;
    loaded(program).map_err(DatapathError::program)
}

/// Generic XDP lays out each frame in one buffer for a program that wants that. For one
/// that is ready for several it makes another socket buffer, and forgets in it how long the
/// Ethernet header is: tc and tcx, which come next, see the frame without it (seen on 6.18).
fn program_name(hook: EffectiveHook) -> &'static str {
    match hook {
        EffectiveHook::Tcx => abi::TCX_PROGRAM,
        EffectiveHook::XdpGeneric => abi::SINGLE_BUFFER_PROGRAM,
        EffectiveHook::XdpNative => {
            let is_too_old = KernelVersion::current().is_ok_and(|kernel| kernel < FRAGS);
            if is_too_old { abi::SINGLE_BUFFER_PROGRAM } else { abi::PROGRAM }
        }
    }
}

fn loaded(program: &mut Program) -> Result<ProgramFd, ProgramError> {
    if let Ok(xdp) = <&mut Xdp>::try_from(&mut *program) {
        xdp.load()?;
    } else {
        <&mut SchedClassifier>::try_from(&mut *program)?.load()?;
    }
    Ok(program.fd()?.try_clone()?)
}

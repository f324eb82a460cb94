//! Looks at what the kernel can do and at who is at the hooks of an interface, without
//! attaching, pinning or changing anything: for `announcer doctor`.

use std::{collections::BTreeMap, error::Error, io, path::Path};

use announcer_ebpf::abi;
use aya::{
    EbpfLoader,
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
    util::KernelVersion,
};
use serde::{Deserialize, Serialize};

use super::{
    OBJECT, attach,
    hook::EffectiveHook,
    link::{self, Link},
    namespace::NetnsCookie,
    netlink::{InterfaceFacts, Netlink},
    object, pins,
    pins::PinDir,
    xdp_features,
};
use crate::{causes::with_causes, types::IfIndex};

/// So many VIPs have room in the maps of a trial.
const FEW_VIPS: u32 = 64;

/// Something found out, or why not.
pub type Found<T> = Result<T, String>;

/// What the kernel does when it is tried. Each error is the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Programs of type XDP.
    pub xdp: Found<bool>,
    /// Programs of type sched_cls, which tcx runs.
    pub sched_cls: Found<bool>,
    /// Maps of type ring buffer (Linux 5.8).
    pub ring_buffer: Found<bool>,
    /// The helper `bpf_ktime_get_boot_ns` (Linux 5.8) in XDP programs.
    pub boot_clock: Found<bool>,
    /// The announcer's own programs were taken by the verifier; then they were unloaded.
    pub own_programs: Found<()>,
}

/// Who is at the hooks of an interface, and what hooks it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// The driver's name, as ethtool says it.
    pub driver: Option<String>,
    /// Whether the driver says that it has native XDP (netlink family netdev, Linux 6.3).
    pub offers_native_xdp: Found<bool>,
    /// The programs at tcx ingress in the order in which they run; `None`: the kernel has
    /// no tcx (before Linux 6.6).
    pub tcx: Found<Option<Vec<u32>>>,
    /// The kinds of the filters at tc ingress.
    pub tc_filters: Found<Vec<String>>,
    /// The announcer's program that is attached here.
    pub own_program: Option<u32>,
    /// Names of programs, of those that have one and whose names may be read.
    pub program_names: BTreeMap<u32, String>,
}

/// The BPF file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfFs {
    /// Where it is looked for.
    pub path: String,
    /// Whether one is mounted there.
    pub is_mounted: Found<bool>,
    /// Whether this process may make files there.
    pub is_writable: Found<()>,
}

/// The kernel's version as distributions know it: Ubuntu's, for one, is not that of uname.
pub fn kernel_version() -> Found<[u32; 3]> {
    let code = KernelVersion::current().map_err(|error| with_causes(&error))?.code();
    Ok([code >> 16, code >> 8 & 0xff, code & 0xff])
}

/// Tries what the announcer needs: loads small programs and its own, makes small maps, and
/// lets go of all of them.
pub fn features() -> Features {
    Features {
        xdp: found(is_program_supported(ProgramType::Xdp)),
        sched_cls: found(is_program_supported(ProgramType::SchedClassifier)),
        ring_buffer: found(is_map_supported(MapType::RingBuf)),
        boot_clock: found(is_helper_supported(
            ProgramType::Xdp,
            BpfHelper::BPF_FUNC_ktime_get_boot_ns,
        )),
        own_programs: load_own_programs(),
    }
}

fn load_own_programs() -> Found<()> {
    let mut loader = EbpfLoader::new();
    for map in [abi::VIPS, abi::VIP_ANSWERED, abi::VIP_CLAIMED] {
        loader.map_max_entries(map, FEW_VIPS);
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| with_causes(&error))?;
    for hook in EffectiveHook::ALL {
        object::load_program(&mut ebpf, hook)
            .map_err(|error| format!("{hook}: {}", with_causes(&error)))?;
    }
    Ok(())
}

/// The file system that the announcer pins in.
pub fn bpffs() -> BpfFs {
    let path = Path::new(pins::BPFFS);
    BpfFs {
        path: pins::BPFFS.to_owned(),
        is_mounted: found(pins::is_bpffs(path)),
        is_writable: found(writable(path)),
    }
}

/// By the effective user id; EROFS for what is mounted read-only.
fn writable(path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mode = libc::W_OK | libc::X_OK;
    // SAFETY: a terminated path that outlives the call.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The hooks of an interface of the calling thread's network namespace.
pub async fn hooks(netlink: &Netlink, index: IfIndex) -> Hooks {
    let facts = netlink.interface(index).await;
    let tcx = match link::tcx_ingress(index) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        ids => found(ids.map(Some)),
    };
    let facts: Option<InterfaceFacts> = facts.ok().flatten();
    let xdp = facts.iter().flat_map(|facts| &facts.xdp).map(|program| program.id);
    let at_tcx = tcx.iter().flatten().flatten().copied();
    let named = |id| Some((id, attach::program_name(id)?));
    Hooks {
        program_names: xdp.chain(at_tcx).filter_map(named).collect(),
        driver: facts.and_then(|facts| facts.driver),
        offers_native_xdp: found(xdp_features::has_native(index)),
        tcx,
        tc_filters: found(netlink.ingress_filters(index).await),
        own_program: own_program(index),
    }
}

fn own_program(index: IfIndex) -> Option<u32> {
    let namespace = NetnsCookie::current().ok()?;
    let pins = PinDir::new(pins::DEFAULT_PIN_ROOT.as_ref(), namespace, index);
    let link = Link::pinned(&pins.link()).ok()?;
    let is_here = link.interface().ok()? == Some(index);
    is_here.then(|| link.program_id().ok()).flatten()
}

fn found<T, E: Error + 'static>(result: Result<T, E>) -> Found<T> {
    result.map_err(|error| with_causes(&error))
}

//! BPF programs of somebody else: to the tests, which share an interface or a cable with
//! them, and to the benchmarks, as the empty ones. Loaded by bpf(2) itself, not by the
//! loader that is tested.

mod runs;

use std::{
    ffi::CString,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub use runs::Runs;

use crate::netns::NetNs;

// Commands of bpf(2).
const PROG_LOAD: libc::c_int = 5;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const ENABLE_STATS: libc::c_int = 32;

/// `BPF_XDP`.
const ATTACH_XDP: u32 = 37;
/// `BPF_TCX_INGRESS`.
const ATTACH_TCX: u32 = 46;
/// `BPF_F_XDP_HAS_FRAGS` (Linux 5.18).
const HAS_FRAGS: u32 = 1 << 5;
/// `BPF_STATS_RUN_TIME`.
const STATS_RUN_TIME: u32 = 0;
/// `BPF_MPROG_MAX`.
const MOST_PROGRAMS: usize = 64;

/// `return XDP_PASS`: what the announcer's own program `announcer_empty` compiles to.
const XDP_PASS: [Instruction; 2] = [set(0, 2), EXIT];
/// `return TCX_NEXT`.
const TCX_NEXT: [Instruction; 2] = [set(0, -1), EXIT];
const EXIT: Instruction = [0x95, 0, 0, 0, 0, 0, 0, 0];
/// Calls the helper `bpf_clone_redirect`.
const CALL_CLONE_REDIRECT: Instruction = [0x85, 0, 0, 0, 13, 0, 0, 0];

type Instruction = [u8; 8];

/// Puts a number into a register.
const fn set(register: u8, value: i32) -> Instruction {
    let [a, b, c, d] = value.to_ne_bytes();
    [0xb7, register, 0, 0, a, b, c, d]
}

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The first members of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The members of `union bpf_attr` for `BPF_PROG_QUERY`; the kernel writes to some.
#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_ifindex: u32,
    attach_type: u32,
    flags: [u32; 2],
    prog_ids: u64,
    count: u32,
    reserved: u32,
    more: [u64; 4],
}

/// Where on its way a frame meets a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP in the network stack: any interface.
    Generic,
    /// XDP in the driver.
    Native,
    /// tcx ingress (Linux 6.6).
    Tcx,
}

impl Hook {
    /// As `announcer run --hook` calls it.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Generic => "xdp-generic",
            Self::Native => "xdp-native",
            Self::Tcx => "tcx",
        }
    }

    const fn prog_type(self) -> u32 {
        match self {
            // `BPF_PROG_TYPE_XDP` and `BPF_PROG_TYPE_SCHED_CLS`.
            Self::Generic | Self::Native => 6,
            Self::Tcx => 3,
        }
    }

    const fn attach_type(self) -> u32 {
        match self {
            Self::Generic | Self::Native => ATTACH_XDP,
            Self::Tcx => ATTACH_TCX,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.flag())
    }
}

/// A loaded program, by descriptor.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// A program of somebody else, on an interface until it is dropped.
#[derive(Debug)]
pub struct Attached {
    program: Program,
    _link: OwnedFd,
}

/// While this lives, the kernel counts runs and run time of all BPF programs.
#[derive(Debug)]
pub struct Statistics {
    _enabled: OwnedFd,
}

impl Program {
    /// The loaded program with this id.
    ///
    /// # Errors
    /// There is none; no CAP_BPF.
    pub fn with_id(id: u32) -> Result<Self> {
        // SAFETY: the command reads one u32.
        let program = unsafe { bpf(PROG_GET_FD_BY_ID, &id) };
        Ok(Self(program.with_context(|| format!("opening BPF program {id}"))?))
    }

    fn load(hook: Hook, name: &str, instructions: &[Instruction]) -> Result<Self> {
        let mut prog_name = [0; 16];
        // The last byte stays 0.
        ensure!(name.len() < prog_name.len(), "{name:?} is too long for a program's name");
        prog_name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        let load = |prog_flags| {
            let load = ProgLoad {
                prog_type: hook.prog_type(),
                insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
                insns: instructions.as_ptr().expose_provenance() as u64,
                license: c"Dual MIT/GPL".as_ptr().expose_provenance() as u64,
                prog_flags,
                prog_name,
                expected_attach_type: if hook == Hook::Tcx { 0 } else { ATTACH_XDP },
                ..ProgLoad::default()
            };
            // SAFETY: laid out as the command wants it; the instructions and the license
            // outlive the call, and there are as many instructions as it says.
            unsafe { bpf(PROG_LOAD, &load) }
        };
        let program = match hook {
            // Ready for jumbo frames, where the kernel knows what that is.
            Hook::Native => load(HAS_FRAGS).or_else(|_| load(0)),
            Hook::Generic | Hook::Tcx => load(0),
        };
        Ok(Self(program.with_context(|| format!("loading the program {name} for {hook}"))?))
    }

    fn attach(self, ns: &NetNs, nic: &str, hook: Hook) -> Result<Attached> {
        let prog_fd = u32::try_from(self.0.as_raw_fd())?;
        let flags = match hook {
            // `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`, after whatever is there.
            Hook::Generic => 1 << 1,
            Hook::Native => 1 << 2,
            Hook::Tcx => 0,
        };
        let attach = || {
            // An index belongs to the namespace of the thread that asks.
            let target_ifindex = index_of(nic)?;
            let link =
                LinkCreate { prog_fd, target_ifindex, attach_type: hook.attach_type(), flags };
            // SAFETY: laid out as the command wants it (Linux 5.9 for XDP), without pointers.
            Ok(unsafe { bpf(LINK_CREATE, &link) }?)
        };
        let link = ns.run(attach).with_context(|| format!("attaching to {nic} of {ns:?}"))?;
        Ok(Attached { program: self, _link: link })
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Attached {
    /// Attaches a program that does nothing, which the kernel calls `name` (15 bytes at
    /// most), to `nic` of `ns`; at tcx it comes after those that are there.
    ///
    /// # Errors
    /// No CAP_BPF; no such interface; no such hook, or it is taken.
    pub fn pass_all(ns: &NetNs, nic: &str, name: &str, hook: Hook) -> Result<Self> {
        let does_nothing = if hook == Hook::Tcx { TCX_NEXT } else { XDP_PASS };
        Program::load(hook, name, &does_nothing)?.attach(ns, nic, hook)
    }

    /// Has a copy of each frame that reaches it at tcx of `nic` sent out of `to`.
    ///
    /// # Errors
    /// As [`Self::pass_all`].
    pub fn mirror(ns: &NetNs, nic: &str, to: &str) -> Result<Self> {
        let index = ns.run(|| Ok(index_of(to)?)).with_context(|| format!("{ns:?} has no {to}"))?;
        let [next, exit] = TCX_NEXT;
        let copy = [set(2, i32::try_from(index)?), set(3, 0), CALL_CLONE_REDIRECT, next, exit];
        Program::load(Hook::Tcx, "mirror", &copy)?.attach(ns, nic, Hook::Tcx)
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

impl Statistics {
    /// From now on.
    ///
    /// # Errors
    /// Not root; a kernel before 5.8.
    pub fn enable() -> Result<Self> {
        // SAFETY: the command reads one u32.
        let enabled = unsafe { bpf(ENABLE_STATS, &STATS_RUN_TIME) };
        Ok(Self { _enabled: enabled.context("BPF statistics need root, and Linux 5.8")? })
    }
}

/// The ids of the programs at one hook of an interface, in the order in which they run.
///
/// # Errors
/// There is no such interface, or no such hook.
pub fn programs_at(ns: &NetNs, nic: &str, hook: Hook) -> Result<Vec<u32>> {
    // `XDP_ATTACHED_DRV` and `XDP_ATTACHED_SKB`.
    let mode = match hook {
        Hook::Native => 1,
        Hook::Generic => 2,
        Hook::Tcx => return ns.run(|| at_tcx(nic)),
    };
    let links = ns.tool("ip", &["-json", "link", "show", "dev", nic], "")?;
    let links: Value = serde_json::from_str(&links)?;
    let field = |name| links.pointer(name).and_then(Value::as_u64);
    let id = field("/0/xdp/prog/id").filter(|_| field("/0/xdp/mode") == Some(mode));
    id.map(|id| Ok(u32::try_from(id)?)).into_iter().collect()
}

fn at_tcx(nic: &str) -> Result<Vec<u32>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = ProgQuery {
        target_ifindex: index_of(nic)?,
        attach_type: ATTACH_TCX,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(ids.len())?,
        ..ProgQuery::default()
    };
    let len = size_of::<ProgQuery>();
    // SAFETY: laid out as the command wants it, which writes to `query`, and no more than
    // `count` ids.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, std::ptr::from_mut(&mut query), len) };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("asking what is at tcx (Linux 6.6)");
    }
    Ok(ids.into_iter().take_while(|&id| id != 0).collect())
}

fn index_of(nic: &str) -> io::Result<u32> {
    let name = CString::new(nic)?;
    // SAFETY: a NUL-terminated name.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A command that answers with a descriptor.
///
/// # Safety
/// `attributes` is laid out as the command wants it; pointers in it are valid.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

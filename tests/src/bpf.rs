//! An XDP program that passes every frame: somebody else's to the tests, the empty one
//! to the benchmarks. Loaded by bpf(2) itself, not by the loader that is tested.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result, ensure};

use crate::netns::NetNs;

// Commands of bpf(2).
const PROG_LOAD: libc::c_int = 5;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const LINK_CREATE: libc::c_int = 28;
const ENABLE_STATS: libc::c_int = 32;

/// `BPF_PROG_TYPE_XDP`.
const TYPE_XDP: u32 = 6;
/// `BPF_XDP`.
const ATTACH_XDP: u32 = 37;
/// `BPF_STATS_RUN_TIME`.
const STATS_RUN_TIME: u32 = 0;
/// `return XDP_PASS`: what the announcer's own program `announcer_empty` compiles to.
const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

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

/// Where on its way a frame meets the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the network stack: any interface.
    Generic,
    /// In the driver.
    Native,
}

/// A loaded program, by descriptor.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// The program that passes everything, on an interface until it is dropped.
#[derive(Debug)]
pub struct PassAll {
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

    fn pass_all(name: &str) -> Result<Self> {
        let mut prog_name = [0; 16];
        // The last byte stays 0.
        ensure!(name.len() < prog_name.len(), "{name:?} is too long for a program's name");
        prog_name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        let load = ProgLoad {
            prog_type: TYPE_XDP,
            insn_cnt: u32::try_from(INSTRUCTIONS.len())?,
            insns: INSTRUCTIONS.as_ptr().expose_provenance() as u64,
            license: c"Dual MIT/GPL".as_ptr().expose_provenance() as u64,
            prog_name,
            expected_attach_type: ATTACH_XDP,
            ..ProgLoad::default()
        };
        // SAFETY: laid out as the command wants it; the instructions and the license
        // outlive the call, and there are as many instructions as it says.
        let program = unsafe { bpf(PROG_LOAD, &load) };
        Ok(Self(program.context("loading an XDP program that passes everything")?))
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PassAll {
    /// Loads the program, which the kernel calls `name` (15 bytes at most), and attaches
    /// it to `nic` of `ns`.
    ///
    /// # Errors
    /// No CAP_BPF; no such interface; a program is there already; no XDP in the driver.
    pub fn attach(ns: &NetNs, nic: &str, name: &str, mode: Mode) -> Result<Self> {
        let program = Program::pass_all(name)?;
        let prog_fd = u32::try_from(program.0.as_raw_fd())?;
        // `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`.
        let flags = match mode {
            Mode::Generic => 1 << 1,
            Mode::Native => 1 << 2,
        };
        let attach = || {
            // An index belongs to the namespace of the thread that asks.
            let target_ifindex = index_of(nic)?;
            let link = LinkCreate { prog_fd, target_ifindex, attach_type: ATTACH_XDP, flags };
            // SAFETY: laid out as the command wants it (Linux 5.9 for XDP), without pointers.
            Ok(unsafe { bpf(LINK_CREATE, &link) }?)
        };
        let link = ns.run(attach).with_context(|| format!("attaching to {nic} of {ns:?}"))?;
        Ok(Self { program, _link: link })
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

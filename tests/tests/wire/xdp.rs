//! An XDP program of somebody else: it passes every frame.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use announcer_tests::netns::NetNs;
use anyhow::{Context, Result};

/// Where it is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Generic,
    Native,
}

/// Attached until it is dropped.
pub(crate) struct PassAll {
    _link: OwnedFd,
}

/// The name that the kernel shows for it.
pub(crate) const NAME: &str = "somebody_elses";

/// `union bpf_attr` of linux/bpf.h, as far as BPF_PROG_LOAD reads it here.
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
}

/// The same for BPF_LINK_CREATE (Linux 5.9 for XDP).
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

impl PassAll {
    /// Loads the program and attaches it to `nic` of `ns`.
    pub(crate) fn attach(ns: &NetNs, nic: &str, mode: Mode) -> Result<Self> {
        let program = load().context("loading a program that passes everything")?;
        let attach = || {
            let link = LinkCreate {
                prog_fd: program.as_raw_fd().cast_unsigned(),
                target_ifindex: index(nic)?,
                attach_type: BPF_XDP,
                flags: match mode {
                    Mode::Generic => XDP_FLAGS_SKB_MODE,
                    Mode::Native => XDP_FLAGS_DRV_MODE,
                },
            };
            Ok(bpf(BPF_LINK_CREATE, &link)?)
        };
        let link = ns.run(attach).with_context(|| format!("attaching to {nic} of {ns:?}"))?;
        Ok(Self { _link: link })
    }
}

fn load() -> io::Result<OwnedFd> {
    // r0 = XDP_PASS; exit.
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut load = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: instructions.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
        ..ProgLoad::default()
    };
    load.prog_name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    bpf(BPF_PROG_LOAD, &load)
}

fn index(nic: &str) -> io::Result<u32> {
    let name = CString::new(nic)?;
    // SAFETY: a NUL-terminated name.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A bpf(2) command that returns a descriptor.
fn bpf<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is a bpf_attr of the size given; what it points to outlives
    // the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    match RawFd::try_from(fd) {
        // SAFETY: a descriptor that the kernel has just made for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

//! What bpf(2) does with links and aya lacks: BPF_LINK_DETACH (Linux 5.9), and to
//! which interface a link is attached.
//!
//! Removing a pin and closing a descriptor detaches too, but only after an RCU
//! grace period: for some milliseconds the program would go on answering, and
//! the next attachment would find the interface taken.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use crate::types::IfIndex;

/// `BPF_OBJ_GET`.
const OBJ_GET: libc::c_int = 7;
/// `BPF_OBJ_GET_INFO_BY_FD`.
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// `BPF_LINK_DETACH`.
const LINK_DETACH: libc::c_int = 34;

/// The members of `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The member of `union bpf_attr` for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// The members of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info` for links of XDP and tcx.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    /// Zero for a link that somebody has detached.
    ifindex: u32,
    attach_type: u32,
}

/// Whether the link that is pinned at `path` is attached to this interface: somebody may
/// have detached it, or removed the pin.
pub(crate) fn is_attached(path: &Path, index: IfIndex) -> io::Result<bool> {
    let link = open(path)?;
    let mut info = LinkInfo::default();
    let get = GetInfo {
        bpf_fd: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?,
        info_len: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attributes are what the kernel expects of this command; it writes at most
    // `info_len` octets to `info`, which outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &get) }?;
    Ok(info.ifindex == index.get())
}

/// Detaches the link that is pinned at `path`, at once; the pin stays.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    let link = open(path)?;
    let link_fd = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: the attributes are what the kernel expects of this command.
    unsafe { bpf(LINK_DETACH, &LinkDetach { link_fd }) }.map(drop)
}

/// Opens what is pinned at `path`.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let get = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `get` is what the kernel expects of this command, and points to a
    // terminated string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &get) }?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` is laid out as the command wants it; pointers in it are valid.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<T>()` octets of `attributes`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

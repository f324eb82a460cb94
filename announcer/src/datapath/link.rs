//! The one bpf(2) command that aya lacks: BPF_LINK_DETACH (Linux 5.9).
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

/// `BPF_OBJ_GET`.
const OBJ_GET: libc::c_int = 7;
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

/// Detaches the link that is pinned at `path`, at once; the pin stays.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let get = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `get` is what the kernel expects of this command, and points to a
    // terminated string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &get) }?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let link_fd = u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: the attributes are what the kernel expects of this command.
    unsafe { bpf(LINK_DETACH, &LinkDetach { link_fd }) }.map(drop)
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

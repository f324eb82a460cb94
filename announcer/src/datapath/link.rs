//! BPF links, of XDP and of tcx alike, by bpf(2) itself: aya has no BPF_LINK_DETACH,
//! does not tell a link's interface, attaches XDP without a link where the kernel refuses
//! one, and needs CAP_SYS_ADMIN to list what is at tcx.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use super::hook::EffectiveHook;
use crate::types::IfIndex;

// Commands.
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;

/// `BPF_XDP`.
const XDP: u32 = 37;
/// `BPF_TCX_INGRESS`.
const TCX_INGRESS: u32 = 46;
/// `BPF_F_BEFORE`: of nothing in particular, so before everything.
const FIRST: u32 = 1 << 3;
/// `XDP_FLAGS_SKB_MODE`.
const SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`.
const DRV_MODE: u32 = 1 << 2;
/// `BPF_MPROG_MAX`: more programs than this are never at one hook.
const MOST_PROGRAMS: usize = 64;

/// The members of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Obj {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The members for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The members for `BPF_PROG_QUERY`; the kernel writes those that are not named here as
/// inputs, too, so all must be there.
#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    reserved: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The first members for `BPF_LINK_CREATE`; the others are zero.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The members for `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The member for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// The first members of `struct bpf_link_info`, for a link of XDP or tcx.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    prog_id: u32,
    reserved: u32,
    ifindex: u32,
    attach_type: u32,
}

/// What holds a program at its hook, as long as it is open or pinned.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    /// Attaches a program. At tcx it comes before those that are there already.
    pub(crate) fn attach(
        program: BorrowedFd<'_>,
        index: IfIndex,
        hook: EffectiveHook,
    ) -> io::Result<Self> {
        let (attach_type, flags) = match hook {
            EffectiveHook::XdpNative => (XDP, DRV_MODE),
            EffectiveHook::XdpGeneric => (XDP, SKB_MODE),
            EffectiveHook::Tcx => (TCX_INGRESS, FIRST),
        };
        let create = LinkCreate {
            prog_fd: number(program.as_raw_fd())?,
            target_ifindex: index.get(),
            attach_type,
            flags,
        };
        // SAFETY: the attributes are what the kernel expects of this command.
        unsafe { bpf_fd(LINK_CREATE, &create) }.map(Self)
    }

    /// The link that is pinned at `path`.
    pub(crate) fn pinned(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let get = Obj { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
        // SAFETY: as above; the path is a terminated string that outlives the call.
        unsafe { bpf_fd(OBJ_GET, &get) }.map(Self)
    }

    /// Pins it at `path`, where nothing may be.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let pin = Obj { pathname: path.as_ptr() as u64, bpf_fd: self.number()?, file_flags: 0 };
        // SAFETY: as above.
        unsafe { bpf(OBJ_PIN, &pin) }.map(drop)
    }

    /// Puts `program` in the place of the one that it holds: no frame goes unseen.
    pub(crate) fn replace_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let update = LinkUpdate {
            link_fd: self.number()?,
            new_prog_fd: number(program.as_raw_fd())?,
            flags: 0,
            old_prog_fd: 0,
        };
        // SAFETY: the attributes are what the kernel expects of this command.
        unsafe { bpf(LINK_UPDATE, &update) }.map(drop)
    }

    /// Detaches at once, whoever else has the link; nothing happens if it is already.
    ///
    /// Removing a pin and closing a descriptor detaches too, but only after an RCU grace
    /// period: for some milliseconds the program would go on answering, and the next
    /// attachment would find the interface taken.
    pub(crate) fn detach(&self) -> io::Result<()> {
        // SAFETY: the attributes are what the kernel expects of this command.
        unsafe { bpf(LINK_DETACH, &LinkDetach { link_fd: self.number()? }) }.map(drop)
    }

    /// The program that it holds, by its id.
    pub(crate) fn program_id(&self) -> io::Result<u32> {
        Ok(self.info()?.prog_id)
    }

    /// The interface that it holds the program at; `None` when it has been detached, or the
    /// interface is gone.
    pub(crate) fn interface(&self) -> io::Result<Option<IfIndex>> {
        Ok(IfIndex::new(self.info()?.ifindex))
    }

    fn info(&self) -> io::Result<Info> {
        let mut info = Info::default();
        let get = GetInfo {
            bpf_fd: self.number()?,
            info_len: number(size_of::<Info>())?,
            info: &raw mut info as u64,
        };
        // SAFETY: as above; the kernel writes no more than `info_len` octets of `info`.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &get) }?;
        Ok(info)
    }

    fn number(&self) -> io::Result<u32> {
        number(self.0.as_raw_fd())
    }
}

/// The programs at tcx ingress of an interface, by their ids, in the order in which they
/// see a frame.
///
/// # Errors
/// EINVAL where the kernel has no tcx (Linux before 6.6), ENODEV.
pub(crate) fn tcx_ingress(index: IfIndex) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = ProgQuery {
        target_ifindex: index.get(),
        attach_type: TCX_INGRESS,
        prog_ids: ids.as_mut_ptr() as u64,
        count: number(ids.len())?,
        ..ProgQuery::default()
    };
    // SAFETY: the attributes are what the kernel expects of this command. It writes to them,
    // and no more than `count` ids to where they say.
    match unsafe { bpf_mut(PROG_QUERY, &mut query) } {
        // What Linux 6.6 says when there is nothing.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        result => result?,
    };
    Ok(ids.into_iter().take_while(|&id| id != 0).collect())
}

fn number<T>(value: T) -> io::Result<u32>
where
    u32: TryFrom<T>,
{
    u32::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// # Safety
/// As [`bpf`]; the command answers with a descriptor.
unsafe fn bpf_fd<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` is laid out as the command wants it; pointers in it are valid; the kernel
/// does not write to it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<T>()` octets of `attributes`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    answer(result)
}

/// # Safety
/// As [`bpf`], but the kernel may write to `attributes`.
unsafe fn bpf_mut<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` octets of `attributes`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    answer(result)
}

fn answer(result: libc::c_long) -> io::Result<RawFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

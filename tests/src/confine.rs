//! The rights with which announcers are shipped: processes are started with them and
//! nothing else.

use std::{io, os::unix::process::CommandExt, process::Command};

use libc::c_int;

/// CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON and CAP_BPF (capabilities(7), linux/capability.h):
/// what deploy/kustomize and deploy/systemd grant.
pub const CAPABILITIES: [u32; 4] = [12, 13, 38, 39];

/// The same as a set of bits, as `/proc/PID/status` shows it.
pub const MASK: u64 = {
    let [a, b, c, d] = CAPABILITIES;
    1 << a | 1 << b | 1 << c | 1 << d
};

/// _LINUX_CAPABILITY_VERSION_3: two words of 32 capabilities.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    /// 0: of the calling thread.
    pid: c_int,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Lets `command` start its program with [`CAPABILITIES`] and no others, which neither a
/// child nor a setuid program can gain either (no_new_privs): as a container runtime does.
///
/// What is done between fork and exec can still use all capabilities of this process.
pub fn confine(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes system calls only.
    unsafe { command.pre_exec(drop_rights) };
}

/// root gets the bounding set at exec, so that is what is cut, and whatever could be added.
fn drop_rights() -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    for capability in 0..64_u32 {
        if CAPABILITIES.contains(&capability) {
            continue;
        }
        // SAFETY: no pointers. EINVAL: the kernel has no such capability.
        let dropped =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) };
        if dropped != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: no pointers; all five arguments are there.
    let cleared = unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, zero, zero, zero)
    };
    check(cleared)?;
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: a header, and room for what its version has: two words.
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    for word in &mut data {
        word.inheritable = 0;
    }
    // SAFETY: as above.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    let one: libc::c_ulong = 1;
    // SAFETY: no pointers; all five arguments are there.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) })
}

fn check(result: c_int) -> io::Result<()> {
    check_long(result.into())
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

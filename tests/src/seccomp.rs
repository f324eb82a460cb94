//! A seccomp profile as a filter, in the way of container runtimes: of the OCI format, what
//! deploy/seccomp/announcer.json uses.

use std::{collections::BTreeMap, io, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, ensure};
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};
use serde_json::Value;

/// Lets `command` start its program with the profile: whatever it does not name is refused.
/// setns(2) is allowed besides, by which [`crate::netns::NetNs::spawn`] puts the child in
/// its place.
///
/// # Errors
/// The profile is of another kind than ours, or names a system call that is unknown here.
pub fn restrict(command: &mut Command, profile: &Value) -> Result<()> {
    ensure!(profile["defaultAction"] == "SCMP_ACT_ERRNO", "another default than an error");
    let errno = profile["defaultErrnoRet"].as_u64().context("which error?")?;
    let numbers = numbers();
    let mut allowed = vec![libc::SYS_setns];
    for group in profile["syscalls"].as_array().context("no syscalls")? {
        ensure!(group["action"] == "SCMP_ACT_ALLOW", "another action than to allow");
        ensure!(group.as_object().is_some_and(|it| it.len() == 2), "conditions: {group}");
        for name in group["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let number = numbers.get(name).with_context(|| format!("what is {name}?"))?;
            allowed.extend(number);
        }
    }
    let mut filter = filter(&allowed, u32::try_from(errno)?)?;
    let length = u16::try_from(filter.len())?;
    let install = move || {
        let program = sock_fprog { len: length, filter: filter.as_mut_ptr() };
        // SAFETY: a program that outlives the call, which copies it.
        let done = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(install) };
    Ok(())
}

/// Of the calls of this architecture only: tests run no other programs.
fn filter(allowed: &[libc::c_long], errno: u32) -> Result<Vec<sock_filter>> {
    let code = |parts: &[u32]| u16::try_from(parts.iter().fold(0, |all, part| all | part));
    let op = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let ret = code(&[BPF_RET, BPF_K])?;
    // seccomp_data begins with the number of the call.
    let mut program = vec![op(code(&[BPF_LD, BPF_W, BPF_ABS])?, 0, 0, 0)];
    for number in allowed {
        program.push(op(code(&[BPF_JMP, BPF_JEQ, BPF_K])?, 0, 1, u32::try_from(*number)?));
        program.push(op(ret, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    program.push(op(ret, 0, 0, libc::SECCOMP_RET_ERRNO | errno));
    Ok(program)
}

/// Numbers of system calls on this architecture; `None`: it does not have it.
macro_rules! numbers {
    ([$($all:ident = $all_number:ident,)*] [$($old:ident = $old_number:ident,)*]) => {
        fn numbers() -> BTreeMap<&'static str, Option<libc::c_long>> {
            BTreeMap::from([
                $((stringify!($all), Some(libc::$all_number)),)*
                $((
                    stringify!($old),
                    // What newer architectures have left out.
                    {
                        #[cfg(target_arch = "x86_64")]
                        let number = Some(libc::$old_number);
                        #[cfg(not(target_arch = "x86_64"))]
                        let number = None;
                        number
                    },
                ),)*
            ])
        }
    };
}

numbers! {
    [
    accept4 = SYS_accept4, bind = SYS_bind, bpf = SYS_bpf, brk = SYS_brk, capget = SYS_capget,
    capset = SYS_capset, chdir = SYS_chdir, clock_getres = SYS_clock_getres,
    clock_gettime = SYS_clock_gettime, clock_nanosleep = SYS_clock_nanosleep, clone = SYS_clone,
    clone3 = SYS_clone3, close = SYS_close, close_range = SYS_close_range, connect = SYS_connect,
    dup = SYS_dup, dup3 = SYS_dup3, epoll_create1 = SYS_epoll_create1, epoll_ctl = SYS_epoll_ctl,
    epoll_pwait = SYS_epoll_pwait, eventfd2 = SYS_eventfd2, execve = SYS_execve, exit = SYS_exit,
    exit_group = SYS_exit_group, faccessat = SYS_faccessat, faccessat2 = SYS_faccessat2,
    fchdir = SYS_fchdir, fcntl = SYS_fcntl, flock = SYS_flock, fstat = SYS_fstat,
    fstatfs = SYS_fstatfs, ftruncate = SYS_ftruncate, futex = SYS_futex, getcwd = SYS_getcwd,
    getdents64 = SYS_getdents64, getegid = SYS_getegid, geteuid = SYS_geteuid,
    getgid = SYS_getgid, getpeername = SYS_getpeername, getpid = SYS_getpid,
    getppid = SYS_getppid, getrandom = SYS_getrandom, getsockname = SYS_getsockname,
    getsockopt = SYS_getsockopt, gettid = SYS_gettid, getuid = SYS_getuid, ioctl = SYS_ioctl,
    kill = SYS_kill, listen = SYS_listen, lseek = SYS_lseek, madvise = SYS_madvise,
    membarrier = SYS_membarrier, mkdirat = SYS_mkdirat, mmap = SYS_mmap, mprotect = SYS_mprotect,
    mremap = SYS_mremap, munmap = SYS_munmap, nanosleep = SYS_nanosleep,
    newfstatat = SYS_newfstatat, openat = SYS_openat, openat2 = SYS_openat2, pipe2 = SYS_pipe2,
    ppoll = SYS_ppoll, prctl = SYS_prctl, pread64 = SYS_pread64, prlimit64 = SYS_prlimit64,
    pwrite64 = SYS_pwrite64, read = SYS_read, readlinkat = SYS_readlinkat, readv = SYS_readv,
    recvfrom = SYS_recvfrom, recvmmsg = SYS_recvmmsg, recvmsg = SYS_recvmsg,
    renameat = SYS_renameat, renameat2 = SYS_renameat2, restart_syscall = SYS_restart_syscall,
    rseq = SYS_rseq, rt_sigaction = SYS_rt_sigaction, rt_sigprocmask = SYS_rt_sigprocmask,
    rt_sigreturn = SYS_rt_sigreturn, rt_sigtimedwait = SYS_rt_sigtimedwait,
    sched_getaffinity = SYS_sched_getaffinity, sched_yield = SYS_sched_yield,
    sendmmsg = SYS_sendmmsg, sendmsg = SYS_sendmsg, sendto = SYS_sendto,
    set_robust_list = SYS_set_robust_list, set_tid_address = SYS_set_tid_address,
    setgid = SYS_setgid, setgroups = SYS_setgroups, setsockopt = SYS_setsockopt,
    setuid = SYS_setuid, shutdown = SYS_shutdown, sigaltstack = SYS_sigaltstack,
    socket = SYS_socket, socketpair = SYS_socketpair, statfs = SYS_statfs, statx = SYS_statx,
    sysinfo = SYS_sysinfo, tgkill = SYS_tgkill, tkill = SYS_tkill, uname = SYS_uname,
    unlinkat = SYS_unlinkat, wait4 = SYS_wait4, waitid = SYS_waitid, write = SYS_write,
    writev = SYS_writev,
    ]
    [
    access = SYS_access, arch_prctl = SYS_arch_prctl, dup2 = SYS_dup2,
    epoll_wait = SYS_epoll_wait, getrlimit = SYS_getrlimit, lstat = SYS_lstat, mkdir = SYS_mkdir,
    open = SYS_open, pipe = SYS_pipe, poll = SYS_poll, readlink = SYS_readlink,
    rename = SYS_rename, rmdir = SYS_rmdir, setrlimit = SYS_setrlimit, stat = SYS_stat,
    unlink = SYS_unlink,
    ]
}

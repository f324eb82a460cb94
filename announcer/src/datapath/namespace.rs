//! The network namespace that this process is in: its identity, and the lock
//! that makes one daemon of it.

use std::{
    ffi::OsStr,
    fmt, fs, io, mem,
    os::{
        fd::{AsFd, AsRawFd as _},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

/// The kernel's number for a network namespace, unique until the next boot
/// (SO_NETNS_COOKIE, Linux 5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetnsCookie(u64);

impl NetnsCookie {
    /// Of the calling thread's network namespace.
    ///
    /// # Errors
    /// ENOPROTOOPT before Linux 5.14.
    pub fn current() -> io::Result<Self> {
        socket_option::<u64>(&UnixDatagram::unbound()?, libc::SO_NETNS_COOKIE).map(Self)
    }
}

impl fmt::Display for NetnsCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Abstract socket names belong to a network namespace, and vanish with the process.
const LOCK_NAME: &[u8] = b"announcer-instance";

/// Held by the one daemon of a network namespace, until dropped.
#[derive(Debug)]
pub struct InstanceLock {
    /// Listens, so that others can ask the kernel who we are; never accepts.
    /// When its backlog (net.core.somaxconn) is full, others learn less.
    _listener: UnixListener,
}

/// Why this process is not the one daemon of its network namespace.
#[derive(Debug, thiserror::Error)]
pub enum InstanceLockError {
    /// There is one already.
    #[error(
        "another announcer runs in this network namespace: {0}. Stop it first, or use another namespace"
    )]
    Held(Holder),
    /// The lock could not be tried.
    #[error("the lock of this network namespace could not be taken")]
    Io(#[from] io::Error),
}

/// Who holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, if it can be seen from this PID namespace.
    pub pid: Option<u32>,
    /// Its command line, if it may be read.
    pub command: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} (`{command}`)"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("a process outside of this PID namespace"),
        }
    }
}

impl Holder {
    /// What to do when it does not answer.
    pub fn remedy(&self) -> String {
        match self.pid {
            Some(pid) => format!(
                "`ps -o stat= -p {pid}` says T where it is stopped: `kill -CONT {pid}` lets it go \
                 on; else look at what it logged last, and restart it"
            ),
            None => "look at what it logged last, and restart it".to_owned(),
        }
    }
}

impl InstanceLock {
    /// Who holds the lock of the calling thread's network namespace, without trying to
    /// take it: a daemon that starts meanwhile finds it free.
    ///
    /// # Errors
    /// Those of connect(2), but for the one that means nobody.
    pub fn holder() -> io::Result<Option<Holder>> {
        match connect_without_waiting() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            // EAGAIN: the backlog is full, so somebody is there.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(Some(holder())),
        }
    }

    /// Takes the lock of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`InstanceLockError::Held`] names the process that has it.
    pub fn acquire() -> Result<Self, InstanceLockError> {
        let address = SocketAddr::from_abstract_name(LOCK_NAME)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self { _listener: listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(InstanceLockError::Held(holder()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn holder() -> Holder {
    let peer = connect_without_waiting()
        .and_then(|socket| socket_option::<libc::ucred>(&socket, libc::SO_PEERCRED));
    // 0: not visible from here.
    let pid = peer.ok().and_then(|peer| u32::try_from(peer.pid).ok()).filter(|&pid| pid != 0);
    let command = pid
        .and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok())
        .map(|line| {
            let words = line.split(|&byte| byte == 0).filter(|word| !word.is_empty());
            let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
            words.join(" ")
        })
        .filter(|command| !command.is_empty());
    Holder { pid, command }
}

/// With a full backlog a blocking connect(2) would wait for an accept that never comes.
fn connect_without_waiting() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // A leading zero makes the name an abstract one.
    socket.connect(&SockAddr::unix(OsStr::from_bytes(&[&[0], LOCK_NAME].concat()))?)?;
    Ok(socket)
}

fn socket_option<T: Copy>(socket: &impl AsFd, option: libc::c_int) -> io::Result<T> {
    let mut value = mem::MaybeUninit::<T>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` has room for `length` octets; the options used here are
    // plain integers or structs of them, for which zeroes are a value as well.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then written by the kernel; see above.
    Ok(unsafe { value.assume_init() })
}

#[cfg(test)]
#[expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_learns_who_the_first_is() {
        let first = InstanceLock::acquire().expect("nobody else in this namespace has the lock");
        let Err(InstanceLockError::Held(holder)) = InstanceLock::acquire() else {
            panic!("the lock was given twice");
        };
        assert_eq!(holder.pid, Some(std::process::id()));
        let own_name = std::env::args().next().expect("tests have a name");
        assert!(holder.to_string().contains(&own_name), "{holder}");
        drop(first);
        InstanceLock::acquire().expect("the lock is free again");
    }

    #[test]
    fn the_namespace_has_one_cookie() {
        let cookie = NetnsCookie::current().expect("Linux 5.14");
        assert_eq!(NetnsCookie::current().ok(), Some(cookie));
    }
}

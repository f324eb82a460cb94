//! Waiting for file descriptors (poll(2)).

use std::{
    io,
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// Ends the reading thread of a capture or probe: the thread waits for its socket
/// and for this at the same time.
#[derive(Debug)]
pub(crate) struct Stop(UnixStream);

/// The reading thread's end of a [`Stop`].
#[derive(Debug)]
pub(crate) struct Stopped(UnixStream);

impl Stop {
    pub(crate) fn new() -> io::Result<(Self, Stopped)> {
        let (stop, stopped) = UnixStream::pair()?;
        Ok((Self(stop), Stopped(stopped)))
    }

    /// Makes every wait on the other end return.
    pub(crate) fn stop(&self) {
        // Fails only when the other end is closed: then nobody waits.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Stopped {
    /// Waits until `fd` can be read or the other end stops, and returns whether it was
    /// the latter.
    pub(crate) fn wait_readable(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let [_, stopped] = poll([fd, self.0.as_fd()], -1)?;
        Ok(stopped)
    }
}

/// Waits until `fd` can be read; `false` when `within` has passed first.
pub(crate) fn wait_readable(fd: impl AsFd, within: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait that ends early would spin.
        let ms = i32::try_from(left.as_millis()).map_or(i32::MAX, |ms| ms.saturating_add(1));
        match poll([fd.as_fd()], if left.is_zero() { 0 } else { ms })? {
            [true] => return Ok(true),
            [false] if left.is_zero() => return Ok(false),
            [false] => {}
        }
    }
}

/// Which of `fds` can be read, or have failed; `timeout` in ms, -1 for none. Returns
/// early, with none, when a signal arrives.
fn poll<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: libc::c_int) -> io::Result<[bool; N]> {
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: N live pollfd structures of descriptors that are borrowed, so open.
    if unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(polled.map(|fd| fd.revents != 0))
}

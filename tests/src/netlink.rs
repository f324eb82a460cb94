//! Waking up when the kernel's network state changes (rtnetlink(7)).

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::netns::NetNs;

/// What can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Links: RTNLGRP_LINK.
    Links,
    /// The neighbour table: RTNLGRP_NEIGH.
    Neighbours,
}

/// The changes in one namespace since this was made.
#[derive(Debug)]
pub(crate) struct Changes(Socket);

impl Changes {
    pub(crate) fn subscribe(ns: &NetNs, group: Group) -> Result<Self> {
        ns.run(|| Self::here(group)).with_context(|| format!("subscribing to {group:?} of {ns:?}"))
    }

    fn here(group: Group) -> Result<Self> {
        let protocol = Protocol::from(libc::NETLINK_ROUTE);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
        let groups = match group {
            Group::Links => libc::RTMGRP_LINK,
            Group::Neighbours => libc::RTMGRP_NEIGH,
        };
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: a sockaddr_nl fits into a sockaddr_storage and is one of its forms.
        let address = unsafe {
            let address = storage.view_as::<libc::sockaddr_nl>();
            address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK)?;
            address.nl_groups = groups.cast_unsigned();
            SockAddr::new(storage, libc::socklen_t::try_from(size_of::<libc::sockaddr_nl>())?)
        };
        socket.bind(&address)?;
        Ok(Self(socket))
    }

    /// Looks until `check` finds what it looks for: now and after every change. `None`
    /// when `within` has passed without it.
    pub(crate) fn wait<T>(
        &self,
        within: Duration,
        mut check: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = check()? {
                return Ok(Some(found));
            }
            if !self.changed_before(deadline)? {
                return Ok(None);
            }
        }
    }

    fn changed_before(&self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        self.0.set_read_timeout(Some(left))?;
        // What changed is looked up afterwards, so the message itself is not read.
        match (&self.0).read(&mut [0; 1 << 14]) {
            Ok(_) => Ok(true),
            // There were more changes than fit.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(e) => Err(e).context("reading from a netlink socket"),
        }
    }
}

//! The one question that rtnetlink does not answer: which driver it is.

use std::{io, mem, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

/// `SIOCETHTOOL`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GDRVINFO`.
const GET_DRIVER_INFO: u32 = 3;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// The name of the driver of an interface in this network namespace.
///
/// # Errors
/// ENODEV, or EOPNOTSUPP for interfaces that have none.
pub(crate) fn driver(interface: &str) -> io::Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut info = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: an ifreq is integers, octets and pointers, for which zeroes are values.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last octet stays zero: names are shorter than IFNAMSIZ.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: `request` is a valid ifreq whose data points to a DriverInfo, which
    // is what the kernel writes for this command; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let name = info.driver.split(|&octet| octet == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_does_not_exist_has_no_driver() {
        let error = driver("no-such-if").expect_err("there is no such interface");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}

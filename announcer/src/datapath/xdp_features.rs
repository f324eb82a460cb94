//! Whether a driver says that it has native XDP: generic netlink, family `netdev`
//! (Linux 6.3), which rtnetlink does not speak.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::types::IfIndex;

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROLLER: u16 = 16;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET`.
const GET_DEVICE: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX` and `NETDEV_A_DEV_XDP_FEATURES`.
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: it drops, passes and sends back, which is all that is needed.
const BASIC: u64 = 1;

/// Octets of nlmsghdr and genlmsghdr.
const HEADERS: usize = 16 + 4;

/// Whether its driver offers XDP_DROP, XDP_PASS and XDP_TX.
///
/// # Errors
/// ENOENT before Linux 6.3; ENODEV.
pub(crate) fn has_native(index: IfIndex) -> io::Result<bool> {
    let mut socket =
        Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(GENERIC)))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let family = ask(&mut socket, CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&family, FAMILY_ID).and_then(|octets| octets.try_into().ok());
    let family = u16::from_ne_bytes(family.ok_or(io::ErrorKind::InvalidData)?);
    let index = index.get().to_ne_bytes();
    let device = ask(&mut socket, family, GET_DEVICE, DEVICE_INDEX, &index)?;
    let features =
        attribute(&device, DEVICE_XDP_FEATURES).and_then(|octets| octets.try_into().ok());
    Ok(u64::from_ne_bytes(features.ok_or(io::ErrorKind::InvalidData)?) & BASIC != 0)
}

/// `NETLINK_GENERIC`.
const GENERIC: libc::c_int = libc::NETLINK_GENERIC;

/// One request with one attribute; the attributes of the answer.
fn ask(
    socket: &mut Socket,
    family: u16,
    command: u8,
    attribute: u16,
    value: &[u8],
) -> io::Result<Vec<u8>> {
    let length = |n: usize| u16::try_from(n).map_err(io::Error::other);
    let padded = value.len().next_multiple_of(4);
    let total = HEADERS + 4 + padded;
    let mut request = Vec::with_capacity(total);
    request.extend(u32::from(length(total)?).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    // NLM_F_REQUEST, whose number fits.
    request.extend(1_u16.to_ne_bytes());
    // Sequence number and port, which the kernel does not look at.
    request.extend([0; 8]);
    // Version and reserved.
    request.extend([command, 1, 0, 0]);
    request.extend(length(4 + value.len())?.to_ne_bytes());
    request.extend(attribute.to_ne_bytes());
    request.extend(value);
    request.resize(total, 0);
    socket.send(&request)?;

    let mut answer = vec![0; 1 << 14];
    let read = socket.read(&mut answer)?;
    answer.truncate(read);
    let field = |from: usize| answer.get(from..from + 4).and_then(|octets| octets.try_into().ok());
    let kind = field(4).map(|[a, b, ..]: [u8; 4]| u16::from_ne_bytes([a, b]));
    // NLMSG_ERROR
    if kind == Some(2) {
        let code = field(16).map_or(0, i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(answer.split_off(HEADERS.min(answer.len())))
}

/// The value of an attribute among others.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, rest @ ..] = attributes {
        let length = usize::from(u16::from_ne_bytes([*a, *b])).checked_sub(4)?;
        let value = rest.get(..length)?;
        if u16::from_ne_bytes([*c, *d]) == wanted {
            return Some(value);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_their_number_and_no_others() {
        let mut octets = Vec::new();
        for (number, value) in [(7_u16, &b"abcde"[..]), (3, &[1, 2, 3, 4])] {
            octets.extend(u16::try_from(4 + value.len()).unwrap_or_default().to_ne_bytes());
            octets.extend(number.to_ne_bytes());
            octets.extend(value);
            octets.resize(octets.len().next_multiple_of(4), 0);
        }
        assert_eq!(attribute(&octets, 7), Some(&b"abcde"[..]));
        assert_eq!(attribute(&octets, 3), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&octets, 1), None);
        assert_eq!(attribute(&octets[..10], 3), None, "cut off");
    }
}

//! What a MAC says about who made it: for people who look for a machine.

use std::fmt;

use crate::types::MacAddr;

/// Beginnings of MACs that matter where VIPs are announced: who uses an address by
/// mistake is a virtual machine or a container more often than not. From the registry of
/// IEEE, but for QEMU's and Docker's, which are locally administered.
const KNOWN: &[(&[u8], &str)] = &[
    (&[0x52, 0x54, 0x00], "QEMU/KVM"),
    (&[0xbc, 0x24, 0x11], "Proxmox"),
    (&[0x00, 0x50, 0x56], "VMware"),
    (&[0x00, 0x0c, 0x29], "VMware"),
    (&[0x00, 0x15, 0x5d], "Hyper-V"),
    (&[0x00, 0x16, 0x3e], "Xen"),
    (&[0x08, 0x00, 0x27], "VirtualBox"),
    (&[0x02, 0x42], "Docker"),
];

/// Second-lowest bit of the first octet: not from a vendor's range (IEEE 802, U/L bit).
const LOCAL: u8 = 0x02;

/// Displayed: the vendor prefix (OUI) of a MAC, or its name, or that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor(pub MacAddr);

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.octets();
        let [a, b, c, ..] = octets;
        write!(f, "{a:02x}:{b:02x}:{c:02x}")?;
        match KNOWN.iter().find(|(prefix, _)| octets.starts_with(prefix)) {
            Some((_, name)) => write!(f, ", {name}"),
            None if a & LOCAL != 0 => f.write_str(", locally administered"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_named_and_so_are_those_that_matter() {
        for (mac, expected) in [
            ("52:54:00:12:34:56", "52:54:00, QEMU/KVM"),
            ("bc:24:11:00:00:01", "bc:24:11, Proxmox"),
            ("00:50:56:9a:00:01", "00:50:56, VMware"),
            ("00:0c:29:9a:00:01", "00:0c:29, VMware"),
            ("00:15:5d:00:00:01", "00:15:5d, Hyper-V"),
            ("00:16:3e:00:00:01", "00:16:3e, Xen"),
            ("08:00:27:00:00:01", "08:00:27, VirtualBox"),
            ("02:42:ac:11:00:02", "02:42:ac, Docker"),
            ("02:00:00:00:00:07", "02:00:00, locally administered"),
            ("3c:ec:ef:00:00:01", "3c:ec:ef"),
        ] {
            assert_eq!(Vendor(mac.parse().expect("a MAC")).to_string(), expected);
        }
    }
}

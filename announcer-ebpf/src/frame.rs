//! Frames as typed, bounds-checked overlays.
//!
//! One length check yields a reference to the whole header; its fields are
//! octet arrays, so that no access can be out of bounds or misaligned. Comparing
//! or copying such an array compiles to one 16-, 32- or 64-bit access.

/// A header that can be laid over raw octets.
///
/// # Safety
/// The type has alignment 1, no padding, and every bit pattern is a value.
pub unsafe trait Overlay {}

/// A frame from its Ethernet destination on.
pub trait Frame {
    /// The frame's first `size_of::<T>()` octets, if there are as many.
    fn overlay<T: Overlay>(&mut self) -> Option<&mut T>;

    /// Octets of the frame; those that an overlay cannot reach count, too.
    fn length(&self) -> usize;

    /// The tag (priority, DEI and VID) that the network card or the kernel has taken out
    /// of the frame, and will put into a reply again; `None` if there is none, or where it
    /// cannot be seen, as in XDP.
    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        None
    }
}

impl Frame for [u8] {
    fn overlay<T: Overlay>(&mut self) -> Option<&mut T> {
        const { assert!(align_of::<T>() == 1) };
        if self.len() < size_of::<T>() {
            return None;
        }
        // SAFETY: the slice is long enough and borrowed exclusively; `T: Overlay`
        // has alignment 1 and no invalid values.
        Some(unsafe { &mut *self.as_mut_ptr().cast::<T>() })
    }

    fn length(&self) -> usize {
        self.len()
    }
}

/// ARP operation: request (RFC 826).
pub(crate) const REQUEST: [u8; 2] = [0, 1];
/// ARP operation: reply (RFC 826).
pub(crate) const REPLY: [u8; 2] = [0, 2];
/// EtherType of ARP.
pub const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// IPv4 protocol: ICMP.
pub(crate) const PROTOCOL_ICMP: u8 = 1;
/// EtherType of an IEEE 802.1Q tag.
pub const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
/// EtherType of an IEEE 802.1ad service tag.
pub const ETHERTYPE_SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];
/// Ethernet, IPv4, 6 and 4 octets, request.
pub(crate) const IPV4_REQUEST: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
/// Ethernet, IPv4, 6 and 4 octets, reply.
pub(crate) const IPV4_REPLY: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 2];
/// Ethernet's broadcast address.
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

/// A VLAN tag (IEEE 802.1Q): its EtherType, then priority, DEI and VID.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    pub(crate) ethertype: [u8; 2],
    control: [u8; 2],
}

/// Whether a tag's control information names no VLAN (VID 0), only a priority.
#[inline(always)]
pub(crate) const fn is_priority(control: u16) -> bool {
    control & 0x0fff == 0
}

impl Tag {
    /// A tag that carries a priority and names no VLAN (VID 0).
    #[inline(always)]
    pub(crate) fn is_priority(self) -> bool {
        let is_tag = self.ethertype == ETHERTYPE_VLAN || self.ethertype == ETHERTYPE_SERVICE_VLAN;
        is_tag && is_priority(u16::from_be_bytes(self.control))
    }
}

/// An Ethernet header with `TAGS` VLAN tags.
#[repr(C)]
pub(crate) struct Ethernet<const TAGS: usize> {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) tags: [Tag; TAGS],
    pub(crate) ethertype: [u8; 2],
}

/// An Ethernet/IPv4 ARP (RFC 826).
#[repr(C)]
pub(crate) struct Arp {
    /// Hardware and protocol type, hardware and protocol address length, operation.
    pub(crate) format: [u8; 8],
    pub(crate) sender_mac: [u8; 6],
    pub(crate) sender: [u8; 4],
    pub(crate) target_mac: [u8; 6],
    pub(crate) target: [u8; 4],
}

/// An IPv4 header without options (RFC 791).
#[repr(C)]
pub(crate) struct Ipv4 {
    /// Version, and header length in 32-bit words.
    pub(crate) version: u8,
    pub(crate) service: u8,
    pub(crate) total_length: [u8; 2],
    pub(crate) identification: [u8; 2],
    /// Flags and fragment offset.
    pub(crate) fragment: [u8; 2],
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: [u8; 2],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

/// The header of an ICMP echo (RFC 792).
#[repr(C)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) checksum: [u8; 2],
    /// Identifier and sequence number.
    pub(crate) rest: [u8; 4],
}

impl Icmp {
    /// Type of a reply.
    pub(crate) const ECHO_REPLY: u8 = 0;
    /// Type of a request.
    pub(crate) const ECHO_REQUEST: u8 = 8;
}

/// An untagged IPv4 packet, as far as its header goes.
#[repr(C)]
pub(crate) struct Ipv4Frame {
    pub(crate) ethernet: Ethernet<0>,
    pub(crate) ip: Ipv4,
}

/// An untagged ICMP echo.
#[repr(C)]
pub(crate) struct EchoFrame {
    pub(crate) ethernet: Ethernet<0>,
    pub(crate) ip: Ipv4,
    pub(crate) icmp: Icmp,
}

/// An Ethernet header and an ARP.
#[repr(C)]
pub(crate) struct ArpFrame<const TAGS: usize> {
    pub(crate) ethernet: Ethernet<TAGS>,
    pub(crate) arp: Arp,
}

/// Octets that must be at hand to decide about an ARP frame without tags in it.
pub const ARP_HEADERS: usize = size_of::<ArpFrame<0>>();
/// Octets that must be at hand to decide about one with as many tags as are looked through.
pub const TAGGED_ARP_HEADERS: usize = size_of::<ArpFrame<2>>();

// SAFETY: repr(C) of octet arrays and of structs of octet arrays.
unsafe impl<const TAGS: usize> Overlay for Ethernet<TAGS> {}
// SAFETY: as above.
unsafe impl<const TAGS: usize> Overlay for ArpFrame<TAGS> {}
// SAFETY: as above; an octet alone is one, too.
unsafe impl Overlay for Ipv4Frame {}
// SAFETY: as above.
unsafe impl Overlay for EchoFrame {}

const _: () = {
    assert!(size_of::<Ethernet<0>>() == 14 && size_of::<Ethernet<2>>() == 22);
    assert!(size_of::<Ipv4Frame>() == 34 && size_of::<EchoFrame>() == 42);
    assert!(size_of::<Arp>() == 28 && ARP_HEADERS == 42 && TAGGED_ARP_HEADERS == 50);
};

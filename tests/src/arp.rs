//! ARP over Ethernet (RFC 826), as little of it as tests need, and on purpose not
//! the product's own code.

use std::{fmt, net::Ipv4Addr, num::ParseIntError, str::FromStr};

/// EtherType of ARP.
pub const ETH_P_ARP: u16 = 0x0806;
/// EtherType of an IEEE 802.1Q tag.
pub const ETH_P_8021Q: u16 = 0x8100;
/// Shortest Ethernet frame without its checksum; shorter ones are padded by real hardware.
pub const MIN_FRAME: usize = 60;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00, the target of a request (RFC 826 leaves it open).
    pub const ZERO: Self = Self([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MacError {
    /// Not six parts with colons between them.
    Parts(usize),
    /// A part is no hexadecimal byte.
    Byte(ParseIntError),
}

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts(found) => write!(f, "a MAC has 6 bytes, not {found}"),
            Self::Byte(_) => f.write_str("a MAC has bytes of two hexadecimal digits"),
        }
    }
}

impl std::error::Error for MacError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Parts(_) => None,
            Self::Byte(error) => Some(error),
        }
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let bytes: Result<Vec<u8>, _> =
            text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        let bytes = bytes.map_err(MacError::Byte)?;
        bytes.try_into().map(Self).map_err(|bytes: Vec<u8>| MacError::Parts(bytes.len()))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two ARP operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Who has the target address? (1)
    Request,
    /// The sender has the sender address. (2)
    Reply,
}

/// A VLAN tag: its EtherType and its tag control information (priority, DEI, VID).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub tpid: u16,
    /// Priority (3 bits), DEI (1 bit), VID (12 bits).
    pub tci: u16,
}

impl Tag {
    /// An 802.1Q tag with this VID (0 to 4095) and priority 0.
    pub const fn vid(vid: u16) -> Self {
        Self { tpid: ETH_P_8021Q, tci: vid }
    }
}

/// An Ethernet frame with an ARP packet for IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// Ethernet destination.
    pub destination: Mac,
    /// Ethernet source.
    pub source: Mac,
    /// VLAN tags, outermost first.
    pub tags: Vec<Tag>,
    /// Request or reply.
    pub op: Op,
    /// Sender hardware address.
    pub sender_mac: Mac,
    /// Sender protocol address.
    pub sender_ip: Ipv4Addr,
    /// Target hardware address.
    pub target_mac: Mac,
    /// Target protocol address.
    pub target_ip: Ipv4Addr,
}

/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_LEN: usize = 28;

impl ArpFrame {
    /// A broadcast request by `mac` at `ip`: who has `target`?
    pub const fn request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            destination: Mac::BROADCAST,
            source: mac,
            tags: Vec::new(),
            op: Op::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: Mac::ZERO,
            target_ip: target,
        }
    }

    /// A unicast reply: `ip` is at `mac`, told to `to` at `to_ip`.
    pub const fn reply(mac: Mac, ip: Ipv4Addr, to: Mac, to_ip: Ipv4Addr) -> Self {
        Self {
            destination: to,
            source: mac,
            tags: Vec::new(),
            op: Op::Reply,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: to,
            target_ip: to_ip,
        }
    }

    /// A gratuitous ARP (RFC 5944 section 4.6 allows both operations): `ip` is at `mac`.
    pub fn announcement(mac: Mac, ip: Ipv4Addr, op: Op) -> Self {
        Self { op, ..Self::request(mac, ip, ip) }
    }

    /// With these VLAN tags, outermost first.
    #[must_use]
    pub fn tagged(mut self, tags: &[Tag]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// Whether the sender speaks about its own address: a gratuitous ARP.
    pub fn is_announcement(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// The bytes from the Ethernet destination on, 42 and 4 for each tag, not padded.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(MIN_FRAME);
        b.extend(self.destination.0);
        b.extend(self.source.0);
        for tag in &self.tags {
            b.extend(tag.tpid.to_be_bytes());
            b.extend(tag.tci.to_be_bytes());
        }
        b.extend(ETH_P_ARP.to_be_bytes());
        b.extend(ETHERNET_IPV4);
        b.extend(match self.op {
            Op::Request => [0, 1],
            Op::Reply => [0, 2],
        });
        b.extend(self.sender_mac.0);
        b.extend(self.sender_ip.octets());
        b.extend(self.target_mac.0);
        b.extend(self.target_ip.octets());
        b
    }

    /// As [`Self::to_bytes`], padded with zeros to 60 bytes as a network card would.
    pub fn to_padded_bytes(&self) -> Vec<u8> {
        let mut b = self.to_bytes();
        b.resize(b.len().max(MIN_FRAME), 0);
        b
    }

    /// Reads a frame; `None` for anything but a whole ARP packet for IPv4 over
    /// Ethernet. Trailing bytes are ignored.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (destination, rest) = frame.split_first_chunk::<6>()?;
        let (source, mut rest) = rest.split_first_chunk::<6>()?;
        let mut tags = Vec::new();
        let arp = loop {
            let (ethertype, after) = rest.split_first_chunk::<2>()?;
            match u16::from_be_bytes(*ethertype) {
                ETH_P_ARP => break after.get(..ARP_LEN)?,
                tpid @ (ETH_P_8021Q | 0x88a8) => {
                    let (tci, after) = after.split_first_chunk::<2>()?;
                    tags.push(Tag { tpid, tci: u16::from_be_bytes(*tci) });
                    rest = after;
                }
                _ => return None,
            }
        };
        let (kind, arp) = arp.split_first_chunk::<6>()?;
        let (op, arp) = arp.split_first_chunk::<2>()?;
        let (sender_mac, arp) = arp.split_first_chunk::<6>()?;
        let (sender_ip, arp) = arp.split_first_chunk::<4>()?;
        let (target_mac, arp) = arp.split_first_chunk::<6>()?;
        let (target_ip, _) = arp.split_first_chunk::<4>()?;
        if *kind != ETHERNET_IPV4 {
            return None;
        }
        let op = match op {
            [0, 1] => Op::Request,
            [0, 2] => Op::Reply,
            _ => return None,
        };
        Some(Self {
            destination: Mac(*destination),
            source: Mac(*source),
            tags,
            op,
            sender_mac: Mac(*sender_mac),
            sender_ip: Ipv4Addr::from(*sender_ip),
            target_mac: Mac(*target_mac),
            target_ip: Ipv4Addr::from(*target_ip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

    #[test]
    fn a_request_is_laid_out_as_rfc_826_says() {
        let bytes = ArpFrame::request(A, ASKER, VIP).to_bytes();
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, // Ethernet
            0, 1, 8, 0, 6, 4, 0, 1, // types, lengths, operation
            2, 0, 0, 0, 0, 1, 192, 0, 2, 99, // sender
            0, 0, 0, 0, 0, 0, 192, 0, 2, 10, // target
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn frames_survive_the_wire_padded_and_tagged() {
        for frame in [
            ArpFrame::request(A, ASKER, VIP),
            ArpFrame::reply(B, VIP, A, ASKER),
            ArpFrame::announcement(B, VIP, Op::Reply),
            ArpFrame::request(A, ASKER, VIP).tagged(&[Tag::vid(0)]),
            ArpFrame::request(A, ASKER, VIP)
                .tagged(&[Tag { tpid: 0x88a8, tci: 0x2005 }, Tag::vid(7)]),
        ] {
            assert_eq!(ArpFrame::parse(&frame.to_padded_bytes()), Some(frame.clone()));
            assert_eq!(frame.to_padded_bytes().len(), MIN_FRAME);
            let whole = frame.to_bytes();
            assert!(whole.len() == 42 + 4 * frame.tags.len());
            for len in 0..whole.len() {
                assert_eq!(ArpFrame::parse(&whole[..len]), None, "cut at {len}");
            }
        }
    }

    #[test]
    fn announcements_are_told_from_requests() {
        assert!(ArpFrame::announcement(A, VIP, Op::Request).is_announcement());
        assert!(!ArpFrame::request(A, ASKER, VIP).is_announcement());
    }

    #[test]
    fn macs_are_read_as_they_are_written() {
        assert_eq!(A.to_string().parse(), Ok(A));
        assert_eq!("02:00:00:00:01".parse::<Mac>(), Err(MacError::Parts(5)));
        assert!(matches!("02:00:00:00:00:0x".parse::<Mac>(), Err(MacError::Byte(_))));
        assert!(matches!("".parse::<Mac>(), Err(MacError::Byte(_))));
    }
}

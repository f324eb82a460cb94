//! The field's nouns, each valid by construction.
//!
//! Invariants live in private fields: a value that exists is right, so nothing
//! downstream checks again.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A point on CLOCK_BOOTTIME, in nanoseconds since boot.
///
/// BOOTTIME goes on while the machine is suspended and is not stepped by NTP,
/// and the BPF program reads the same clock (`bpf_ktime_get_boot_ns`, Linux
/// 5.8). Values of different machines are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(u64);

impl BootTime {
    /// The clock's origin; before every reading.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since boot.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Reads the clock.
    pub fn now() -> Self {
        let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `ts` is a valid, writable timespec; CLOCK_BOOTTIME exists since Linux 2.6.39.
        unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut ts) };
        let (sec, nsec) = (ts.tv_sec.unsigned_abs(), ts.tv_nsec.unsigned_abs());
        Self(sec * 1_000_000_000 + nsec)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for BootTime {
    type Output = Self;

    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A virtual IP address that can be announced on a layer-2 segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Vip(Ipv4Addr);

/// Why an address cannot be a VIP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// Not an IP address at all.
    #[error("{0:?} is not an IP address")]
    NotAnAddress(String),
    /// IPv6 is answered by neighbour discovery, which this version does not speak.
    #[error("{0} is an IPv6 address; this version announces IPv4 only")]
    Ipv6(IpAddr),
    /// Unspecified, loopback, multicast, broadcast or 0.0.0.0/8.
    #[error("{0} is {1}; a VIP must be a unicast address of the segment")]
    NotUnicast(Ipv4Addr, &'static str),
}

impl Vip {
    /// Takes an IPv4 unicast address.
    ///
    /// # Errors
    /// IPv6, and addresses that ARP cannot resolve (RFC 826 maps unicast only).
    pub fn new(ip: IpAddr) -> Result<Self, VipError> {
        let IpAddr::V4(ip) = ip else { return Err(VipError::Ipv6(ip)) };
        let kind = match ip.octets() {
            [0, ..] => "in 0.0.0.0/8 (this network)",
            [127, ..] => "a loopback address",
            [224..=239, ..] => "a multicast address",
            [240..=255, ..] => "reserved or broadcast",
            _ => return Ok(Self(ip)),
        };
        Err(VipError::NotUnicast(ip, kind))
    }

    /// The address.
    pub const fn ip(self) -> Ipv4Addr {
        self.0
    }

    /// The address in network byte order, as ARP and the BPF map carry it.
    pub const fn octets(self) -> [u8; 4] {
        self.0.octets()
    }
}

impl FromStr for Vip {
    type Err = VipError;

    fn from_str(s: &str) -> Result<Self, VipError> {
        let ip = s.parse().map_err(|_| VipError::NotAnAddress(s.to_owned()))?;
        Self::new(ip)
    }
}

impl TryFrom<String> for Vip {
    type Error = VipError;

    fn try_from(text: String) -> Result<Self, VipError> {
        text.parse()
    }
}

impl From<Vip> for String {
    fn from(vip: Vip) -> Self {
        vip.to_string()
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet (EUI-48) address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// From the six octets in transmission order.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets in transmission order.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not six colon-separated hexadecimal octets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address like 02:00:00:00:00:01")]
pub struct MacAddrError(String);

impl FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(s: &str) -> Result<Self, MacAddrError> {
        let bad = || MacAddrError(s.to_owned());
        let mut octets = [0; 6];
        let mut parts = s.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self(octets))
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacAddrError;

    fn try_from(text: String) -> Result<Self, MacAddrError> {
        text.parse()
    }
}

/// A network interface's index; never 0, which the kernel reserves for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IfIndex(std::num::NonZeroU32);

impl IfIndex {
    /// `None` for 0.
    pub fn new(index: u32) -> Option<Self> {
        std::num::NonZeroU32::new(index).map(Self)
    }

    /// The kernel's number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The name of a Kubernetes Node: an RFC 1123 subdomain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(std::sync::Arc<str>);

/// Not a valid Kubernetes node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a node name: it must be 1 to 253 lower-case letters, digits, '-' or '.', and begin and end with a letter or digit"
)]
pub struct NodeNameError(String);

impl NodeName {
    /// For a machine that is no node and has no host name that could be one.
    pub fn nameless() -> Self {
        Self("nameless".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(s: &str) -> Result<Self, NodeNameError> {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let b = s.as_bytes();
        let ok = b.len() <= 253
            && b.first().copied().is_some_and(alnum)
            && b.last().copied().is_some_and(alnum)
            && b.iter().all(|&c| alnum(c) || c == b'-' || c == b'.');
        if ok { Ok(Self(s.into())) } else { Err(NodeNameError(s.to_owned())) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One uninterrupted tenure of a node: the node lease's uid and its
/// `spec.leaseTransitions`. A lease that was deleted and made anew has another
/// uid, so it never resembles the old one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    uid: String,
    transitions: u32,
}

/// Not `<uid>/<transitions>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a session like 8d6f…/3")]
pub struct SessionError(String);

impl Session {
    /// From a node lease's `metadata.uid` and `spec.leaseTransitions`.
    pub fn new(uid: impl Into<String>, transitions: u32) -> Self {
        Self { uid: uid.into(), transitions }
    }

    /// The node lease's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The node lease's `spec.leaseTransitions`.
    pub const fn transitions(&self) -> u32 {
        self.transitions
    }

    /// Whether this session came after `other` under the same uid (transitions
    /// only grow). Sessions of different uids cannot be put in order.
    pub fn follows(&self, other: &Self) -> bool {
        self.uid == other.uid && self.transitions > other.transitions
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.uid, self.transitions)
    }
}

impl FromStr for Session {
    type Err = SessionError;

    fn from_str(s: &str) -> Result<Self, SessionError> {
        let bad = || SessionError(s.to_owned());
        let (uid, transitions) = s.rsplit_once('/').ok_or_else(bad)?;
        let transitions = transitions.parse().map_err(|_| bad())?;
        if uid.is_empty() {
            return Err(bad());
        }
        Ok(Self::new(uid, transitions))
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_vip_is_an_ipv4_unicast_address() {
        for ok in ["192.0.2.10", "10.0.0.1", "169.254.1.1", "223.255.255.254"] {
            assert_eq!(ok.parse::<Vip>().map(|v| v.to_string()), Ok(ok.to_owned()));
        }
        for bad in ["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "2001:db8::1", "web"] {
            assert!(bad.parse::<Vip>().is_err(), "{bad}");
        }
    }

    #[test]
    fn node_names_follow_rfc_1123() {
        for ok in ["n", "node-1", "node-1.rack.example"] {
            assert!(ok.parse::<NodeName>().is_ok(), "{ok}");
        }
        for bad in ["", "-a", "a-", "Node", "a_b", &"a".repeat(254)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn macs_and_sessions_round_trip() {
        let mac: MacAddr = "02:00:5e:10:00:ff".parse().expect("a valid MAC");
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for bad in ["02:00:5e:10:00", "02:00:5e:10:00:ff:01", "2:0:5e:10:0:ff", "gg:00:00:00:00:00"]
        {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
        let s = Session::new("8d6f", 3);
        assert_eq!(s.to_string().parse(), Ok(s));
        for bad in ["", "8d6f", "/3", "8d6f/x", "8d6f/-1"] {
            assert!(bad.parse::<Session>().is_err(), "{bad}");
        }
    }
}

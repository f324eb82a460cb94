//! VIPs for as many Services as are wanted.

use std::net::Ipv4Addr;

/// In the lab's LAN, which leaves 192.0.2.2 to .100 and .201 to .254 free; `n` is below 153.
pub(crate) fn in_the_lan(n: u32) -> Ipv4Addr {
    let last = if n < 99 { 2 + n } else { 102 + n };
    Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + last)
}

/// Beyond: asked for on the LAN all the same, as whoever has such a route would. From
/// 10.64.0.1 on, 250 to a /24.
pub(crate) fn beyond(n: u32) -> Ipv4Addr {
    let base = u32::from(Ipv4Addr::new(10, 64, 0, 1));
    Ipv4Addr::from(base + n / 250 * 256 + n % 250)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn vips_are_addresses_that_the_lab_leaves_free() {
        let vips: BTreeSet<_> = (0..152).map(|n| in_the_lan(n).octets()[3]).collect();
        assert_eq!(vips.len(), 152);
        assert!(vips.iter().all(|last| (2..=100).contains(last) || (201..=254).contains(last)));
    }

    #[test]
    fn others_are_distinct_and_no_subnet_ends_in_between() {
        let vips: BTreeSet<_> = (0..5000).map(beyond).collect();
        assert_eq!(vips.len(), 5000);
        assert!(vips.iter().all(|vip| (1..=250).contains(&vip.octets()[3])));
        assert_eq!(beyond(4999), Ipv4Addr::new(10, 64, 19, 250));
    }
}

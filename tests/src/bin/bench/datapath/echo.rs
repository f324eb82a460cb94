//! ICMP echo requests (RFC 792), to be sent by the thousand.

use std::net::Ipv4Addr;

use announcer_tests::arp::Mac;

/// An Ethernet frame of the least length.
pub(crate) const LENGTH: usize = 60;
const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// Whole, and with right checksums.
pub(crate) fn request(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> [u8; LENGTH] {
    let mut ip = vec![0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 1, 0, 0];
    ip.extend(from.1.octets());
    ip.extend(to.1.octets());
    put_checksum(&mut ip, 10);
    // Echo request, code 0, identifier 1, sequence number 1; zeros as data.
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
    icmp.resize(LENGTH - ETHERNET - IPV4, 0);
    put_checksum(&mut icmp, 2);
    let ethernet = [to.0.0.as_slice(), &from.0.0, &[0x08, 0x00]].concat();
    let mut frame = [0; LENGTH];
    let octets = ethernet.into_iter().chain(ip).chain(icmp);
    frame.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
    frame
}

/// At `at`, where there is zero until now.
fn put_checksum(of: &mut [u8], at: usize) {
    let checksum = checksum(of).to_be_bytes();
    of.iter_mut().skip(at).zip(checksum).for_each(|(to, from)| *to = from);
}

/// RFC 1071; of what contains its own it is zero.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|word| match *word {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    });
    !words.fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_request_is_whole() {
        let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
        let [from, to] = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 10)];
        let frame = request((macs[0], from), (macs[1], to));
        let (ethernet, packet) = frame.split_at(ETHERNET);
        let (ip, icmp) = packet.split_at(IPV4);
        assert_eq!(ethernet, [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!((&ip[12..16], &ip[16..]), (&from.octets()[..], &to.octets()[..]));
        assert_eq!((checksum(ip), checksum(icmp)), (0, 0));
        assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), packet.len());
        assert_eq!(icmp[..2], [8, 0]);
    }
}

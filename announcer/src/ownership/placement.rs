//! Who goes first: rendezvous (highest random weight) hashing.
//!
//! Every node computes the same order from names alone, nobody coordinates,
//! and the loss of a node moves its VIPs only, spread over all others.

use std::{collections::BTreeSet, hash::Hasher};

use siphasher::sip::SipHasher13;

use crate::types::{NodeName, Vip};

/// The weight of `node` for a subject. SipHash-1-3 with fixed keys: all
/// versions of the announcer must agree, so std's unspecified hasher won't do.
fn weight(subject: &[u8], node: &NodeName) -> u64 {
    let mut h = SipHasher13::new_with_keys(0x616e_6e6f_756e_6365, 0x725f_6872_775f_7631);
    // `write`, not `hash`: a slice's `hash` adds its length in the machine's word size.
    h.write(subject);
    h.write(&[0xff]);
    h.write(node.as_str().as_bytes());
    h.finish()
}

/// How many of `candidates` come before `me` for this VIP: 0 acts at once.
/// Preferred nodes come before all others.
pub fn vip_rank<'a>(
    vip: Vip,
    me: &NodeName,
    preferred: &BTreeSet<NodeName>,
    candidates: impl Iterator<Item = &'a NodeName>,
) -> usize {
    vip_ahead(vip, me, preferred, candidates).count()
}

/// Those of `candidates` that come before `me` for this VIP, in no order.
pub fn vip_ahead<'a>(
    vip: Vip,
    me: &NodeName,
    preferred: &BTreeSet<NodeName>,
    candidates: impl Iterator<Item = &'a NodeName>,
) -> impl Iterator<Item = &'a NodeName> {
    let subject = vip.octets();
    let mine = (preferred.contains(me), weight(&subject, me), me);
    candidates.filter(move |&n| n != me && (preferred.contains(n), weight(&subject, n), n) > mine)
}

/// The one of `candidates` that should hold this VIP when nothing is in flux.
pub fn vip_first<'a>(
    vip: Vip,
    preferred: &BTreeSet<NodeName>,
    candidates: impl Iterator<Item = &'a NodeName>,
) -> Option<&'a NodeName> {
    let subject = vip.octets();
    candidates.max_by_key(|&n| (preferred.contains(n), weight(&subject, n), n))
}

/// How many of `observers` come before `me` in watching over `watched`.
pub fn monitor_rank<'a>(
    watched: &NodeName,
    me: &NodeName,
    observers: impl Iterator<Item = &'a NodeName>,
) -> usize {
    let subject = watched.as_str().as_bytes();
    let mine = (weight(subject, me), me);
    observers.filter(|&n| n != me && (weight(subject, n), n) > mine).count()
}

/// A fraction in 0..1 that differs between nodes and VIPs, and from one attempt to
/// the next: jitter without a random number, so that decisions can be replayed.
pub fn jitter(vip: Vip, me: &NodeName, attempt: u32) -> f64 {
    let mut subject = [0; 8];
    let (address, count) = subject.split_at_mut(4);
    address.copy_from_slice(&vip.octets());
    count.copy_from_slice(&attempt.to_be_bytes());
    f64::from((weight(&subject, me) >> 40) as u32) / f64::from(1 << 24)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn nodes(n: usize) -> Vec<NodeName> {
        (0..n).map(|i| format!("node-{i}").parse().expect("a node name")).collect()
    }

    fn first(vip: Vip, nodes: &[NodeName]) -> NodeName {
        let none = BTreeSet::new();
        let firsts: Vec<_> =
            nodes.iter().filter(|n| vip_rank(vip, n, &none, nodes.iter()) == 0).cloned().collect();
        assert_eq!(firsts.len(), 1, "exactly one node is first");
        assert_eq!(vip_first(vip, &none, nodes.iter()), firsts.first());
        firsts[0].clone()
    }

    #[test]
    fn ranks_are_a_permutation() {
        let nodes = nodes(7);
        let vip = "192.0.2.1".parse().expect("a VIP");
        let none = BTreeSet::new();
        let mut ranks: Vec<_> =
            nodes.iter().map(|n| vip_rank(vip, n, &none, nodes.iter())).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn preferred_nodes_come_first_in_their_own_order() {
        let nodes = nodes(7);
        for i in 1..100 {
            let vip = format!("192.0.2.{i}").parse().expect("a VIP");
            let preferred: BTreeSet<_> = nodes[2..4].iter().cloned().collect();
            let chosen = vip_first(vip, &preferred, nodes.iter());
            assert_eq!(chosen, vip_first(vip, &BTreeSet::new(), nodes[2..4].iter()), "{vip}");
            for node in &nodes {
                let rank = vip_rank(vip, node, &preferred, nodes.iter());
                assert_eq!(rank < 2, preferred.contains(node), "{vip} {node}");
            }
        }
    }

    #[test]
    fn a_thousand_vips_spread_evenly_over_ten_nodes() {
        let nodes = nodes(10);
        for subnet in 0..20 {
            let mut held = std::collections::BTreeMap::new();
            for i in 0..1000 {
                let vip = format!("10.{subnet}.{}.{}", i / 250, i % 250 + 1);
                *held.entry(first(vip.parse().expect("a VIP"), &nodes)).or_insert(0) += 1;
            }
            let most = held.values().copied().max().unwrap_or(0);
            assert!(most <= 130, "10.{subnet}: {most} VIPs on one of ten nodes");
        }
    }

    #[test]
    fn the_loss_of_a_node_moves_its_vips_only() {
        let all = nodes(5);
        let fewer = &all[..4];
        let mut heirs = std::collections::BTreeSet::new();
        for i in 0..200 {
            let vip = format!("10.0.{}.{}", i / 100, i % 100 + 1).parse().expect("a VIP");
            let (before, after) = (first(vip, &all), first(vip, fewer));
            if before == all[4] {
                heirs.insert(after);
            } else {
                assert_eq!(before, after, "{vip} moved without need");
            }
        }
        assert_eq!(heirs.len(), 4, "the lost node's VIPs spread over all others");
    }
}

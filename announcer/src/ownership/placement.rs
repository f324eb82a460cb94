//! Who goes first: rendezvous (highest random weight) hashing.
//!
//! Every node computes the same order from names alone, nobody coordinates,
//! and the loss of a node moves its VIPs only, spread over all others.

use std::hash::Hasher;

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
pub fn vip_rank<'a>(
    vip: Vip,
    me: &NodeName,
    candidates: impl Iterator<Item = &'a NodeName>,
) -> usize {
    rank(&vip.octets(), me, candidates)
}

/// How many of `observers` come before `me` in watching over `watched`.
pub fn monitor_rank<'a>(
    watched: &NodeName,
    me: &NodeName,
    observers: impl Iterator<Item = &'a NodeName>,
) -> usize {
    rank(watched.as_str().as_bytes(), me, observers)
}

fn rank<'a>(subject: &[u8], me: &NodeName, others: impl Iterator<Item = &'a NodeName>) -> usize {
    let mine = (weight(subject, me), me);
    others.filter(|&n| n != me && (weight(subject, n), n) > mine).count()
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn nodes(n: usize) -> Vec<NodeName> {
        (0..n).map(|i| format!("node-{i}").parse().expect("a node name")).collect()
    }

    fn first(vip: Vip, nodes: &[NodeName]) -> NodeName {
        let firsts: Vec<_> =
            nodes.iter().filter(|n| vip_rank(vip, n, nodes.iter()) == 0).cloned().collect();
        assert_eq!(firsts.len(), 1, "exactly one node is first");
        firsts[0].clone()
    }

    #[test]
    fn ranks_are_a_permutation() {
        let nodes = nodes(7);
        let vip = "192.0.2.1".parse().expect("a VIP");
        let mut ranks: Vec<_> = nodes.iter().map(|n| vip_rank(vip, n, nodes.iter())).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, (0..7).collect::<Vec<_>>());
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

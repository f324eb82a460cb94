//! Planned moves: the successor answers before the old holder stops.

use std::collections::BTreeMap;

use announcer::types::Vip;

use super::{broken, either, flags, leader, owners, settled, small};
use crate::{
    clock::{MS, SECOND},
    invariants::{Broken, Rule},
    world::World,
};

/// How long two nodes answer at most when the old holder hears the new one's
/// announcement, and when it has to see it in the lease.
const OVERLAP: u64 = 50 * MS;
const OVERLAP_UNHEARD: u64 = 240 * MS;

/// Judges after every step that each VIP is answered, and for how long by two.
struct Watcher {
    overlap: u64,
    doubled: BTreeMap<Vip, u64>,
}

impl Watcher {
    fn look(&mut self, world: &mut World) -> Result<(), Broken> {
        for &vip in &world.vips {
            let answering = world.nodes.iter().filter(|n| n.answers(world.t, vip)).count();
            if answering == 0 {
                return broken(world, Rule::PlannedMoveHasNoGap, format!("{vip} is not answered"));
            }
            if answering == 1 {
                self.doubled.remove(&vip);
                continue;
            }
            let since = *self.doubled.entry(vip).or_insert(world.t);
            if world.t > since + self.overlap {
                let how = format!("{vip} has been answered by two since {} ms", since / MS);
                return broken(world, Rule::HandoverIsShort, how);
            }
        }
        Ok(())
    }
}

/// Drained, excluded, left by its endpoints; comes back, and gets VIPs again.
pub(crate) fn planned(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, small(2 + seed % 4), 12, flags(either(seed)))?;
    let holder = leader(&world);
    let heard = !(seed / 2).is_multiple_of(4);
    world.nodes[holder].lan = heard;
    let overlap = if heard { OVERLAP } else { OVERLAP_UNHEARD };
    let mut watcher = Watcher { overlap, doubled: BTreeMap::new() };
    match seed / 8 % 3 {
        0 => world.drain(holder),
        1 => {
            world.cluster.excluded.insert(holder);
            world.proclaim();
        }
        _ => {
            let others = (0..world.nodes.len()).filter(|i| *i != holder);
            let local = Some(others.collect());
            world.cluster.services.values_mut().for_each(|s| s.clone_from(&local));
            world.proclaim();
        }
    }
    world.run_watching(world.t + 10 * SECOND, |w| watcher.look(w))?;
    if !owners(&world)[holder].is_empty() {
        return broken(&world, Rule::PlannedMoveHasNoGap, "nobody took over".to_owned());
    }
    world.nodes[holder].lan = true;
    world.cluster.excluded.clear();
    world.cluster.services.values_mut().for_each(|s| *s = None);
    world.proclaim();
    world.boot(holder);
    world.run_watching(world.t + 60 * SECOND, |w| watcher.look(w))?;
    world.judge_settled()
}

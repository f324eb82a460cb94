//! Many VIPs: evenly spread at the start, after a loss, and after a return.

use announcer::ownership::heartbeat::OnApiLoss;

use super::{CALM, broken, flags, owners};
use crate::{
    clock::{MS, SECOND},
    invariants::{Broken, Rule},
    world::World,
};

const NODES: usize = 10;
const VIPS: usize = 1000;

/// No node answers for more than 1.3 times the mean.
fn even(world: &World, nodes: usize, when: &str) -> Result<(), Broken> {
    let held: Vec<_> = owners(world).iter().map(Vec::len).collect();
    let most = held.iter().copied().max().unwrap_or_default();
    if most * nodes * 10 <= VIPS * 13 {
        return Ok(());
    }
    broken(world, Rule::SpreadIsEven, format!("{when}: {held:?}"))
}

/// All nodes are started within two seconds; one is lost, and returns.
pub(crate) fn thousand(seed: u64) -> Result<(), Broken> {
    let mut world = World::new(seed, NODES, VIPS, flags(OnApiLoss::Hold), CALM);
    world.batch = 20 * MS;
    world = world.started(2 * SECOND);
    world.run(60 * SECOND)?;
    world.judge_settled()?;
    even(&world, NODES, "60 s after the start")?;

    let before = owners(&world);
    let lost = super::small(seed) % NODES;
    world.crash(lost, true, 3600 * SECOND);
    world.run(world.t + 10 * SECOND)?;
    world.judge_settled()?;
    even(&world, NODES - 1, "10 s after a loss")?;
    let after = owners(&world);
    let heirs = (0..NODES).filter(|i| after[*i].len() > before[*i].len()).count();
    if heirs != NODES - 1 {
        return broken(&world, Rule::SpreadIsEven, format!("{heirs} nodes share what was lost"));
    }

    world.boot(lost);
    world.run(world.t + 60 * SECOND)?;
    world.judge_settled()?;
    even(&world, NODES, "60 s after a return")
}

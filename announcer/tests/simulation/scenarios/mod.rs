//! Stories: what happens to a cluster, and what must come of it.

pub(crate) mod calm;
pub(crate) mod hands;
pub(crate) mod losses;
pub(crate) mod moves;
pub(crate) mod probes;
pub(crate) mod spread;
pub(crate) mod storms;

use std::time::Duration;

use announcer::{
    ownership::{heartbeat::OnApiLoss, timing::Timing},
    types::Vip,
};

use crate::{
    clock::SECOND,
    faults::{Drift, Weather},
    invariants::{Broken, Rule},
    node::Flags,
    world::World,
};

/// Nothing goes wrong; clocks are up to 3 % off.
const CALM: Weather =
    Weather { faults: &[], every: Duration::ZERO, drift: Drift::UpTo(30_000), catch_up: 2000 };

fn timing() -> Timing {
    Timing::new(Duration::from_secs(3), Duration::from_secs(1)).expect("the default timing")
}

fn fast_timing() -> Timing {
    Timing::new(Duration::from_millis(800), Duration::from_millis(200)).expect("the fast timing")
}

fn flags(on_loss: OnApiLoss) -> Flags {
    Flags {
        timing: timing(),
        on_loss,
        rebalance: Some(Duration::from_millis(100)),
        probe_interval: None,
    }
}

fn either(seed: u64) -> OnApiLoss {
    if seed.is_multiple_of(2) { OnApiLoss::Hold } else { OnApiLoss::Withdraw }
}

fn small(n: u64) -> usize {
    usize::try_from(n).expect("a small number")
}

/// A cluster in which everything has found its place. It is then this time.
const SETTLED: u64 = 40 * SECOND;

fn settled(seed: u64, nodes: usize, vips: usize, flags: Flags) -> Result<World, Broken> {
    let mut world = World::new(seed, nodes, vips, flags, CALM).started(SECOND);
    world.run(SETTLED)?;
    world.judge_settled()?;
    Ok(world)
}

/// Per node the VIPs that it answers for.
fn owners(world: &World) -> Vec<Vec<Vip>> {
    let answered = |i: usize| {
        let vips = world.vips.iter().copied();
        vips.filter(|vip| world.nodes[i].answers(world.t, *vip)).collect()
    };
    (0..world.nodes.len()).map(answered).collect()
}

/// The node that answers for the first VIP.
fn leader(world: &World) -> usize {
    let answers = |i: &usize| world.nodes[*i].answers(world.t, world.vips[0]);
    (0..world.nodes.len()).find(answers).expect("a settled cluster")
}

fn nothing_has_moved(world: &World, before: &[Vec<Vip>]) -> Result<(), Broken> {
    let after = owners(world);
    if before == after {
        return Ok(());
    }
    broken(world, Rule::NothingMoves, format!("before {before:?}, after {after:?}"))
}

fn broken(world: &World, rule: Rule, how: String) -> Result<(), Broken> {
    Err(Broken { rule, at: world.t, how })
}

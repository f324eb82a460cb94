//! Nothing moves without need, and nothing is written.

use super::{broken, either, flags, nothing_has_moved, owners, settled, small};
use crate::{
    clock::SECOND,
    faults::Fault,
    invariants::{Broken, Rule},
    world::World,
};
use announcer::ownership::heartbeat::OnApiLoss;

/// Three nodes for so many seconds: one renewal a second each, by clocks that are
/// 3 % off, and no more.
fn renewals_only(world: &World, writes: u64, seconds: u64) -> Result<(), Broken> {
    let most = 3 * seconds * 103 / 100 + 3;
    let renewals = world.store.writes - writes;
    let least = 3 * seconds * 97 / 100 - 3;
    if (least..=most).contains(&renewals) {
        return Ok(());
    }
    broken(world, Rule::RestIsCheap, format!("{renewals} writes in {seconds} s by three nodes"))
}

/// Nothing happens.
pub(crate) fn rest(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 20, flags(either(seed)))?;
    let (before, writes) = (owners(&world), world.store.writes);
    world.run(world.t + 20 * SECOND)?;
    nothing_has_moved(&world, &before)?;
    renewals_only(&world, writes, 20)
}

/// The API server is away for half a minute: answers go on or not as the flag says,
/// and afterwards nothing has moved and nothing is rewritten.
pub(crate) fn outage(seed: u64) -> Result<(), Broken> {
    let on_loss = either(seed);
    let mut world = settled(seed, 3, 20, flags(on_loss))?;
    let before = owners(&world);
    let length = world.rng.u64(4 * SECOND..30 * SECOND);
    world.api.outage = true;
    world.run(world.t + length)?;
    match on_loss {
        OnApiLoss::Hold => nothing_has_moved(&world, &before)?,
        OnApiLoss::Withdraw => {
            if owners(&world).iter().any(|answered| !answered.is_empty()) {
                let how = "answered without the API server".to_owned();
                return broken(&world, Rule::WithdrawStops, how);
            }
        }
    }
    let writes = world.store.writes;
    world.ease(crate::faults::Trouble::Outage);
    world.run(world.t + 30 * SECOND)?;
    nothing_has_moved(&world, &before)?;
    // Each node may be a second late, or early.
    renewals_only(&world, writes, 30)
}

/// The API server is restarted, and its history is gone.
pub(crate) fn restart(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 20, flags(either(seed)))?;
    let (before, writes) = (owners(&world), world.store.writes);
    world.restart_api();
    world.run(world.t + 20 * SECOND)?;
    nothing_has_moved(&world, &before)?;
    renewals_only(&world, writes, 20)
}

/// The watches of one node stand still, while its renewals succeed.
pub(crate) fn frozen(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 20, flags(either(seed)))?;
    let before = owners(&world);
    world.strike(Fault::Freeze, small(seed % 3));
    world.run(world.t + 30 * SECOND)?;
    nothing_has_moved(&world, &before)
}

//! Nodes that are lost, cut off or stopped, one at a time.

use announcer::ownership::{heartbeat::OnApiLoss, lease::Request};

use super::{CALM, broken, either, flags, leader, nothing_has_moved, owners, settled, small};
use crate::{
    clock::{MS, SECOND},
    faults::{Drift, Fault, Trouble, Weather},
    invariants::{Broken, Rule},
    node::Frozen,
    requests::{Fate, HoldUp, releases},
    watching::Subject,
    world::World,
};

/// D, one monitor's and one successor's turn missed, requests, clocks 3 % off.
const FAILOVER: u64 = 3900 * MS;

/// The holder dies: all of its VIPs are answered again in time.
pub(crate) fn crash(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, small(2 + seed % 7), 8, flags(either(seed)))?;
    let moment = world.t + world.rng.u64(0..SECOND);
    world.run(moment)?;
    let victim = leader(&world);
    world.crash(victim, true, 3600 * SECOND);
    world.run(world.t + FAILOVER)?;
    world.judge_settled().map_err(|broken| Broken { rule: Rule::FailoverIsTimely, ..broken })
}

/// A holder loses power and is back in a new session before others have fenced it,
/// when one of its VIPs may not be held there any more.
pub(crate) fn back_elsewhere(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 8, flags(either(seed)))?;
    let holder = leader(&world);
    let elsewhere = (0..3).filter(|i| *i != holder).collect();
    world.cluster.services.insert(world.vips[0], Some(elsewhere));
    let moment = world.t + world.rng.u64(100..1500) * MS;
    world.crash(holder, true, moment - world.t);
    world.proclaim();
    world.run(moment + FAILOVER)?;
    world.judge_settled()
}

/// A daemon is killed, and drained when it is back and knows nothing but its own
/// session yet; its maps answer all the while.
pub(crate) fn drained_unknowing(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 8, flags(either(seed)))?;
    let holder = leader(&world);
    world.crash(holder, false, 20 * MS);
    world.run(world.t + 20 * MS)?;
    world.nodes[holder].frozen = Frozen::One(Subject::Vips);
    let moment = world.t + world.rng.u64(1..60) * MS;
    world.run(moment)?;
    world.drain(holder);
    world.run(world.t + 10 * SECOND)?;
    world.ease(Trouble::Frozen(holder));
    world.run(world.t + 30 * SECOND)?;
    world.judge_settled()
}

/// A node loses its link and offers its VIPs. The link is back before it hears what
/// became of its offers, and perhaps in time to hear its successors announce.
pub(crate) fn relinked(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 8, flags(either(seed)))?;
    let holder = leader(&world);
    world.nodes[holder].frozen = Frozen::One(Subject::Vips);
    let fate = Fate::Late(5 * MS);
    world.api.hold_ups.push(HoldUp { node: holder, which: releases, fate, left: 8 });
    world.cluster.unplugged.insert(holder);
    world.nodes[holder].lan = false;
    world.link_changed(holder);
    let moment = world.t + world.rng.u64(5..400) * MS;
    world.run(moment)?;
    world.ease(Trouble::Carrier(holder));
    world.run(world.t + 10 * SECOND)?;
    world.ease(Trouble::Frozen(holder));
    world.run(world.t + 20 * SECOND)?;
    world.judge_settled()
}

/// All nodes but one die at once, even those that should have noticed.
pub(crate) fn last_survivor(seed: u64) -> Result<(), Broken> {
    let nodes = small(2 + seed % 9);
    let mut world = World::new(seed, nodes, 8, flags(either(seed)), CALM).started(SECOND);
    world.run(20 * SECOND)?;
    let survivor = small(seed) % nodes;
    (0..nodes).filter(|i| *i != survivor).for_each(|i| world.crash(i, true, 3600 * SECOND));
    world.run(620 * SECOND)?;
    world.judge_settled()
}

/// The holder is cut off: from the API server, from the LAN, or from both.
pub(crate) fn holder_cut_off(seed: u64) -> Result<(), Broken> {
    let on_loss = either(seed);
    let mut world = settled(seed, 3, 8, flags(on_loss))?;
    let (before, holder) = (owners(&world), leader(&world));
    let cut = [Fault::CutApi, Fault::CutLan, Fault::CutOff][small(seed / 2 % 3)];
    world.nodes[holder].api = cut == Fault::CutLan;
    world.nodes[holder].lan = cut == Fault::CutApi;
    world.run(world.t + FAILOVER)?;
    let after = owners(&world);
    match cut {
        // Nobody knows, and it still holds.
        Fault::CutLan => nothing_has_moved(&world, &before)?,
        // The successors' announcements have ended what it did on trust.
        Fault::CutApi => judge_heirs(&world, holder, after[holder].is_empty())?,
        _ => {
            let silent = after[holder].is_empty();
            judge_heirs(&world, holder, silent || on_loss == OnApiLoss::Hold)?;
        }
    }
    world.ease(Trouble::Api(holder));
    world.ease(Trouble::Lan(holder));
    world.run(world.t + 30 * SECOND)?;
    world.judge_settled()
}

/// Each VIP has a node that answers, besides the one that is lost.
fn judge_heirs(world: &World, lost: usize, lost_is_right: bool) -> Result<(), Broken> {
    let others =
        |vip| (0..world.nodes.len()).any(|i| i != lost && world.nodes[i].answers(world.t, vip));
    if lost_is_right && world.vips.iter().all(|vip| others(*vip)) {
        return Ok(());
    }
    broken(world, Rule::FailoverIsTimely, format!("{:?}", owners(world)))
}

/// A node that holds nothing is cut off from everything.
pub(crate) fn follower_cut_off(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 4, 1, flags(either(seed)))?;
    let (before, holder) = (owners(&world), leader(&world));
    let follower = (holder + 1 + small(seed / 2 % 3)) % 4;
    world.strike(Fault::CutOff, follower);
    world.run(world.t + 30 * SECOND)?;
    nothing_has_moved(&world, &before)
}

/// A holder is stopped for longer than its session lasts, and goes on when others
/// hold its VIPs: in half of the cases without having been able to hear of it, in
/// half without being able to ask.
pub(crate) fn stopped(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 8, flags(OnApiLoss::Hold))?;
    let holder = leader(&world);
    let (deaf, on_trust) = (seed.is_multiple_of(2), (seed / 2).is_multiple_of(2));
    world.nodes[holder].lan = !deaf;
    if on_trust {
        world.nodes[holder].api = false;
        let moment = world.t + world.rng.u64(0..3 * SECOND);
        world.run(moment)?;
    }
    let long = world.rng.u64(600 * MS..12 * SECOND);
    world.pause(holder, long);
    world.run(world.t + long + 5 * SECOND)?;
    world.ease(Trouble::Api(holder));
    world.ease(Trouble::Lan(holder));
    world.run(world.t + 30 * SECOND)?;
    world.judge_settled()
}

/// A daemon that answers on trust is killed, and comes back just before others have
/// waited long enough; it can read its lease, and not renew it.
pub(crate) fn restarted_on_trust(seed: u64) -> Result<(), Broken> {
    const fn renews(request: &Request) -> bool {
        matches!(request, Request::WriteNode { .. })
    }
    let mut world = settled(seed, 3, 8, flags(OnApiLoss::Hold))?;
    let holder = leader(&world);
    world.nodes[holder].api = false;
    let moment = world.t + world.rng.u64(1600 * MS..3200 * MS);
    world.run(moment)?;
    let pause = world.rng.u64(10..200) * MS;
    world.crash(holder, false, pause);
    world.ease(Trouble::Api(holder));
    world.api.hold_ups.push(HoldUp { node: holder, which: renews, fate: Fate::Lost, left: 3 });
    world.run(world.t + 30 * SECOND)?;
    world.judge_settled()
}

/// A holder is told by its watch that it was fenced, while all it sends is lost.
pub(crate) fn fenced_and_told(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 3, 8, flags(either(seed)))?;
    let holder = leader(&world);
    let all = |_: &Request| true;
    world.api.hold_ups.push(HoldUp { node: holder, which: all, fate: Fate::Lost, left: 20 });
    world.nodes[holder].lan = false;
    world.run(world.t + 30 * SECOND)?;
    world.ease(Trouble::Lan(holder));
    world.run(world.t + 30 * SECOND)?;
    world.judge_settled()
}

/// The only node is restarted, with or without its maps.
pub(crate) fn alone(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 1, 4, flags(either(seed)))?;
    let long = world.rng.u64(10 * MS..4 * SECOND);
    let power = world.rng.bool();
    world.crash(0, power, long);
    world.run(world.t + long + 4 * SECOND)?;
    world.judge_settled()
}

/// Renewals are applied at once and answered late, clock rates are nearly as far
/// apart as the margin allows, and then the holder is cut off.
pub(crate) fn slow_answers(seed: u64) -> Result<(), Broken> {
    let drifting = Weather { drift: Drift::Apart(100_000), ..CALM };
    let mut world = World::new(seed, 3, 8, flags(either(seed)), drifting).started(SECOND);
    world.run(20 * SECOND)?;
    world.api.slow_answers = 600 * MS;
    let moment = world.t + world.rng.u64(4 * SECOND..6 * SECOND);
    world.run(moment)?;
    let holder = leader(&world);
    world.nodes[holder].api = false;
    world.api.slow_answers = 0;
    world.run(world.t + 10 * SECOND)?;
    world.ease(Trouble::Api(holder));
    world.run(world.t + 20 * SECOND)?;
    world.judge_settled()
}

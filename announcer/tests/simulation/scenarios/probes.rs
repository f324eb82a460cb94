//! First claims are probed for (RFC 5227 section 2.1.1), and takeovers are not.

use std::time::Duration;

use announcer::types::Vip;

use super::{
    CALM, broken, either, flags,
    storms::{FAILURES, storm_with},
};
use crate::{
    clock::{MS, SECOND},
    invariants::{Broken, Rule},
    node::Flags,
    world::World,
};

const INTERVAL: Duration = Duration::from_millis(200);
/// Two intervals between three probes, and two after the last, by a clock that is 3 % fast.
const SHORTEST: u64 = 4 * 200 * MS * 97 / 100;
/// As long as all that may take, with a second to spare.
const PATIENCE: u64 = 10 * SECOND;

fn probing(seed: u64) -> Flags {
    Flags { probe_interval: Some(INTERVAL), ..flags(either(seed)) }
}

/// Runs until somebody is as `wanted`, and says who.
fn until(
    world: &mut World,
    wanted: impl Fn(&World, usize) -> bool,
) -> Result<Option<usize>, Broken> {
    let deadline = world.t + PATIENCE;
    while world.t < deadline {
        world.run(world.t + MS)?;
        if let Some(i) = (0..world.nodes.len()).find(|i| wanted(world, *i)) {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// Who answers first, and that it is not before a whole probing since `since`.
fn answered_after_probes(world: &mut World, vip: Vip, since: u64) -> Result<usize, Broken> {
    let Some(i) = until(world, |w, i| w.nodes[i].answers(w.t, vip))? else {
        return broken(world, Rule::EveryVipIsAnswered, format!("nobody answers for {vip}"))
            .map(|()| 0);
    };
    if world.t < since + SHORTEST {
        let how = format!("{vip} is answered {} ms after it was held", (world.t - since) / MS);
        broken(world, Rule::FirstClaimsAreProbed, how)?;
    }
    Ok(i)
}

/// A cluster in which somebody has just taken a VIP that nobody held before.
fn first_claim(seed: u64) -> Result<(World, Vip, usize), Broken> {
    let mut world = World::new(seed, 3, 4, probing(seed), CALM).started(SECOND);
    let vip = world.vips[0];
    match until(&mut world, |w, i| w.nodes[i].holds_validly(w.t, vip))? {
        Some(holder) => Ok((world, vip, holder)),
        None => Err(Broken {
            rule: Rule::EveryVipIsAnswered,
            at: world.t,
            how: format!("nobody holds {vip}"),
        }),
    }
}

/// Anything goes wrong, and all is well in the end.
pub(crate) fn storm(seed: u64) -> Result<(), Broken> {
    storm_with(seed, FAILURES, probing(seed))
}

/// The first holder probes; who takes over when it is dead does not.
pub(crate) fn first(seed: u64) -> Result<(), Broken> {
    let (mut world, vip, holder) = first_claim(seed)?;
    let since = world.t;
    let answering = answered_after_probes(&mut world, vip, since)?;
    if answering != holder {
        let how = format!("{vip} is answered by another than its holder");
        broken(&world, Rule::FirstClaimsAreProbed, how)?;
    }
    world.run(60 * SECOND)?;
    world.judge_settled()?;
    let victim = super::leader(&world);
    let mine: Vec<_> = (world.vips.iter().copied())
        .filter(|vip| world.nodes[victim].answers(world.t, *vip))
        .collect();
    world.crash(victim, true, 3600 * SECOND);
    for vip in mine {
        let holds = |w: &World, i: usize| i != victim && w.nodes[i].holds_validly(w.t, vip);
        let successor = until(&mut world, holds)?;
        let answers = |i: usize| world.nodes[i].answers(world.t, vip);
        if !successor.is_some_and(answers) {
            let how = format!("{vip} has a successor that does not answer");
            broken(&world, Rule::FailoverIsTimely, how)?;
        }
    }
    Ok(())
}

/// A daemon that is killed while it probes comes back to a lease that names it, and to maps
/// that answer for nothing: it probes again.
pub(crate) fn killed(seed: u64) -> Result<(), Broken> {
    let (mut world, vip, holder) = first_claim(seed)?;
    let moment = world.t + world.rng.u64(1..500) * MS;
    world.run(moment)?;
    let away = world.rng.u64(1..200) * MS;
    world.crash(holder, false, away);
    let back = world.t + away;
    answered_after_probes(&mut world, vip, back)?;
    world.run(60 * SECOND)?;
    world.judge_settled()
}

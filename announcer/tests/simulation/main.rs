//! Seeded simulation of the ownership protocol: the daemon's own state machines
//! on virtual time, with everything going wrong that can.
//!
//! `SIMULATION_SEEDS=n` sets how many seeds each scenario runs;
//! `SIMULATION_SEED=s` runs that one alone, and a failure tells its whole story.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod store;
mod world;

use std::{ops::Range, time::Duration};

use announcer::{
    ownership::{heartbeat::OnApiLoss, timing::Timing},
    types::Vip,
};
use world::{MS, Weather, World};

const SECOND: u64 = 1000 * MS;

fn timing() -> Timing {
    Timing::new(Duration::from_secs(3), Duration::from_secs(1)).expect("the default timing")
}

const STORM: Weather = Weather {
    on_loss: OnApiLoss::Withdraw,
    fault_every: Duration::from_millis(700),
    // 2 x 3 % between two nodes: within the margin of a fifth.
    drift_ppm: 30_000,
    hands: false,
    drains: false,
};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|s| s.parse().expect("a number"))
}

fn single_seed() -> Option<u64> {
    number("SIMULATION_SEED")
}

fn seeds() -> Range<u64> {
    match single_seed() {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(150),
    }
}

/// At most one node is entitled to a VIP: by its own machine, and, unless it
/// may hold on or hand over, by what its data plane would answer.
fn one_owner(world: &World, answers_too: bool) -> Result<(), String> {
    for &vip in &world.vips {
        let holders: Vec<_> =
            world.nodes.iter().filter(|n| n.holds_validly(world.t, vip)).map(|n| &n.name).collect();
        if holders.len() > 1 {
            return Err(format!("{vip} is held by {holders:?}"));
        }
        let answering: Vec<_> =
            world.nodes.iter().filter(|n| n.answers(world.t, vip)).map(|n| &n.name).collect();
        if answers_too && answering.len() > 1 {
            return Err(format!("{vip} is answered by {answering:?}"));
        }
    }
    Ok(())
}

/// After everything has healed, each VIP is answered by exactly one node.
fn all_answered(world: &World) -> Result<(), String> {
    for &vip in &world.vips {
        let answering = world.nodes.iter().filter(|n| n.answers(world.t, vip)).count();
        if answering != 1 {
            return Err(format!("after healing, {vip} is answered by {answering} nodes"));
        }
    }
    Ok(())
}

fn storm(weather: Weather, answers_too: bool) {
    for seed in seeds() {
        // From two nodes to so many that nobody monitors all of them.
        let nodes = usize::try_from(2 + seed % 7).expect("a small number");
        let mut world = World::new(seed, nodes, 4, timing(), weather);
        world.log = single_seed().map(|_| Vec::new());
        let result = world
            .run(60 * SECOND, |w| one_owner(w, answers_too))
            .and_then(|()| {
                world.heal();
                world.run(100 * SECOND, |w| one_owner(w, answers_too))
            })
            .and_then(|()| all_answered(&world));
        if let Err(error) = result {
            let log = world.log.unwrap_or_default().join("\n");
            panic!("{log}\nseed {seed}: {error} (SIMULATION_SEED={seed} shows what led to it)");
        }
    }
}

#[test]
fn one_node_answers_whatever_fails() {
    storm(STORM, true);
}

#[test]
fn one_node_holds_even_where_the_old_one_may_answer_on() {
    storm(Weather { on_loss: OnApiLoss::Hold, ..STORM }, false);
}

#[test]
fn one_node_holds_while_nodes_drain_and_return() {
    storm(Weather { drains: true, ..STORM }, false);
}

#[test]
fn one_node_holds_though_people_edit_leases() {
    storm(Weather { hands: true, ..STORM }, false);
}

#[test]
fn a_last_survivor_answers_for_all() {
    for seed in seeds() {
        let nodes = usize::try_from(2 + seed % 9).expect("a small number");
        let mut world = World::new(seed, nodes, 8, timing(), CALM);
        world.run(20 * SECOND, |w| one_owner(w, true)).expect("one owner");
        let survivor = usize::try_from(seed).expect("a small number") % nodes;
        (0..nodes).filter(|i| *i != survivor).for_each(|i| world.power_off(i));
        world.run(620 * SECOND, |w| one_owner(w, true)).expect("one owner");
        all_answered(&world).unwrap_or_else(|e| panic!("seed {seed}, {nodes} nodes: {e}"));
    }
}

const CALM: Weather = Weather { fault_every: Duration::ZERO, ..STORM };

/// A world of 3 nodes and 20 VIPs, settled.
fn calm(seed: u64, weather: Weather) -> World {
    let mut world = World::new(seed, 3, 20, timing(), weather);
    world.run(20 * SECOND, |w| one_owner(w, true)).expect("one owner");
    all_answered(&world).expect("every VIP has a holder");
    world
}

fn owners(world: &World) -> Vec<Vec<Vip>> {
    world.nodes.iter().map(|n| n.map.keys().copied().collect()).collect()
}

#[test]
fn nothing_moves_and_nothing_is_written_in_calm_weather() {
    for seed in seeds() {
        let mut world = calm(seed, CALM);
        let (before, writes) = (owners(&world), world.store.writes);
        world.run(40 * SECOND, |w| one_owner(w, true)).expect("one owner");
        assert_eq!(before, owners(&world), "seed {seed}: a VIP moved");
        let renewals = world.store.writes - writes;
        // 3 nodes, 20 s, one renewal a second, clocks up to 3 % off, 20 VIPs: no more.
        assert!((57..=63).contains(&renewals), "seed {seed}: {renewals} writes at rest");
    }
}

#[test]
fn nothing_moves_when_the_api_server_returns() {
    for (seed, on_loss) in seeds().zip([OnApiLoss::Hold, OnApiLoss::Withdraw].into_iter().cycle()) {
        let mut world = calm(seed, Weather { on_loss, ..CALM });
        let before = owners(&world);
        world.set_outage(true);
        world.run(50 * SECOND, |w| one_owner(w, true)).expect("one owner");
        match on_loss {
            OnApiLoss::Hold => all_answered(&world).expect("held throughout"),
            OnApiLoss::Withdraw => {
                assert!(
                    !world.vips.iter().any(|v| world.nodes.iter().any(|n| n.answers(world.t, *v)))
                );
            }
        }
        let writes = world.store.writes;
        world.set_outage(false);
        world.run(80 * SECOND, |w| one_owner(w, true)).expect("one owner");
        all_answered(&world).expect("answered again");
        assert_eq!(before, owners(&world), "seed {seed}, {on_loss:?}: a VIP moved");
        let renewals = world.store.writes - writes;
        assert!(renewals <= 3 * 32, "seed {seed}: {renewals} writes in 30 s: more than renewals");
    }
}

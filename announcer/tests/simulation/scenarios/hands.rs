//! Leases deleted and edited by hand, and requests that arrive when nobody expects
//! them any more: the few moments in which that could do harm.

use announcer::{ownership::lease::Request, types::Vip};

use super::{either, flags, leader, nothing_has_moved, owners, settled, small};
use crate::{
    clock::{MS, SECOND},
    faults::Trouble,
    invariants::Broken,
    node::{Flags, Frozen},
    requests::{Fate, HoldUp, about_vip, releases, takes},
    watching::Subject,
    world::World,
};

/// A VIP lease is deleted by hand, or its holder cleared, while a node starts that
/// has never seen who held it.
pub(crate) fn edited(seed: u64) -> Result<(), Broken> {
    let mut world = settled(seed, 4, 20, flags(either(seed)))?;
    world.crash(3, true, 3600 * SECOND);
    world.run(world.t + 20 * SECOND)?;
    let before = owners(&world);
    let vip = world.vips[small(seed % 20)];
    let starts = world.rng.bool();
    if starts {
        world.boot(3);
        let later = world.t + world.rng.u64(0..60) * MS;
        world.run(later)?;
    }
    let clear = world.rng.bool();
    world.by_hand(|w| if clear { w.store.clear_holder(vip) } else { w.store.delete_vip(vip) });
    // Not so long that the node that came back is given VIPs.
    world.run(world.t + 8 * SECOND)?;
    nothing_has_moved(&world, &before)
}

/// A settled cluster of which node 3 is down; with the VIP of the story and its holder.
fn one_down(seed: u64) -> Result<(World, Vip, usize), Broken> {
    let flags = Flags { rebalance: None, ..flags(either(seed)) };
    let mut world = settled(seed, 4, 8, flags)?;
    world.crash(3, true, 3600 * SECOND);
    world.run(world.t + 20 * SECOND)?;
    let (vip, holder) = (world.vips[0], leader(&world));
    Ok((world, vip, holder))
}

fn edit(world: &mut World, vip: Vip) {
    let clear = world.rng.bool();
    world.by_hand(|w| if clear { w.store.clear_holder(vip) } else { w.store.delete_vip(vip) });
}

/// The holder cannot write its lease anew for a while, or for good, and a node
/// starts that has never seen who held it.
pub(crate) fn unrestored(seed: u64) -> Result<(), Broken> {
    let (mut world, vip, holder) = one_down(seed)?;
    let before = owners(&world);
    let for_good = seed.is_multiple_of(2);
    let left = if for_good { 100 } else { 4 };
    let fate = if (seed / 2).is_multiple_of(2) { Fate::Lost } else { Fate::Refused };
    let left = if matches!(fate, Fate::Lost) { left / 2 } else { left };
    world.api.hold_ups.push(HoldUp { node: holder, which: about_vip, fate, left });
    edit(&mut world, vip);
    world.boot(3);
    // Not so long that the node that came back is given VIPs.
    world.run(world.t + 8 * SECOND)?;
    if !for_good {
        nothing_has_moved(&world, &before)?;
    }
    world.api.hold_ups.clear();
    world.run(world.t + 30 * SECOND)?;
    world.judge_settled()
}

/// The same around an outage of the API server, during which nobody sees anything.
pub(crate) fn edited_before_an_outage(seed: u64) -> Result<(), Broken> {
    let (mut world, vip, holder) = one_down(seed)?;
    let before = owners(&world);
    world.weather.catch_up = 500;
    world.nodes[holder].api = false;
    edit(&mut world, vip);
    world.boot(3);
    let outage_at = world.t + world.rng.u64(100 * MS..SECOND);
    world.run(outage_at)?;
    world.api.outage = true;
    let long = world.rng.u64(SECOND..10 * SECOND);
    world.run(world.t + long)?;
    world.nodes[holder].api = true;
    world.ease(Trouble::Outage);
    world.run(world.t + 8 * SECOND)?;
    nothing_has_moved(&world, &before)
}

/// A node that sees nothing for a while misses who took a dead holder's VIP, and
/// that the lease was deleted then.
pub(crate) fn unseen_successor(seed: u64) -> Result<(), Broken> {
    let (mut world, vip, holder) = one_down(seed)?;
    let blind = (0..3).filter(|i| *i != holder).nth(small(seed % 2)).unwrap_or(0);
    world.nodes[blind].frozen = Frozen::One(Subject::Vips);
    // Nor does it learn of it by trying.
    world.api.hold_ups.push(HoldUp { node: blind, which: about_vip, fate: Fate::Lost, left: 3 });
    world.crash(holder, true, 3600 * SECOND);
    world.run(world.t + 6 * SECOND)?;
    let heir = leader(&world);
    if heir == blind {
        // It took what it knew to be free.
        return Ok(());
    }
    world.store.compact();
    world.weather.catch_up = 50;
    world.api.hold_ups.push(HoldUp { node: heir, which: about_vip, fate: Fate::Lost, left: 2 });
    world.by_hand(|w| w.store.delete_vip(vip));
    world.ease(Trouble::Frozen(blind));
    world.run(world.t + 8 * SECOND)?;
    world.judge_settled()
}

/// The take of a first successor arrives late, after a second one has taken the VIP
/// and the lease was deleted.
pub(crate) fn late_take(seed: u64) -> Result<(), Broken> {
    let (mut world, vip, holder) = one_down(seed)?;
    world.crash(holder, true, 3600 * SECOND);
    let others: Vec<_> = (0..3).filter(|i| *i != holder).collect();
    let late = others[small(seed % 2)];
    let other = others[small(1 - seed % 2)];
    let fate = Fate::Late(1500 * MS);
    world.api.hold_ups.push(HoldUp { node: late, which: takes, fate, left: 1 });
    while !world.nodes[other].answers(world.t, vip) {
        world.run(world.t + 5 * MS)?;
    }
    if world.api.hold_ups[0].left > 0 {
        // The other one was first.
        return Ok(());
    }
    world.run(world.t + 300 * MS)?;
    world.api.hold_ups.push(HoldUp { node: other, which: takes, fate: Fate::Lost, left: 10 });
    world.by_hand(|w| w.store.delete_vip(vip));
    world.run(world.t + 2 * SECOND)?;
    world.api.hold_ups.clear();
    world.run(world.t + 20 * SECOND)?;
    world.judge_settled()
}

/// A release arrives late, when the holder has decided to keep the VIP after all,
/// and sees nothing of what becomes of it.
pub(crate) fn late_release(seed: u64) -> Result<(), Broken> {
    let (mut world, _, holder) = one_down(seed)?;
    let fate = Fate::Late(world.rng.u64(SECOND..4 * SECOND));
    world.api.hold_ups.push(HoldUp { node: holder, which: releases, fate, left: 20 });
    world.cluster.excluded.insert(holder);
    world.proclaim();
    let moment = world.t + world.rng.u64(100 * MS..900 * MS);
    world.run(moment)?;
    world.cluster.excluded.clear();
    world.proclaim();
    world.run(world.t + 400 * MS)?;
    world.api.hold_ups.clear();
    world.nodes[holder].frozen = Frozen::All;
    world.nodes[holder].lan = false;
    world.run(world.t + 15 * SECOND)?;
    world.ease(Trouble::Frozen(holder));
    world.ease(Trouble::Lan(holder));
    world.run(world.t + 20 * SECOND)?;
    world.judge_settled()
}

/// A node lease is deleted, and again when its node has made it anew and is stopped;
/// a request of the node's, long under way, then makes it anew once more.
pub(crate) fn late_creation(seed: u64) -> Result<(), Broken> {
    const fn creates(request: &Request) -> bool {
        matches!(request, Request::WriteNode { expect: None, .. })
    }
    let (mut world, _, holder) = one_down(seed)?;
    let name = world.nodes[holder].name.clone();
    let fate = Fate::Late(3 * SECOND);
    world.api.hold_ups.push(HoldUp { node: holder, which: creates, fate, left: 1 });
    world.by_hand(|w| w.store.delete_node(&name));
    while world.api.hold_ups[0].left > 0 {
        world.run(world.t + 5 * MS)?;
    }
    let arrives = world.t + 3 * SECOND;
    world.run(arrives - 100 * MS)?;
    world.pause(holder, 2 * SECOND);
    world.by_hand(|w| w.store.delete_node(&name));
    world.run(world.t + 4 * SECOND)?;
    world.run(world.t + 20 * SECOND)?;
    world.judge_settled()
}

/// A node sees that another's lease was deleted, and nothing more of node leases:
/// not the new session either in which the other takes its VIPs again.
pub(crate) fn unseen_session(seed: u64) -> Result<(), Broken> {
    let (mut world, _, holder) = one_down(seed)?;
    let blind = (holder + 1 + small(seed / 2 % 2)) % 3;
    let name = world.nodes[holder].name.clone();
    if (seed / 4).is_multiple_of(2) {
        // The last it saw is a session in between.
        world.by_hand(|w| w.store.delete_node(&name));
        world.run(world.t + 6 * SECOND)?;
        world.nodes[blind].frozen = Frozen::Nodes;
    }
    world.by_hand(|w| w.store.delete_node(&name));
    world.run(world.t + 50 * MS)?;
    world.nodes[blind].frozen = Frozen::Nodes;
    world.run(world.t + 15 * SECOND)?;
    world.ease(Trouble::Frozen(blind));
    world.run(world.t + 20 * SECOND)?;
    world.judge_settled()
}

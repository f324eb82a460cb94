//! A model of the ownership protocol, explored state by state with stateright:
//! every interleaving of what can happen to a few nodes and one VIP within a
//! bounded time and a bounded number of faults. The nodes are the daemon's own
//! state machines.
//!
//! `MODEL_FAULTS=n` allows n more faults on each path, of the kinds that a test
//! is about, `MODEL_TICKS=n` n more ticks for them to happen in (a tick is a tenth
//! of the lease duration). The defaults take a minute of two cores, and 1 GB.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod actions;
mod effects;
mod explored;
mod landmarks;
mod node;
mod scope;
mod shared;
mod store;
mod story;
mod world;

use stateright::{Model, Property};

use crate::{actions::Action, scope::Scope, world::World};

impl Model for Scope {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::settled(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(self, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(world.after(self, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        // That a VIP finds a holder is asked at the end of each path, after a calm in
        // which nothing is left to chance: so it is a property of a state, too.
        vec![Property::always("sound", |scope, world: &World| world.broken(scope).is_none())]
    }
}

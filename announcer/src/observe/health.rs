//! Whether the daemon's loops turn, and whether it is ready.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A loop with nothing to do turns as often as this all the same.
pub const TICK: Duration = Duration::from_secs(10);

/// A loop that has not turned for so long hangs: three ticks, on a machine that is slow.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// The daemon's loops, and what it has come to.
///
/// Time here is CLOCK_MONOTONIC: while a machine is suspended nothing is expected to turn.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// By [`Loop`]: milliseconds after the start when it turned last, and 0 before it ran.
    turned: [AtomicU64; Loop::ALL.len()],
    synced: AtomicBool,
}

/// A loop that has to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Decides who holds what, or prolongs static VIPs.
    Ownership,
    /// Writes the maps, and announces.
    Responder,
    /// Follows the interfaces.
    Uplinks,
}

impl Loop {
    const ALL: [Self; 3] = [Self::Ownership, Self::Responder, Self::Uplinks];

    const fn name(self) -> &'static str {
        match self {
            Self::Ownership => "ownership",
            Self::Responder => "responder",
            Self::Uplinks => "uplinks",
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        let turned = Default::default();
        Self(Arc::new(Shared { start: Instant::now(), turned, synced: AtomicBool::new(false) }))
    }
}

impl Health {
    /// The loop turns, now.
    pub fn turns(&self, which: Loop) {
        let Shared { start, turned, .. } = &*self.0;
        let after = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        turned[which as usize].store(after.max(1), Ordering::Relaxed);
    }

    /// Whether what decisions rest on has been read, and the session open if there is to be
    /// one.
    pub fn set_synced(&self, synced: bool) {
        self.0.synced.store(synced, Ordering::Relaxed);
    }

    /// See [`Self::set_synced`].
    pub fn is_synced(&self) -> bool {
        self.0.synced.load(Ordering::Relaxed)
    }

    /// Whether every loop that has begun still turns.
    ///
    /// # Errors
    /// Which one does not, and for how long.
    pub fn alive(&self) -> Result<(), String> {
        self.alive_at(self.0.start.elapsed())
    }

    fn alive_at(&self, now: Duration) -> Result<(), String> {
        for which in Loop::ALL {
            let turned = self.0.turned[which as usize].load(Ordering::Relaxed);
            let idle = now.saturating_sub(Duration::from_millis(turned));
            if turned != 0 && idle > HANGS_AFTER {
                let (name, seconds) = (which.name(), idle.as_secs());
                return Err(format!("the {name} loop has not turned for {seconds} s"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_begun_does_not_hang() {
        assert_eq!(Health::default().alive_at(Duration::from_secs(3600)), Ok(()));
    }

    #[test]
    fn a_loop_that_stops_is_named() {
        let health = Health::default();
        for which in Loop::ALL {
            health.turns(which);
        }
        assert_eq!(health.alive(), Ok(()));
        let responder = &health.0.turned[Loop::Responder as usize];
        let others = [Loop::Ownership, Loop::Uplinks];
        for which in others {
            health.0.turned[which as usize].store(99_000, Ordering::Relaxed);
        }
        responder.store(60_000, Ordering::Relaxed);
        assert_eq!(health.alive_at(Duration::from_secs(90)), Ok(()));
        let hangs = "the responder loop has not turned for 40 s".to_owned();
        assert_eq!(health.alive_at(Duration::from_secs(100)), Err(hangs));
    }
}

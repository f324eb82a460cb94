//! Control planes for tests, a few at a time: a start costs several seconds of CPU
//! time, so one that has served a test is cleared and serves the next.

use std::{
    num::NonZeroUsize,
    ops::{Deref, DerefMut},
    sync::Once,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use super::ControlPlane;
use crate::watched::Watched;

/// So many run side by side for each CPU.
const PER_CPU: usize = 3;
/// Others' tests have to end first.
const TURN: Duration = Duration::from_secs(30 * 60);

static POOL: Watched<Pool> = Watched::new(Pool { idle: Vec::new(), places: 0, tests: true });

#[derive(Debug)]
struct Pool {
    idle: Vec<ControlPlane>,
    /// How many are in use, or about to be.
    places: usize,
    /// Whether this program runs tests.
    tests: bool,
}

/// This program runs no tests: a control plane ends when it is dropped, whatever its state,
/// and nobody asks what was denied.
pub fn without_tests() {
    POOL.update(|pool| pool.tests = false);
}

/// A control plane of one's own, until this is dropped.
#[derive(Debug)]
pub struct Pooled {
    /// `None` only while it is dropped.
    plane: Option<ControlPlane>,
    /// Whether it was changed in ways that clearing does not undo.
    spent: bool,
    _place: Place,
}

/// A place in the pool; dropping it gives it back.
#[derive(Debug)]
struct Place;

impl Pooled {
    /// Takes one that is idle, or starts one; waits while too many are in use.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn take() -> Result<Self> {
        let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let idle = POOL.wait(TURN, |pool| {
            let idle = pool.idle.pop();
            let taken = idle.is_some() || pool.places < cpus * PER_CPU;
            taken.then(|| {
                pool.places += 1;
                idle
            })
        });
        let idle = idle.with_context(|| format!("no control plane was free within {TURN:?}"))?;
        let place = Place;
        let plane = match idle {
            Some(plane) => plane,
            None => ControlPlane::start().context("starting a control plane")?,
        };
        Ok(Self { plane: Some(plane), spent: false, _place: place })
    }
}

impl Deref for Pooled {
    type Target = ControlPlane;

    #[expect(clippy::expect_used, reason = "it is taken out by drop alone")]
    fn deref(&self) -> &ControlPlane {
        self.plane.as_ref().expect("not dropped yet")
    }
}

impl DerefMut for Pooled {
    /// Whoever changes the control plane itself has it to the end.
    #[expect(clippy::expect_used, reason = "it is taken out by drop alone")]
    fn deref_mut(&mut self) -> &mut ControlPlane {
        self.spent = true;
        self.plane.as_mut().expect("not dropped yet")
    }
}

impl Drop for Pooled {
    #[expect(clippy::panic, reason = "a test that ends with requests denied has failed")]
    #[expect(clippy::print_stderr, reason = "libtest shows it")]
    fn drop(&mut self) {
        let Some(mut plane) = self.plane.take() else { return };
        if thread::panicking() || !POOL.lock().tests {
            return;
        }
        let denied = plane.denied();
        if !self.spent {
            match plane.reset() {
                Ok(()) => {
                    end_idle_ones_at_exit();
                    POOL.update(|pool| pool.idle.push(plane));
                }
                Err(error) => eprintln!("no other test gets this control plane: {error:#}"),
            }
        }
        match denied {
            Ok(denied) if denied.is_empty() => {}
            Ok(denied) => panic!("the shipped RBAC rules denied announcers: {denied:#?}"),
            Err(error) => panic!("what the shipped RBAC rules deny is not known: {error:#}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        POOL.update(|pool| pool.places -= 1);
    }
}

/// Statics are not dropped: without this, those that are idle at the end would leave
/// their directories behind.
fn end_idle_ones_at_exit() {
    extern "C" fn end() {
        drop(std::mem::take(&mut POOL.lock().idle));
    }
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the function takes nothing and lives as long as the program. When there
        // is no room for it, directories are left behind.
        unsafe { libc::atexit(end) };
    });
}

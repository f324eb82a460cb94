//! Which seeds are run, and how a failure is told.
//!
//! `SIMULATION_SEEDS=n` is how many seeds each scenario runs; `SIMULATION_SEED=s`
//! runs that one alone, and tells its whole story if it fails.

use std::{
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::{clock::MS, invariants::Broken};

/// Without SIMULATION_SEEDS.
const SEEDS: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|s| s.parse().expect("a number"))
}

/// The one seed that is to be told in full.
pub(crate) fn single() -> Option<u64> {
    static SINGLE: OnceLock<Option<u64>> = OnceLock::new();
    *SINGLE.get_or_init(|| number("SIMULATION_SEED"))
}

/// One line of a story.
#[expect(clippy::print_stdout, reason = "shown if the test fails")]
pub(crate) fn tell(t: u64, line: &str) {
    println!("{:>7} ms  {line}", t / MS);
}

/// Runs a scenario with all seeds, on all CPUs; only with each `share`th, if it
/// takes long. Panics with the lowest seed that was seen to fail.
pub(crate) fn explore(share: u64, scenario: impl Fn(u64) -> Result<(), Broken> + Sync) {
    if let Some(seed) = single() {
        if let Err(broken) = scenario(seed) {
            panic!("seed {seed}: {broken}");
        }
        return;
    }
    let count = number("SIMULATION_SEEDS").unwrap_or(SEEDS).div_ceil(share);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let worst: Mutex<Option<(u64, Broken)>> = Mutex::new(None);
    let run = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                break;
            }
            if let Err(broken) = scenario(seed) {
                failed.store(true, Ordering::Relaxed);
                let mut worst = worst.lock().expect("no thread panics");
                if worst.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                    *worst = Some((seed, broken));
                }
            }
        }
    };
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cpus).for_each(|_| drop(scope.spawn(run))));
    if let Some((seed, broken)) = worst.into_inner().expect("no thread panics") {
        panic!("seed {seed}: {broken}\n`cargo xtask simulate --seed {seed}` tells what led to it");
    }
}

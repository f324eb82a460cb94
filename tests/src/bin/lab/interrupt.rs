//! Ctrl-C: what a lab leaves outside its own process is removed, whenever it comes.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use announcer_tests::{cluster::Cluster, watched::Watched};
use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// 128 and SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Default)]
struct State {
    /// To be removed before leaving in the middle.
    leftovers: Vec<PathBuf>,
    /// Somebody waits, and tidies up by itself.
    awaited: bool,
    interrupted: bool,
}

/// Catches SIGINT and SIGTERM.
#[derive(Debug)]
pub(crate) struct Interrupts(Arc<Watched<State>>);

impl Interrupts {
    /// From now on, on a thread of its own.
    pub(crate) fn catch() -> Result<Self> {
        let state = Arc::new(Watched::<State>::default());
        let (ready, caught) = mpsc::channel();
        let theirs = Arc::clone(&state);
        let listen = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let listening = runtime.context("catching Ctrl-C").and_then(|runtime| {
                let _entered = runtime.enter();
                let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
                Ok((signals, runtime))
            });
            match listening {
                Err(error) => drop(ready.send(Err(error))),
                Ok(((mut interrupt, mut terminate), runtime)) => {
                    // The receiver waits for this, so it is there.
                    let _ = ready.send(Ok(()));
                    runtime.block_on(async {
                        loop {
                            tokio::select! {
                                _ = interrupt.recv() => {}
                                _ = terminate.recv() => {}
                            }
                            arrived(&theirs);
                        }
                    });
                }
            }
        };
        thread::Builder::new().name("lab-interrupts".into()).spawn(listen)?;
        caught.recv().context("the thread that catches Ctrl-C ended")??;
        Ok(Self(state))
    }

    /// What `cluster` would leave behind if this process ended at once.
    pub(crate) fn remove_if_killed(&self, cluster: &Cluster) {
        let pins = cluster.lab().nodes().iter().map(|node| node.ns.pins());
        let leftovers = pins.chain(cluster.directories()).collect();
        self.0.update(|state| state.leftovers = leftovers);
    }

    /// Waits for Ctrl-C; the caller tidies up.
    pub(crate) fn wait(&self) {
        self.0.update(|state| state.awaited = true);
        let hour = Duration::from_secs(3600);
        while self.0.wait(hour, |state| state.interrupted.then_some(())).is_none() {}
    }
}

fn arrived(state: &Watched<State>) {
    let leave = state.update(|state| {
        let again = std::mem::replace(&mut state.interrupted, true);
        // A second one does not wait for the tidying up.
        again || !state.awaited
    });
    if leave {
        for path in &state.lock().leftovers {
            // Gone already, or not there yet: either way nothing is left.
            let _ = fs::remove_dir_all(path);
        }
        // The announcers are killed with this process, and the namespaces vanish with them.
        std::process::exit(INTERRUPTED);
    }
}

//! Starts child processes from one thread that lives as long as this process.
//!
//! Children ask the kernel for SIGKILL when their parent dies (PR_SET_PDEATHSIG),
//! and the kernel takes "parent" to be the *thread* that forked: a test's own
//! thread ends too early, or a scoped one at once.

use std::{
    io,
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

struct Job {
    command: Command,
    started: SyncSender<io::Result<Child>>,
}

/// Forks and executes `command` on the long-lived thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        // Never joined: it has to outlive every child, so it ends with the process. When
        // it cannot be started the queue is dropped, and spawning fails below.
        let _ = thread::Builder::new().name("lab-spawner".into()).spawn(move || {
            for mut job in queue {
                // The asker waits for this answer, so it is there to receive it.
                let _ = job.started.send(job.command.spawn());
            }
        });
        jobs
    });
    let (started, answer) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts child processes is gone");
    spawner.send(Job { command, started }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

//! Work that computes, run beside tests that wait: it has the processors only while
//! nothing else wants them (SCHED_IDLE), so that it delays nobody's timers.

use std::{
    env,
    process::{Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};

use crate::process;

/// A child whose output is shown when it has ended.
pub(crate) struct Aside {
    what: String,
    output: JoinHandle<std::io::Result<Output>>,
}

impl Aside {
    /// `cargo xtask <command>`.
    pub(crate) fn xtask(command: &str) -> Result<Self> {
        let own = env::current_exe().context("looking for xtask itself")?;
        let mut child = Command::new(own);
        child.arg(command);
        Self::start(&format!("cargo xtask {command}"), child)
    }

    /// Any command.
    pub(crate) fn start(what: &str, command: Command) -> Result<Self> {
        let mut child = idle(&command);
        let thread = thread::Builder::new().name(what.to_owned());
        let output = thread.spawn(move || child.output()).context("starting a thread")?;
        Ok(Self { what: what.to_owned(), output })
    }

    /// Waits for its end, and shows what it said; an error unless it succeeded.
    pub(crate) fn finish(self) -> Result<()> {
        let output = self.output.join().map_err(|_| anyhow!("{} was not run", self.what))?;
        let output = output.with_context(|| format!("running {}", self.what))?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        Ok(process::check(&self.what, output.status)?)
    }
}

/// The same command, for times when no other wants to run.
fn idle(command: &Command) -> Command {
    // chrt is of util-linux, which no distribution is without.
    let mut idle = Command::new("chrt");
    idle.args(["--idle", "0"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => idle.env(name, value),
            None => idle.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        idle.current_dir(directory);
    }
    idle.stdin(Stdio::null());
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ChildFailed;

    #[test]
    fn its_failure_is_ours() {
        for (script, code) in [("exit 0", None), ("exit 3", Some(3))] {
            let mut sh = Command::new("sh");
            sh.args(["-c", script]);
            let finished = Aside::start("sh", sh).expect("a child").finish();
            let failed = finished.err().and_then(|error| error.downcast::<ChildFailed>().ok());
            assert_eq!(failed.map(|child| child.code), code, "{script}");
        }
    }
}

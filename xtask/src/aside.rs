//! Work that computes, run beside tests that wait: it has the processors only while
//! nothing else wants them (SCHED_IDLE), so that it delays nobody's timers.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{ChildStdin, Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};

use crate::process;

/// What the child is started by: the leader of a process group of its own, which ends with
/// everything in it (SIGKILL) when its standard input does, and so when we do, whatever
/// ends us.
const TETHERED: &str = "exec 3<&0 </dev/null; { read -r _ <&3; kill -KILL 0; } & \
     \"$@\" 3<&-; status=$?; kill $!; exit $status";

/// A child whose output is shown when it has ended; dropping it kills it and all that it
/// has started.
pub(crate) struct Aside {
    what: String,
    tether: Option<ChildStdin>,
    /// `None` when the child has ended.
    output: Option<JoinHandle<std::io::Result<Output>>>,
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
        let mut child = idle(&command).spawn().with_context(|| format!("starting {what}"))?;
        let tether = child.stdin.take();
        let thread = thread::Builder::new().name(what.to_owned());
        let output = thread.spawn(move || child.wait_with_output()).context("starting a thread")?;
        Ok(Self { what: what.to_owned(), tether, output: Some(output) })
    }

    /// Waits for its end, shows what it said, and returns what of it went to standard
    /// output; an error unless it succeeded.
    pub(crate) fn finish(mut self) -> Result<String> {
        let output = self.output.take().and_then(|output| output.join().ok());
        let output = output.ok_or_else(|| anyhow!("{} was not waited for", self.what))?;
        let output = output.with_context(|| format!("running {}", self.what))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{said}");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        process::check(&self.what, output.status)?;
        Ok(said)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(self.tether.take());
        if let Some(output) = self.output.take() {
            let _ = output.join();
        }
    }
}

/// The same command, for times when no other wants to run.
fn idle(command: &Command) -> Command {
    // chrt is of util-linux, which no distribution is without.
    let mut idle = Command::new("sh");
    idle.args(["-c", TETHERED, "sh", "chrt", "--idle", "0"]);
    idle.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => idle.env(name, value),
            None => idle.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        idle.current_dir(directory);
    }
    idle.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    idle
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::{BufRead, BufReader, Read},
    };

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

    #[test]
    fn nothing_of_it_outlives_it() {
        let fifo = env::temp_dir().join(format!("xtask-aside-{}", std::process::id()));
        process::run("mkfifo", Command::new("mkfifo").arg(&fifo)).expect("a fifo");
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(format!("exec 4>{}; echo up >&4; sleep 600 & wait", fifo.display()));
        let aside = Aside::start("sh", sh).expect("a child");
        let mut all = BufReader::new(File::open(&fifo).expect("the fifo"));
        fs::remove_file(&fifo).expect("the fifo");
        let mut said = String::new();
        all.read_line(&mut said).expect("a line");
        drop(aside);
        // The fifo ends with the last process that has it open.
        all.read_to_string(&mut said).expect("the end");
        assert_eq!(said, "up\n");
    }
}

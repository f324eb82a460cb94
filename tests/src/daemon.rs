//! The announcer as a process in a node's namespace.

use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{confine::confine, netns::NetNs, poll, watched::Watched};

/// Names the announcer's binary, when it is not beside this program.
pub const BINARY: &str = "ANNOUNCER_BIN";

/// The announcer's command line, put together.
#[derive(Debug)]
pub struct DaemonBuilder {
    command: Command,
    name: String,
    is_confined: bool,
}

/// A running announcer; dropping it kills it, and prints its log when a test is
/// failing.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    name: String,
    log: Arc<Watched<Log>>,
    readers: Vec<JoinHandle<()>>,
    /// Readable when the process has ended (pidfd_open(2), Linux 5.3).
    ended: OwnedFd,
    status: Option<ExitStatus>,
    _ns: NetNs,
}

/// Sees each line of a daemon's output; whether the line was for it alone.
pub type Tap = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What the daemon wrote.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<LogLine>,
    /// Outputs that are still open: without any, no line will follow.
    open: usize,
}

/// A line that the daemon wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read.
    pub at: Instant,
    /// Without its line end.
    pub text: String,
}

/// What can be sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Cont,
}

/// The announcer's binary: `ANNOUNCER_BIN`, else the one beside this program or in
/// the directory above (tests run in `target/<profile>/deps`).
///
/// # Errors
/// There is none; the error says how to build it.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("{BINARY} is {}, which is no file", path.display());
        }
        return Ok(path);
    }
    let own = env::current_exe().context("looking for the announcer beside this program")?;
    let places = own.ancestors().skip(1).take(2).map(|dir| dir.join("announcer"));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "there is no announcer beside {}: run `cargo build -p announcer` with the same \
             profile, or set {BINARY}",
            own.display()
        )
    })
}

impl DaemonBuilder {
    /// `announcer <subcommand>`, without the environment twins of its flags that this
    /// process may have, and without probing before first claims: tests, lab and benches
    /// are about what comes after. The flag `--probe-interval` goes before.
    ///
    /// # Errors
    /// As [`binary`].
    pub fn new(subcommand: &str) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.arg(subcommand);
        for (key, _) in env::vars_os() {
            if key.to_string_lossy().starts_with("ANNOUNCER_") {
                command.env_remove(key);
            }
        }
        command.env("ANNOUNCER_PROBE_INTERVAL", "0");
        Ok(Self { command, name: "announcer".into(), is_confined: true })
    }

    /// `announcer run --interface <interface>`.
    ///
    /// # Errors
    /// As [`binary`].
    pub fn run(interface: &str) -> Result<Self> {
        Ok(Self::new("run")?.args(["--interface", interface]))
    }

    /// With these arguments appended.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// With this argument appended.
    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// With this environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// What messages call it.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// With all capabilities of this process, as root's shell would start it.
    #[must_use]
    pub fn with_all_capabilities(mut self) -> Self {
        self.is_confined = false;
        self
    }

    /// Starts it inside `ns`, with the four capabilities that it is shipped with and
    /// nothing else, unless [`Self::with_all_capabilities`]: every test is a test of these too.
    ///
    /// # Errors
    /// The program cannot be executed.
    pub fn start(mut self, ns: &NetNs) -> Result<Daemon> {
        if self.is_confined {
            confine(&mut self.command);
        }
        Daemon::start(self.command, self.name, ns)
    }
}

impl Daemon {
    /// Starts any command as a daemon inside `ns`; its two outputs become its log.
    ///
    /// # Errors
    /// The program cannot be executed.
    pub fn start(command: Command, name: impl Into<String>, ns: &NetNs) -> Result<Self> {
        Self::start_tapped(command, name, ns, Arc::new(|_| false))
    }

    /// The same; a line for which `tap` is true is not kept in the log.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_tapped(
        mut command: Command,
        name: impl Into<String>,
        ns: &NetNs,
        tap: Tap,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ns.spawn(command)?;
        let ended = pidfd(child.id())?;
        let outputs = [child.stdout.take().map(boxed), child.stderr.take().map(boxed)];
        let log = Arc::new(Watched::new(Log { lines: Vec::new(), open: outputs.len() }));
        let readers = outputs
            .into_iter()
            .flatten()
            .map(|output| {
                let (log, tap) = (Arc::clone(&log), Arc::clone(&tap));
                let reading = move || read(output, &log, &tap);
                thread::Builder::new().name("daemon-log".into()).spawn(reading)
            })
            .collect::<io::Result<_>>()?;
        let name = name.into();
        Ok(Self { child, name, log, readers, ended, status: None, _ns: ns.clone() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().lines.clone()
    }

    /// Waits for a line that contains `part`, among those already written too.
    ///
    /// # Errors
    /// There was none within `within`, or before the daemon ended; the error carries the
    /// log.
    pub fn wait_for_log(&self, part: &str, within: Duration) -> Result<LogLine> {
        self.wait_for_line(within, |line| line.text.contains(part))
            .with_context(|| format!("waiting for {part:?}"))
    }

    /// Waits for a line that `wanted` accepts, among those already written too.
    ///
    /// # Errors
    /// As [`Self::wait_for_log`].
    pub fn wait_for_line(
        &self,
        within: Duration,
        wanted: impl Fn(&LogLine) -> bool,
    ) -> Result<LogLine> {
        let found = self.log.wait(within, |log| {
            let line = log.lines.iter().find(|line| wanted(line)).cloned();
            (line.is_some() || log.open == 0).then_some(line)
        });
        match found {
            Some(Some(line)) => Ok(line),
            Some(None) => bail!("{} ended without it\n{}", self.name, self.print()),
            None => bail!("{} did not log it within {within:?}\n{}", self.name, self.print()),
        }
    }

    /// Sends a signal. On return from [`Signal::Stop`] no thread of the process runs.
    ///
    /// # Errors
    /// The process has ended and [`Self::wait_exit`] has said so.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.status {
            bail!("{} has ended: {status}", self.name);
        }
        let number = match signal {
            Signal::Term => libc::SIGTERM,
            Signal::Int => libc::SIGINT,
            Signal::Kill => libc::SIGKILL,
            Signal::Stop => libc::SIGSTOP,
            Signal::Cont => libc::SIGCONT,
        };
        // SAFETY: no pointers. The child is not reaped yet, so the id is still its own.
        if unsafe { libc::kill(self.child.id().cast_signed(), number) } != 0 {
            let error = io::Error::last_os_error();
            return Err(error).with_context(|| format!("sending {signal:?} to {}", self.name));
        }
        if signal == Signal::Stop {
            self.wait_stopped()?;
        }
        Ok(())
    }

    fn wait_stopped(&self) -> Result<()> {
        // WNOWAIT leaves an exit status to be collected by `wait_exit`.
        let changes = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
        // SAFETY: all zeros is a valid siginfo_t, which waitid fills.
        let waited = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, self.child.id(), &mut info, changes)
        };
        if waited != 0 {
            let error = io::Error::last_os_error();
            return Err(error).with_context(|| format!("waiting for {} to stop", self.name));
        }
        Ok(())
    }

    /// Waits until the process has ended and its whole log is here.
    ///
    /// # Errors
    /// It still ran when `within` was over; the error carries its log.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        if !poll::wait_readable(&self.ended, within)? {
            bail!("{} still runs after {within:?}\n{}", self.name, self.print());
        }
        let status = self.child.wait()?;
        self.status = Some(status);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ok(status)
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    /// It has ended before; the error says how.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::Kill)?;
        let status = self.wait_exit(Duration::from_secs(10))?;
        if status.signal() != Some(libc::SIGKILL) {
            bail!("{} had ended before it was killed: {status}\n{}", self.name, self.print());
        }
        Ok(())
    }

    /// The log as text, with seconds since its first line.
    pub fn print(&self) -> String {
        let lines = &self.log.lock().lines;
        let first = lines.first().map(|line| line.at);
        let line = |line: &LogLine| {
            let since = first.map(|first| line.at.saturating_duration_since(first));
            format!("{} {:9.3} {}\n", self.name, since.unwrap_or_default().as_secs_f64(), line.text)
        };
        lines.iter().map(line).collect()
    }
}

impl Drop for Daemon {
    #[expect(clippy::print_stderr, reason = "libtest shows it with the failure")]
    fn drop(&mut self) {
        if self.status.is_none() {
            // Fails only when it has ended already.
            let _ = self.child.kill();
            let _ = self.wait_exit(Duration::from_secs(10));
        }
        if thread::panicking() {
            eprintln!("--- log of {} (pid {})\n{}", self.name, self.pid(), self.print());
        }
    }
}

fn boxed(output: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(output)
}

fn read(output: Box<dyn Read + Send>, log: &Watched<Log>, tap: &Tap) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { break };
        let text = String::from_utf8_lossy(&line).into_owned();
        if tap(&text) {
            continue;
        }
        log.update(|log| log.lines.push(LogLine { at: Instant::now(), text }));
    }
    log.update(|log| log.open -= 1);
}

fn pidfd(pid: u32) -> Result<OwnedFd> {
    // SAFETY: no pointers. The child is not reaped yet, so the id is still its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: a descriptor that the kernel has just made for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()).context("pidfd_open"),
    }
}

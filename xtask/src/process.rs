//! Child processes: a clean environment, exit codes that are passed on, root.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result, bail};

/// A child ran and failed; its exit code becomes ours.
#[derive(Debug)]
pub(crate) struct ChildFailed {
    what: String,
    status: ExitStatus,
    /// The child's exit code, or 128 + signal as shells have it.
    pub(crate) code: u8,
}

impl fmt::Display for ChildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({})", self.what, self.status)
    }
}

impl std::error::Error for ChildFailed {}

/// An error unless the child succeeded.
pub(crate) fn check(what: &str, status: ExitStatus) -> Result<(), ChildFailed> {
    if status.success() {
        return Ok(());
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(ChildFailed { what: what.to_owned(), status, code })
}

/// Runs a child to its end, its output on ours.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| starting(command))?;
    Ok(check(what, status)?)
}

/// Runs a child to its end and takes its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| starting(command))?;
    let what = command.get_program().to_string_lossy();
    check(&what, output.status)
        .with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes the child: it has the terminal, the signals and the exit code.
/// Returns only the error of a child that could not be started.
pub(crate) fn exec(command: &mut Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::new(error).context(starting(command))
}

fn starting(command: &Command) -> String {
    format!("starting {}", command.get_program().to_string_lossy())
}

/// `rustup`, without what the cargo that runs us has put into the environment.
pub(crate) fn rustup() -> Command {
    let mut command = Command::new("rustup");
    for (name, _) in std::env::vars_os() {
        if is_set_by_cargo(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// Variables with which cargo and rustup's proxy tell us about *xtask* and *its*
/// toolchain. The nested cargo must not take them for its own; some build
/// scripts (ring's) are also run again whenever one of them changes.
fn is_set_by_cargo(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_TOOLCHAIN_SOURCE",
        "RUST_RECURSION_COUNT",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
    ];
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// How to be root for one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// We are root.
    Already,
    /// sudo is there to ask.
    Sudo,
}

impl Root {
    /// An error, with the command that mends it, when neither is possible.
    /// `what` needs root; `instead` is the command to run as root.
    pub(crate) fn find(what: &str, instead: &str) -> Result<Self> {
        if is_root() {
            Ok(Self::Already)
        } else if find_in_path("sudo").is_some() {
            Ok(Self::Sudo)
        } else {
            bail!("{what} needs root, and there is no sudo: run `{instead}` as root")
        }
    }

    /// `program`, run as root with our environment.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Already => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(SUDO_ARGS).arg(program);
                command
            }
        }
    }
}

/// Keeps the environment, which carries ANNOUNCER_* settings.
pub(crate) const SUDO_ARGS: [&str; 2] = ["--preserve-env", "--"];

fn is_root() -> bool {
    // /proc/self belongs to the effective user: no libc for one number.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|proc| proc.uid() == 0)
}

/// The path of a program that the shell would find, or that only root's PATH has.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root_only = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(root_only)
        .map(|directory| directory.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_and_signals_are_passed_on() {
        let sh = |script: &str| run("sh", Command::new("sh").args(["-c", script]));
        assert!(sh("exit 0").is_ok());
        for (script, code) in [("exit 7", 7), ("exit 101", 101), ("kill -TERM $$", 143)] {
            let error = sh(script).expect_err("a failure");
            let child: &ChildFailed = error.downcast_ref().expect("a child's failure");
            assert_eq!(child.code, code, "{script}");
        }
    }

    #[test]
    fn a_failure_inside_a_context_is_still_found() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"]));
        let error = error.expect_err("a failure");
        assert_eq!(error.downcast_ref::<ChildFailed>().map(|child| child.code), Some(3));
        assert_eq!(format!("{error:#}"), "why: sh failed (exit status: 3)");
    }

    #[test]
    fn only_what_cargo_set_is_removed() {
        for name in ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_PKG_VERSION", "CARGO_MANIFEST_DIR"] {
            assert!(is_set_by_cargo(name.as_ref()), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "RUSTUP_HOME", "RUSTFLAGS", "PATH"] {
            assert!(!is_set_by_cargo(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn programs_are_found_as_the_shell_finds_them() {
        assert!(find_in_path("sh").is_some());
        assert_eq!(find_in_path("no-such-program-here"), None);
    }
}

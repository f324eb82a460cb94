//! `cargo xtask test`: every test of the workspace, as root, and a summary.

mod beside;

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, IsTerminal},
    num::NonZeroUsize,
    ops::AddAssign,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use self::beside::Beside;
use crate::{
    controlplane::{CONTROLPLANE_BIN, ControlPlane},
    image,
    launch::ANNOUNCER_BIN,
    process::{self, Root, SUDO_ARGS},
    workspace::Workspace,
};

/// Which tests to run, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    filter: Option<OsString>,
    libtest: Vec<OsString>,
}

impl Selection {
    /// `[FILTER] [-- ARGS]`
    pub(crate) fn parse(args: &[OsString]) -> Result<Self> {
        let split = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        let (filter, libtest) = args.split_at(split);
        let filter = match filter {
            [] => None,
            [filter] if !filter.to_string_lossy().starts_with('-') => Some(filter.clone()),
            [option] => bail!("{option:?}: arguments for libtest come after --"),
            [_, extra, ..] => bail!("unexpected argument {extra:?}: one filter, then -- and more"),
        };
        Ok(Self { filter, libtest: libtest.get(1..).unwrap_or_default().to_vec() })
    }

    /// Whether the filter is about the image that is shipped.
    fn wants_image(&self) -> bool {
        let filter = self.filter.as_ref().map(|filter| filter.to_string_lossy());
        filter.is_some_and(|filter| filter.starts_with("shipped"))
    }

    /// How many tests at a time, unless somebody says otherwise.
    fn threads(&self) -> Option<String> {
        let said = |arg: &OsString| arg.to_string_lossy().starts_with("--test-threads");
        if env::var_os("RUST_TEST_THREADS").is_some() || self.libtest.iter().any(said) {
            return None;
        }
        let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Some(format!("--test-threads={}", cpus * PER_CPU))
    }
}

/// Tells the tests where a second arping may be.
const OTHER_ARPING: &str = "OTHER_ARPING";

/// A network test keeps a CPU busy for a tenth of its time; three of them at once on
/// each hardly delay one another's timers.
const PER_CPU: usize = 3;

/// They find the archive in this variable.
const ANNOUNCER_IMAGE: &str = "ANNOUNCER_IMAGE";
/// Tests find promtool in this variable, where the PATH has none.
const PROMTOOL: &str = "PROMTOOL";

/// Builds everything and runs the selected tests; an error when one fails, or
/// when a filter selects none. When all are run, the model is explored, the mutations are
/// made and the image is built beside tests that wait.
///
/// Tests of one file run [`PER_CPU`] at a time on each CPU (RUST_TEST_THREADS and
/// `-- --test-threads` change it), files one after the other: network tests have
/// namespaces of their own, and wait rather than compute.
pub(crate) fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let root = Root::find("testing (network namespaces, BPF)", "cargo xtask test")?;
    let control_plane = ControlPlane::prepare(workspace)?;
    // The binaries too, with the dependencies' features that tests want: building them
    // by themselves first would compile most dependencies twice.
    let mut build = workspace.cargo(["test", "--workspace", "--no-run"]);
    process::run("building", &mut build)?;
    let control_plane = control_plane.finish()?;
    if selection.wants_image() {
        image::build(workspace, &image::Options::default())?;
    }
    let everything = selection.filter.is_none() && selection.libtest.is_empty();
    let started = Instant::now();
    let beside = everything.then(|| Beside::start(workspace)).transpose()?;

    let command = |only: &[&str]| {
        let mut test = workspace.cargo(["test", "--workspace", "--no-fail-fast"]);
        test.args(only);
        if root == Root::Sudo {
            // The build stays ours, the tests are run as root.
            let sudo: Vec<String> =
                ["sudo"].iter().chain(&SUDO_ARGS).map(|arg| format!("{arg:?}")).collect();
            test.arg("--config").arg(format!("target.'cfg(unix)'.runner=[{}]", sudo.join(",")));
        }
        test.args(&selection.filter).arg("--").args(&selection.libtest);
        test.args(selection.threads());
        if std::io::stdout().is_terminal() {
            // libtest sees our pipe, not the terminal behind it.
            test.arg("--color=always");
        }
        test.env(ANNOUNCER_BIN, workspace.binary("announcer"));
        test.env(CONTROLPLANE_BIN, &control_plane).env(PROMTOOL, workspace.promtool());
        test.env(OTHER_ARPING, workspace.other_arping());
        test.env(ANNOUNCER_IMAGE, workspace.image().join(image::ARCHIVE));
        test
    };
    let mut test = command(&[]);
    if everything {
        test.args(["--skip", beside::COMPUTING_TESTS]);
    }
    if !selection.wants_image() {
        test.args(["--skip", beside::IMAGE_TESTS]);
    }
    let (result, mut counts) = tally(&mut test)?;
    // All are waited for, and told of: one run shows all there is to mend.
    let others = beside.map_or(Ok(()), |beside| beside.finish(command, &mut counts));
    println!("\nxtask test: {counts}, in {} s", started.elapsed().as_secs());
    result?;
    others?;
    if let (Some(filter), 0) = (&selection.filter, counts.ran()) {
        bail!("no test's path contains {}", filter.to_string_lossy());
    }
    Ok(())
}

/// Runs `test`, shows its output and counts the results in it.
fn tally(test: &mut Command) -> Result<(Result<(), process::ChildFailed>, Counts)> {
    let mut child = test.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let stdout = child.stdout.take().context("the pipe of cargo test")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading from cargo test")?;
        let line = String::from_utf8_lossy(&line);
        counts.add(&line);
        println!("{line}");
    }
    let status = child.wait().context("waiting for cargo test")?;
    Ok((process::check("cargo test", status), counts))
}

/// Sums over libtest's result lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        // "ok. 3 passed; 0 failed; 1 ignored; …", "ok" perhaps in colour.
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (count, what) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next());
            match (count, what) {
                (Some(n), Some("passed")) => self.passed += n,
                (Some(n), Some("failed")) => self.failed += n,
                (Some(n), Some("ignored")) => self.ignored += n,
                _ => {}
            }
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.ignored += more.ignored;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Selection> {
        Selection::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_filter_and_libtest_arguments_are_told_apart() {
        let selected = |filter: Option<&str>, libtest: &[&str]| Selection {
            filter: filter.map(Into::into),
            libtest: libtest.iter().map(OsString::from).collect(),
        };
        for (args, expected) in [
            (&[][..], selected(None, &[])),
            (&["arp"], selected(Some("arp"), &[])),
            (&["--", "--nocapture"], selected(None, &["--nocapture"])),
            (&["arp", "--", "--exact", "--"], selected(Some("arp"), &["--exact", "--"])),
        ] {
            assert_eq!(parse(args).expect("a selection"), expected, "{args:?}");
        }
        for bad in [&["a", "b"][..], &["--nocapture"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn results_are_summed_whatever_their_colour() {
        let mut counts = Counts::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.31s",
            "test result: \x1b[31mFAILED\x1b[m. 2 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 2.50s",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 5, failed: 1, ignored: 1 });
    }

    #[test]
    fn a_failing_child_is_a_failure_with_its_counts() {
        let script = "echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'; exit 101";
        let (result, counts) = tally(Command::new("sh").args(["-c", script])).expect("a run");
        assert_eq!(result.expect_err("a failure").code, 101);
        assert_eq!(counts.failed, 1);
    }
}

//! `cargo xtask fuzz`: the targets of `fuzz/`, each for some time.

use std::{ffi::OsString, fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    process::{self, ChildFailed},
    workspace::Workspace,
};

/// The binaries of `fuzz/Cargo.toml`.
const TARGETS: [&str; 2] = ["verdict", "announce_frames"];

/// Enough for every seed and every input that is worth trying: frames up to jumbo ones.
const MAX_INPUT: usize = 9100;

/// What libFuzzer and AddressSanitizer may have, in MiB; more is a failure.
const MEMORY: u32 = 1024;

/// Which targets to run, and for how long each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    seconds: u32,
    target: Option<&'static str>,
}

impl Selection {
    /// `--seconds N [--target T]`
    pub(crate) fn parse(args: &[OsString]) -> Result<Self> {
        let (mut seconds, mut target) = (None, None);
        let mut args = args.iter().map(|arg| arg.to_string_lossy());
        while let Some(arg) = args.next() {
            let value = args.next().with_context(|| format!("{arg} wants a value"))?;
            match &*arg {
                "--seconds" => {
                    let number: Option<u32> = value.parse().ok().filter(|seconds| *seconds > 0);
                    let complaint = || format!("--seconds wants a number, not {value:?}");
                    seconds = Some(number.with_context(complaint)?);
                }
                "--target" => {
                    let named = TARGETS.into_iter().find(|target| *target == value);
                    let complaint =
                        || format!("there is no target {value:?}; choose {}", TARGETS.join(" or "));
                    target = Some(named.with_context(complaint)?);
                }
                other => bail!("there is no option {other}: --seconds N [--target T]"),
            }
        }
        let seconds = seconds.context("for how long? --seconds N")?;
        Ok(Self { seconds, target })
    }
}

/// Tests the corpus, then runs the targets; an error when an input breaks a rule, which
/// tells where that input is.
///
/// What is found to be worth keeping is kept below the target directory, and is where the
/// next run goes on; `fuzz/corpus` is only read.
pub(crate) fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let mut corpus = crate_command(workspace, &["test"]);
    process::run("the test of the corpus", &mut corpus)?;
    let chosen = TARGETS.into_iter().filter(|t| selection.target.is_none_or(|only| only == *t));
    for target in chosen {
        let grown = workspace.fuzz().join("corpus").join(target);
        fs::create_dir_all(&grown).with_context(|| format!("making {}", grown.display()))?;
        let mut fuzz = workspace.nightly_cargo();
        fuzz.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--target-dir"]).arg(workspace.fuzz());
        fuzz.arg(target).arg(grown).arg(format!("fuzz/corpus/{target}")).arg("--").args([
            format!("-max_total_time={}", selection.seconds),
            format!("-rss_limit_mb={MEMORY}"),
            format!("-max_len={MAX_INPUT}"),
            "-timeout=10".to_owned(),
            "-print_final_stats=1".to_owned(),
        ]);
        println!("fuzz: {target}, {} s", selection.seconds);
        let result = process::run(&format!("fuzzing {target}"), &mut fuzz);
        if result.as_ref().is_err_and(|error| error.is::<ChildFailed>()) {
            eprintln!(
                "fuzz: an input that breaks a rule is in fuzz/artifacts/{target} (unless nothing \
                 could be built); again: rustup run {} cargo fuzz run {target} FILE",
                workspace.pins.bpf
            );
        }
        result?;
    }
    Ok(())
}

/// `cargo` of the pinned host toolchain for the crate of the targets, which builds beside
/// the workspace.
pub(crate) fn crate_command(workspace: &Workspace, args: &[&str]) -> Command {
    let mut command = workspace.cargo([]);
    command.args(args).arg("--manifest-path=fuzz/Cargo.toml");
    if args.first() != Some(&"fmt") {
        command.arg("--locked").arg("--target-dir").arg(workspace.fuzz());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Selection> {
        Selection::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_time_and_a_target_are_told_apart() {
        let all = parse(&["--seconds", "60"]).expect("a selection");
        assert_eq!(all, Selection { seconds: 60, target: None });
        let one = parse(&["--target", "verdict", "--seconds", "5"]).expect("a selection");
        assert_eq!(one, Selection { seconds: 5, target: Some("verdict") });
        for bad in [
            &[][..],
            &["--seconds"],
            &["--seconds", "0"],
            &["--seconds", "soon"],
            &["--seconds", "5", "--target", "verdicts"],
            &["--minutes", "5"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_target_of_the_crate_is_run() {
        let manifest = Workspace::load().expect("a workspace").root.join("fuzz/Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("a manifest");
        let names = manifest.split("[[bin]]").skip(1);
        let names: Vec<_> = names.filter_map(|bin| bin.split('"').nth(1)).collect();
        assert_eq!(names, TARGETS);
    }
}

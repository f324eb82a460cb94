//! `cargo xtask lint`: every check that needs no test run, warnings denied.

use std::{ffi::OsStr, process::Command};

use anyhow::{Result, bail};

use crate::{
    fuzz, invariants,
    process::{self, ChildFailed},
    workspace::Workspace,
};

/// Runs all checks, so that one run shows all there is to mend.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let checks: [(&str, Check); 7] = [
        ("architecture", |workspace| invariants::check(&workspace.root)),
        ("formatting", |workspace| cargo(workspace.cargo(["fmt", "--all", "--check"]))),
        ("formatting, fuzz targets", |workspace| {
            cargo(fuzz::crate_command(workspace, &["fmt", "--check"]))
        }),
        ("clippy, host", |workspace| {
            let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny=warnings"];
            cargo(workspace.cargo(clippy))
        }),
        ("clippy, fuzz targets", |workspace| {
            let mut clippy = fuzz::crate_command(workspace, &["clippy", "--all-targets"]);
            clippy.args(["--", "--deny=warnings"]);
            cargo(clippy)
        }),
        ("clippy, BPF", |workspace| cargo(clippy_bpf(workspace))),
        ("documentation", |workspace| {
            let mut doc = workspace.cargo(["doc", "--workspace", "--no-deps", "--lib"]);
            doc.env("RUSTDOCFLAGS", "--deny=warnings");
            cargo(doc)
        }),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        println!("lint: {name}");
        if let Err(error) = check(workspace) {
            // What a child had to say, it has said itself.
            if !error.is::<ChildFailed>() {
                eprintln!("{error:#}");
            }
            failed.push((name, error));
        }
    }
    if failed.is_empty() {
        println!("lint: nothing to mend");
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    println!("lint: to mend: {}", names.join("; "));
    match failed.swap_remove(0) {
        (_, error) if error.is::<ChildFailed>() => Err(error),
        _ => bail!("the first check that failed: {}", names[0]),
    }
}

type Check = fn(&Workspace) -> Result<()>;

fn cargo(mut command: Command) -> Result<()> {
    let args: Vec<&str> = command.get_args().skip(2).filter_map(OsStr::to_str).collect();
    let what = args.join(" ");
    process::run(&what, &mut command)
}

/// The BPF program, as its own target sees it.
///
/// The BPF nightly has no clippy, so the host's stable one does it, with the
/// nightly features that the target needs unlocked.
fn clippy_bpf(workspace: &Workspace) -> Command {
    let mut clippy = workspace.cargo(["clippy", "--package=announcer-ebpf", "--lib"]);
    clippy.args(["--bin=announcer-xdp", "--target=bpfel-unknown-none", "-Zbuild-std=core"]);
    clippy.args(["--", "--deny=warnings"]).env("RUSTC_BOOTSTRAP", "1");
    clippy
}

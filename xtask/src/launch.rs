//! Building and becoming the lab or the daemon.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    controlplane::{CONTROLPLANE_BIN, ControlPlane},
    process::{self, Root},
    workspace::Workspace,
};

/// The lab finds the daemon to start in this variable.
pub(crate) const ANNOUNCER_BIN: &str = "ANNOUNCER_BIN";

/// Builds the daemon and the lab, and becomes the lab.
pub(crate) fn lab(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let root = Root::find("a lab of network namespaces", "cargo xtask lab")?;
    let control_plane = real_control_plane(workspace, args)?;
    build_all(workspace)?;
    let mut lab = root.command(workspace.binary("lab"));
    lab.args(args).env(ANNOUNCER_BIN, workspace.binary("announcer"));
    if let Some(control_plane) = control_plane {
        lab.env(CONTROLPLANE_BIN, control_plane.finish()?);
    }
    Err(process::exec(&mut lab))
}

/// Builds the daemon and becomes it.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let root = Root::find("the daemon (it loads a BPF program)", "cargo xtask run")?;
    process::run("building", &mut workspace.cargo(["build", "--package=announcer"]))?;
    let mut announcer = root.command(workspace.binary("announcer"));
    Err(process::exec(announcer.arg("run").args(args)))
}

/// Builds the daemon and the benchmarks as they are released, and becomes the latter.
pub(crate) fn bench(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let root = Root::find("measuring (network namespaces, BPF)", "cargo xtask bench")?;
    let control_plane = real_control_plane(workspace, args)?;
    let mut build = workspace.cargo(["build", "--release", "--bin=announcer", "--bin=bench"]);
    build.args(["--example=fleet", "--package=announcer", "--package=announcer-tests"]);
    process::run("building", &mut build)?;
    let mut bench = root.command(workspace.release_binary("bench"));
    bench.args(args).env(ANNOUNCER_BIN, workspace.release_binary("announcer"));
    if let Some(control_plane) = control_plane {
        bench.env(CONTROLPLANE_BIN, control_plane.finish()?);
    }
    Err(process::exec(bench.env("BENCH_DIR", workspace.bench_figures())))
}

/// What `--control-plane real` wants.
fn real_control_plane(workspace: &Workspace, args: &[OsString]) -> Result<Option<ControlPlane>> {
    let wanted = args.iter().any(|arg| arg == "real" || arg == "--control-plane=real");
    wanted.then(|| ControlPlane::prepare(workspace)).transpose()
}

/// Every binary of the workspace. The whole of it and not package by package:
/// cargo would choose other dependency features for each, and build them again.
pub(crate) fn build_all(workspace: &Workspace) -> Result<()> {
    process::run("building", &mut workspace.cargo(["build", "--workspace", "--bins"]))
}

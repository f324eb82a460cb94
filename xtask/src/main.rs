//! `cargo xtask …`: one command for each thing to do with this repository.
//!
//! It orchestrates and does nothing itself. It builds with stable Rust 1.85, so
//! that it runs on a machine which has nothing but rustup; the rest is built by
//! the pinned toolchains that [`setup`] installs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]
#![cfg_attr(test, expect(clippy::expect_used, reason = "a test fails by panicking"))]

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, bail};

mod aside;
mod controlplane;
mod crds;
mod fuzz;
mod image;
mod invariants;
mod launch;
mod lint;
mod mutate;
mod process;
mod protocol;
mod setup;
mod simulate;
mod test;
mod workspace;

use process::ChildFailed;
use setup::Purpose;
use workspace::Workspace;

const USAGE: &str = "\
Usage: cargo xtask <command>

  setup                      Install what is missing: toolchains, bpf-linker, Debian packages
  lab [ARGS]                 Build everything and show the announcer at work in network namespaces
                             (--control-plane real: with etcd, kube-apiserver and kube-proxy)
  run [--] [ARGS]            Build and start the daemon on this machine, with sudo if need be, e.g.
                             cargo xtask run -- --interface ens18 --static-vip 192.168.1.240
  test [FILTER] [-- ARGS]    Run all tests and mutations, or the tests whose path contains FILTER;
                             ARGS go to libtest
  bench datapath|failover|scale [--quick] [--json FILE] [--only PART]
                             Measure a release build, and print each figure beside its goal
  simulate [--seeds N] [--seed S] [SCENARIO]
                             Run the simulation of the ownership protocol, all scenarios or those
                             whose names contain SCENARIO; --seed tells the story of one that fails
  mutate [NAME]              Break each rule of the protocol on purpose; the simulation must notice
  fuzz --seconds N [--target verdict|announce_frames]
                             Try inputs on the packet logic and the frame builders, N seconds each
  image [--output FILE]      Build the static binary and an OCI image of it, into target/image
  crds                       Write deploy/crds from the types in announcer/src/intent/policy.rs
  lint                       Formatting, clippy (host and BPF), documentation, architecture

Every command runs the set-up that it needs first. The exit code is that of what failed.
Network tests run as many at a time as there are CPUs; RUST_TEST_THREADS=1 runs them singly.";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            let child = error.downcast_ref::<ChildFailed>();
            ExitCode::from(child.map_or(1, |child| child.code))
        }
    }
}

fn dispatch(args: &[OsString]) -> Result<()> {
    let Some((command, args)) = args.split_first() else { bail!("which command?\n\n{USAGE}") };
    match (command.to_str(), args) {
        (Some("setup"), []) => setup::all(&Workspace::load()?),
        (Some("lab"), args) => {
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Tests)?;
            launch::lab(&workspace, unprefixed(args))
        }
        (Some("run"), args) => {
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Build)?;
            launch::run(&workspace, unprefixed(args))
        }
        (Some("test"), args) => {
            let selection = test::Selection::parse(args)?;
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Tests)?;
            test::run(&workspace, &selection)
        }
        (Some("bench"), args) => {
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Benches)?;
            launch::bench(&workspace, unprefixed(args))
        }
        (Some("simulate"), args) => {
            let selection = simulate::Selection::parse(args)?;
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Build)?;
            simulate::run(&workspace, &selection)
        }
        (Some("mutate"), args @ ([] | [_])) => {
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Build)?;
            mutate::run(&workspace, args.first().and_then(|name| name.to_str()))
        }
        (Some("fuzz"), args) => {
            let selection = fuzz::Selection::parse(args)?;
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Fuzz)?;
            fuzz::run(&workspace, &selection)
        }
        (Some("image"), args) => {
            let options = image::Options::parse(args)?;
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Image)?;
            image::build(&workspace, &options)
        }
        (Some("lint"), []) => {
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Lint)?;
            lint::run(&workspace)
        }
        (Some("crds"), []) => {
            let workspace = Workspace::load()?;
            setup::ensure(&workspace, Purpose::Build)?;
            crds::write(&workspace)
        }
        (Some("help" | "-h" | "--help"), _) => {
            println!("{USAGE}");
            Ok(())
        }
        (Some("setup" | "lint" | "crds"), [extra, ..]) | (Some("mutate"), [_, extra, ..]) => {
            bail!("unexpected argument {extra:?}\n\n{USAGE}")
        }
        _ => bail!("there is no command {command:?}\n\n{USAGE}"),
    }
}

/// Arguments for another program, without the `--` that some put before them.
fn unprefixed(args: &[OsString]) -> &[OsString] {
    args.strip_prefix(&["--".into()]).unwrap_or(args)
}

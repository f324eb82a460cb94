//! `cargo xtask simulate`: the ownership simulation with many seeds, or one.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};

use crate::{
    process,
    protocol::{Crate, ORIGINAL, Sources, simulation},
    workspace::Workspace,
};

/// Which seeds and scenarios to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// How many seeds for each scenario; the long ones take a share of it.
    seeds: Option<u64>,
    /// One seed, whose whole story is told if it fails.
    seed: Option<u64>,
    /// Only scenarios whose names contain this.
    scenario: Option<String>,
}

impl Selection {
    /// `[--seeds N] [--seed S] [SCENARIO]`
    pub(crate) fn parse(args: &[OsString]) -> Result<Self> {
        let mut selection = Self::default();
        let mut args = args.iter().map(|arg| arg.to_string_lossy());
        while let Some(arg) = args.next() {
            let mut number = || {
                let value = args.next().with_context(|| format!("{arg} wants a number"))?;
                value.parse().with_context(|| format!("{arg} wants a number, not {value:?}"))
            };
            match &*arg {
                "--seeds" => selection.seeds = Some(number()?),
                "--seed" => selection.seed = Some(number()?),
                option if option.starts_with('-') => bail!("there is no option {option}"),
                scenario if selection.scenario.is_none() => {
                    selection.scenario = Some(scenario.to_owned());
                }
                extra => bail!("unexpected argument {extra:?}: one scenario, or all"),
            }
        }
        Ok(selection)
    }
}

/// Builds the simulation, optimised, and runs what is selected; an error when a
/// rule is broken, or no scenario selected.
pub(crate) fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let sources = Sources::read(workspace)?;
    let built = Crate::write(workspace, [(ORIGINAL, &sources)].into_iter())?.build(true)?;
    let mut run = simulation(built.get(ORIGINAL).context("cargo built no simulation")?);
    run.args(&selection.scenario);
    if let Some(seeds) = selection.seeds {
        run.env("SIMULATION_SEEDS", seeds.to_string());
    }
    if let Some(seed) = selection.seed {
        run.env("SIMULATION_SEED", seed.to_string());
    }
    process::run("the simulation", &mut run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Selection> {
        Selection::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn seeds_and_scenarios_are_told_apart() {
        let selected = |seeds, seed, scenario: Option<&str>| Selection {
            seeds,
            seed,
            scenario: scenario.map(str::to_owned),
        };
        for (args, expected) in [
            (&[][..], selected(None, None, None)),
            (&["--seeds", "5000"], selected(Some(5000), None, None)),
            (&["storm", "--seed", "7"], selected(None, Some(7), Some("storm"))),
        ] {
            assert_eq!(parse(args).expect("a selection"), expected, "{args:?}");
        }
        for bad in [&["--seeds"][..], &["--seed", "x"], &["--fast"], &["a", "b"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! `cargo xtask mutate`: breaks each rule of the ownership protocol on purpose,
//! once each, and demands that the simulation catches it.

mod mutations;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    protocol::{Crate, ORIGINAL, Sources, simulation},
    workspace::Workspace,
};
use mutations::{MUTATIONS, Mutation};

/// So many seeds for each scenario, unless a mutation wants more.
const SEEDS: u64 = 100;

/// A run that takes so long has not been caught: it hangs, or the machine does.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs the mutations whose names contain `filter`; an error when one survives, no
/// longer fits the code, or when what nobody changed is caught as well.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let selected: Vec<_> =
        MUTATIONS.iter().filter(|m| filter.is_none_or(|filter| m.name.contains(filter))).collect();
    if selected.is_empty() {
        bail!("no mutation's name contains {}", filter.unwrap_or_default());
    }
    let original = Sources::read(workspace)?;
    let mut variants = vec![(ORIGINAL, original.clone())];
    for mutation in &selected {
        let mut sources = original.clone();
        sources
            .replace_once(&format!("ownership/{}", mutation.file), mutation.find, mutation.replace)
            .with_context(|| format!("mutation {} no longer fits", mutation.name))?;
        variants.push((mutation.name, sources));
    }
    let known = |name: &str, sources: &Sources| is_known(workspace, name, sources);
    let unknown = variants.iter().filter(|(name, sources)| !known(name, sources));
    let unknown: Vec<_> = unknown.map(|(name, sources)| (*name, sources)).collect();
    println!("mutate: {} mutants, {} to build and run", selected.len(), unknown.len());
    let built = if unknown.is_empty() {
        Default::default()
    } else {
        Crate::write(workspace, unknown.iter().copied())?.build(false)?
    };

    let mut failed = Vec::new();
    for (name, sources) in unknown {
        let mutation = selected.iter().find(|m| m.name == name);
        let Some(binary) = built.get(name) else {
            failed.push(format!("{name}: does not compile"));
            continue;
        };
        match mutation.map_or_else(|| spare(&selected, binary), |m| catch(m, binary)) {
            Ok(story) => {
                println!("mutate: {name}: {story}");
                remember(workspace, name, sources)?;
            }
            Err(error) => {
                println!("mutate: {name}: {error:#}");
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    println!("mutate: in {} s", started.elapsed().as_secs());
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.join("\n"))
}

/// The code that nobody changed passes all that catches mutants.
fn spare(mutations: &[&Mutation], binary: &Path) -> Result<String> {
    let mut scenarios: Vec<_> = mutations.iter().map(|m| (m.caught_by, m.seeds)).collect();
    scenarios.sort_unstable();
    // The most seeds that any mutation of the scenario wants.
    scenarios.reverse();
    scenarios.dedup_by_key(|(scenario, _)| *scenario);
    for (scenario, seeds) in &scenarios {
        if let Some(broken) = broken_rule(scenario, *seeds, binary)? {
            bail!("{scenario} fails without any mutation: {broken}");
        }
    }
    Ok(format!("passes {} scenarios", scenarios.len()))
}

fn catch(mutation: &Mutation, binary: &Path) -> Result<String> {
    match broken_rule(mutation.caught_by, mutation.seeds, binary)? {
        Some(broken) => Ok(format!("caught by {}: {broken}", mutation.caught_by)),
        None => bail!(
            "{} is broken, and {} does not notice (ownership/{})",
            mutation.rule,
            mutation.caught_by,
            mutation.file
        ),
    }
}

/// Runs one scenario; says which rule broke, if one did.
fn broken_rule(scenario: &str, seeds: u64, binary: &Path) -> Result<Option<String>> {
    let mut run = simulation(binary);
    run.args(["--exact", scenario]).env("SIMULATION_SEEDS", seeds.to_string());
    let (success, output) = finish(&mut run)?;
    if success && !output.contains("test result: ok. 1 passed") {
        bail!("there is no scenario {scenario}");
    }
    if success {
        return Ok(None);
    }
    let told = output.lines().find(|line| line.starts_with("seed "));
    let told = told.or_else(|| output.lines().find(|line| line.contains("panicked at")));
    Ok(Some(told.unwrap_or("it says nothing").to_owned()))
}

/// Runs a child to its end, or to the end of our patience.
fn finish(command: &mut Command) -> Result<(bool, String)> {
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the simulation")?;
    // What a run has to say fits into the pipe.
    while child.try_wait().context("waiting for the simulation")?.is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().context("ending the simulation")?;
            child.wait().context("waiting for the simulation")?;
            bail!("no end after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().context("reading from the simulation")?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What was caught once is not built and run again until something has changed.
fn is_known(workspace: &Workspace, name: &str, sources: &Sources) -> bool {
    let known = fs::read_to_string(workspace.protocol().join(name).join("caught"));
    known.is_ok_and(|known| known == fingerprint(name, sources))
}

fn remember(workspace: &Workspace, name: &str, sources: &Sources) -> Result<()> {
    let path = workspace.protocol().join(name).join("caught");
    fs::write(&path, fingerprint(name, sources))
        .with_context(|| format!("writing {}", path.display()))
}

fn fingerprint(name: &str, sources: &Sources) -> String {
    // The original's depends on what all mutations want of it.
    let wanted: Vec<_> = MUTATIONS
        .iter()
        .filter(|m| name == ORIGINAL || m.name == name)
        .map(|m| format!("{} {}", m.caught_by, m.seeds))
        .collect();
    format!("{:016x} {}", sources.fingerprint(), wanted.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mutation_fits_the_code() {
        let workspace = Workspace::load().expect("a workspace");
        let original = Sources::read(&workspace).expect("the protocol's sources");
        for mutation in MUTATIONS {
            let file = format!("ownership/{}", mutation.file);
            let fits = original.clone().replace_once(&file, mutation.find, mutation.replace);
            assert!(fits.is_ok(), "{}: {fits:?}", mutation.name);
            assert_ne!(mutation.find, mutation.replace, "{}", mutation.name);
        }
        let names: BTreeSet<_> = MUTATIONS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), MUTATIONS.len(), "names are used twice");
    }
}

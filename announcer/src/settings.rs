//! Where the settings of a command come from: its flags, else the environment, else the
//! file of `--config`, else the defaults.
//!
//! Each flag of `announcer run` is a field of that file, in camel case (`--lease-duration`
//! is `leaseDuration`), and what it says is checked by the flag's own parser: there is one
//! list of settings, the flags.

mod check;
mod effective;
mod environment;
mod file;
mod nearest;

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, FromArgMatches, parser::ValueSource};

pub use self::{
    effective::{Effective, Origin, Setting},
    environment::{UnknownVariable, VariableError, unknown_variables},
    file::{FieldError, File, FileError},
};
use crate::cli::{self, Cli};

/// A command line, with what the environment and a file say besides.
#[derive(Debug)]
pub struct Parsed {
    /// What to do.
    pub cli: Cli,
    /// The settings of the command, and where each comes from.
    pub effective: Effective,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line; or somebody asked for `--help`.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The environment: all wrong variables are named.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Variables(Vec<VariableError>),
    /// The file of `--config`.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Takes in the words of a command line, the first being the program's name.
///
/// # Errors
/// [`SettingsError`], with the path of the field if it is in the file, and the name of the
/// variable if it is in the environment.
pub fn parse<I>(words: I) -> Result<Parsed, SettingsError>
where
    I: IntoIterator<Item = OsString>,
{
    let words: Vec<OsString> = words.into_iter().collect();
    let mut all = cli::command();
    let command = environment::applied(all.clone(), &words)?;
    let mut matches = command
        .clone()
        .try_get_matches_from(&words)
        .map_err(|error| environment::blamed(error, &command, &words))?;
    // A file that is broken while a daemon runs ends that daemon no sooner than its next start.
    let reads_file = matches.subcommand_name() != Some(LIVE);
    let file = match file_of(&matches).filter(|_| reads_file) {
        Some(path) => Some(File::read(path, &all)?),
        None => None,
    };
    if let Some(file) = &file {
        let name = matches.subcommand_name().unwrap_or_default();
        matches = file.as_defaults(command, name).try_get_matches_from(&words)?;
    }
    let effective = Effective::new(&all, &matches, file.as_ref());
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut all))?;
    Ok(Parsed { cli, effective })
}

/// Where a global flag stands depends on who gave it: beside the subcommand or after it.
fn file_of(matches: &ArgMatches) -> Option<PathBuf> {
    let of = |matches: &ArgMatches| matches.get_one::<PathBuf>(CONFIG).cloned();
    let given = |matches: &&ArgMatches| {
        !matches!(matches.value_source(CONFIG), None | Some(ValueSource::DefaultValue))
    };
    matches.subcommand().map(|(_, sub)| sub).filter(given).and_then(of).or_else(|| of(matches))
}

/// The command for liveness probes.
const LIVE: &str = "live";

/// The one flag that is no field of the file.
const CONFIG: &str = "config";

/// Whether a flag is one that a file can have.
fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some()
        && arg.get_id() != CONFIG
        && !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version)
}

/// `--lease-duration` is the field `leaseDuration`.
pub(crate) fn field_of(flag: &str) -> String {
    let mut parts = flag.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        let head = letters.next().map(|c| c.to_ascii_uppercase());
        name + &head.into_iter().collect::<String>() + letters.as_str()
    })
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;

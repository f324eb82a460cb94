//! What the environment says: values that no flag takes, and names that no flag has.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::{OsStr, OsString},
};

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::{SettingsError, check::check, nearest::nearest};

/// What all variables of the announcer begin with.
const PREFIX: &str = "ANNOUNCER_";

/// A variable whose value its flag does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} (environment): {message}")]
pub struct VariableError {
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub value: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A variable that is no setting, though it is named like one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is no setting{}", if meant.is_empty() {
    "; `announcer run --help` names those there are".to_owned()
} else {
    format!("; did you mean {}?", meant.join(" or "))
})]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// What was meant, perhaps.
    pub meant: Vec<String>,
}

/// Who is to blame for an error: the variables of the environment, where the command line is
/// in order without them.
pub(super) fn blamed(error: clap::Error, command: &Command, words: &[OsString]) -> SettingsError {
    if !error.use_stderr() {
        return error.into();
    }
    let without = |arg: Arg| arg.env(None);
    let alone = command
        .clone()
        .mut_args(without)
        .mut_subcommands(|subcommand| subcommand.mut_args(without));
    let matches = match alone.try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(own) => return own.into(),
    };
    let mut wrong = BTreeMap::new();
    let mut look = |command: &Command, matches: &ArgMatches| {
        for arg in command.get_arguments() {
            wrong.extend(set(arg, matches).and_then(|(name, value)| {
                let error = value_error(arg, &name, &value)?;
                Some((name, error))
            }));
        }
    };
    look(command, &matches);
    if let Some((name, submatches)) = matches.subcommand()
        && let Some(subcommand) = command.find_subcommand(name)
    {
        look(subcommand, submatches);
    }
    if wrong.is_empty() {
        error.into()
    } else {
        SettingsError::Variables(wrong.into_values().collect())
    }
}

/// The variable of a flag that the command line does not give.
fn set(arg: &Arg, matches: &ArgMatches) -> Option<(String, OsString)> {
    let name = arg.get_env()?.to_string_lossy().into_owned();
    let is_given = matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    if is_given { None } else { env::var_os(&name).map(|value| (name, value)) }
}

fn value_error(arg: &Arg, name: &str, value: &OsStr) -> Option<VariableError> {
    let mut message = check(arg, value).err()?;
    if value.is_empty() {
        message += "; unset it for the default";
    }
    let value = value.to_string_lossy().into_owned();
    Some(VariableError { name: name.to_owned(), value, message })
}

/// Those of these variables that look like settings, and are none. `command` has all flags.
pub fn unknown_variables(
    names: impl IntoIterator<Item = OsString>,
    command: &Command,
) -> Vec<UnknownVariable> {
    let commands = std::iter::once(command).chain(command.get_subcommands());
    let known: BTreeSet<String> = commands
        .flat_map(Command::get_arguments)
        .filter_map(|arg| arg.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let mut unknown: Vec<_> = names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !is_of_service(name))
        .map(|name| {
            // What all have says nothing of likeness.
            let rests = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
            let meant = nearest(name.trim_start_matches(PREFIX), rests);
            let meant = meant.into_iter().map(|rest| format!("{PREFIX}{rest}")).collect();
            UnknownVariable { name, meant }
        })
        .collect();
    unknown.sort_by(|a, b| a.name.cmp(&b.name));
    unknown
}

/// What the kubelet sets in every pod for each Service of its namespace, as Docker did for
/// links: a Service may be called `announcer`, or begin so.
pub(super) fn is_of_service(name: &str) -> bool {
    const PORT: &str = "_PORT";
    let is_port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    let mut ports = name.match_indices(PORT).map(|(at, _)| name.get(at + PORT.len()..));
    name.ends_with("_SERVICE_HOST") || ports.any(|rest| rest.is_some_and(is_port))
}

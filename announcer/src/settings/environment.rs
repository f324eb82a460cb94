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

/// The command as the environment of this process bears on it: without the variables of
/// flags that the command line gives. clap itself would judge a variable of a flag that
/// every command has although the flag is given.
///
/// # Errors
/// The command line's own, or all variables whose values are wrong.
pub(super) fn applied(command: Command, words: &[OsString]) -> Result<Command, SettingsError> {
    let alone = each(command.clone(), |arg| arg.env(None)).try_get_matches_from(words)?;
    let (mut given, mut wrong) = (BTreeSet::new(), BTreeMap::new());
    for (arg, matches) in levels(&command, &alone) {
        let Some((name, value)) = set(arg) else { continue };
        if matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            given.insert(arg.get_id().clone());
        } else if let Err(message) = check(arg, &value) {
            let remedy = if value.is_empty() { "; unset it for the default" } else { "" };
            wrong.insert(name.clone(), VariableError::new(name, &value, message + remedy));
        }
    }
    if wrong.is_empty() {
        Ok(each(command, |arg| if given.contains(arg.get_id()) { arg.env(None) } else { arg }))
    } else {
        Err(SettingsError::Variables(wrong.into_values().collect()))
    }
}

/// An error that the command line has only because of the environment, like a conflict of
/// two flags: the variables that it is about.
pub(super) fn blamed(error: clap::Error, command: &Command, words: &[OsString]) -> SettingsError {
    let Ok(alone) = each(command.clone(), |arg| arg.env(None)).try_get_matches_from(words) else {
        return error.into();
    };
    let whole = error.to_string();
    let whole = whole.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let concerned: BTreeMap<_, _> = levels(command, &alone)
        .filter(|(arg, _)| arg.get_long().is_some_and(|flag| names(whole, flag)))
        .filter_map(|(arg, _)| set(arg))
        .map(|(name, value)| (name.clone(), VariableError::new(name, &value, whole.to_owned())))
        .collect();
    if concerned.is_empty() {
        error.into()
    } else {
        SettingsError::Variables(concerned.into_values().collect())
    }
}

/// Whether clap's message names this flag, as '--from <FILE>'.
fn names(message: &str, flag: &str) -> bool {
    let quoted = message.split('\'').filter_map(|part| part.strip_prefix("--"));
    quoted.map(|part| part.split([' ', '[', '='])).any(|mut words| words.next() == Some(flag))
}

impl VariableError {
    fn new(name: String, value: &OsStr, message: String) -> Self {
        Self { name, value: value.to_string_lossy().into_owned(), message }
    }
}

/// The command and its subcommands with each flag changed.
fn each(command: Command, change: impl Fn(Arg) -> Arg) -> Command {
    command.mut_args(&change).mut_subcommands(|subcommand| subcommand.mut_args(&change))
}

/// The flags of the program, then those of the subcommand that was given.
fn levels<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
) -> impl Iterator<Item = (&'a Arg, &'a ArgMatches)> {
    let sub = matches.subcommand().and_then(|(name, submatches)| {
        command.find_subcommand(name).map(|subcommand| (subcommand, submatches))
    });
    let levels = std::iter::once((command, matches)).chain(sub);
    levels.flat_map(|(command, matches)| command.get_arguments().map(move |arg| (arg, matches)))
}

/// The flag's variable, and what it is set to.
fn set(arg: &Arg) -> Option<(String, OsString)> {
    let name = arg.get_env()?;
    env::var_os(name).map(|value| (name.to_string_lossy().into_owned(), value))
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

//! The settings in effect, and where each comes from.

use std::{fmt, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use super::{field_of, file::File, is_setting};

/// All settings of one command. Displayed it is a file for `--config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective(Vec<Setting>);

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Without the dashes.
    pub flag: String,
    /// Its field in a file.
    pub field: String,
    /// As they were written.
    pub values: Vec<String>,
    /// Whether there may be more than one.
    pub is_list: bool,
    /// Who said so.
    pub origin: Origin,
}

/// Who says what a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This variable of the environment.
    Environment(String),
    /// The file of `--config`, on this line.
    File(PathBuf, u64),
    /// Nobody.
    Default,
}

impl Effective {
    pub(super) fn new(command: &Command, matches: &ArgMatches, file: Option<&File>) -> Self {
        let mut settings = Vec::new();
        let of = |command: &Command, matches: &ArgMatches, settings: &mut Vec<Setting>| {
            let wanted = command.get_arguments().filter(|arg| is_setting(arg));
            settings.extend(wanted.map(|arg| setting(arg, matches, file)));
        };
        if let Some((name, submatches)) = matches.subcommand()
            && let Some(subcommand) = command.find_subcommand(name)
        {
            of(subcommand, submatches, &mut settings);
            // Those of every command.
            of(command, submatches, &mut settings);
        }
        Self(settings)
    }

    /// What is known of this flag.
    pub fn get(&self, flag: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.flag == flag)
    }

    /// What an error that names flags should say of those that no flag gave.
    pub fn origins(&self, flags: &[&str]) -> Vec<String> {
        let settings = flags.iter().filter_map(|flag| self.get(flag));
        let told =
            settings.filter_map(|Setting { flag, field, values, origin, .. }| match origin {
                Origin::Flag => None,
                Origin::Environment(name) => {
                    Some(format!("--{flag} is {name}={:?} in the environment", values.join(",")))
                }
                Origin::File(..) => Some(format!("--{flag} is {field} in {origin}")),
                Origin::Default => Some(format!("--{flag} has its default")),
            });
        told.collect()
    }

    /// All of them, in the order of `--help`.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }
}

fn setting(arg: &Arg, matches: &ArgMatches, file: Option<&File>) -> Setting {
    let flag = arg.get_long().unwrap_or_default().to_owned();
    let id = arg.get_id().as_str();
    let origin = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            Origin::Environment(name.unwrap_or_default())
        }
        _ => file
            .and_then(|file| file.says(arg))
            .map_or(Origin::Default, |(path, line)| Origin::File(path.to_owned(), line)),
    };
    let raw = matches.get_raw(id).into_iter().flatten();
    Setting {
        field: field_of(&flag),
        flag,
        values: raw.map(|word| word.to_string_lossy().into_owned()).collect(),
        is_list: matches!(arg.get_action(), ArgAction::Append),
        origin,
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|setting| writeln!(f, "{setting}"))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, values, is_list, origin, .. } = self;
        let words: Vec<String> = values.iter().map(|value| scalar(value)).collect();
        let said = match words.as_slice() {
            words if *is_list => format!("{field}: [{}]", words.join(", ")),
            [] => format!("# {field}: not set"),
            words => format!("{field}: {}", words.join(", ")),
        };
        if values.is_empty() && !is_list {
            f.write_str(&said)
        } else {
            write!(f, "{said:<44} # {origin}")
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment, {name}"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// As YAML that means this very text, or the number or truth value that it is.
fn scalar(text: &str) -> String {
    let plain = matches!(text, "true" | "false") || text.parse::<i64>().is_ok();
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

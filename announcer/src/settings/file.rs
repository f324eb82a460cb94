//! The file of `--config`: YAML, one level deep.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};
use serde_json::Value;
use serde_saphyr::{MessageFormatter as _, Spanned, UserMessageFormatter};

use super::{check::check, field_of, is_setting, nearest::nearest};

/// What a file says, checked field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    path: PathBuf,
    /// By what identifies a setting: its variable of the environment. Flags of two commands
    /// can have one name and be two settings.
    fields: BTreeMap<String, Field>,
}

/// One field: as many words as the flag would be given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    words: Vec<String>,
    line: u64,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the file of --config (ANNOUNCER_CONFIG) cannot be read: {}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is no YAML, or not a mapping from fields to values.
    #[error("{}: {message}", path.display())]
    NotYaml {
        /// Which one.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// Fields are wrong: all of them are named.
    #[error("{}", errors.iter().map(|e| format!("{}: {e}", path.display())).collect::<Vec<_>>().join("\n"))]
    Fields {
        /// Of which one.
        path: PathBuf,
        /// Each, in the file's order.
        errors: Vec<FieldError>,
    },
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {field}: {message}")]
pub struct FieldError {
    /// From 1.
    pub line: u64,
    /// Its path, `staticVip[1]`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl File {
    pub(super) fn read(path: PathBuf, command: &Command) -> Result<Self, FileError> {
        match fs::read_to_string(&path) {
            Ok(text) => Self::new(path, &text, command),
            Err(error) => Err(FileError::Unreadable { path, error }),
        }
    }

    /// `command` has the subcommand `run`, whose flags are the fields.
    pub(super) fn new(path: PathBuf, text: &str, command: &Command) -> Result<Self, FileError> {
        let said = match entries(text) {
            Ok(said) => said,
            Err(message) => return Err(FileError::NotYaml { path, message }),
        };
        let (mut fields, mut errors) = (BTreeMap::new(), Vec::new());
        for (name, spanned) in said {
            let line = spanned.referenced.line();
            let mut wrong = |field: String, message| {
                errors.push(FieldError { line, field, message });
            };
            let Some(arg) = flags(command).find(|arg| is_field(arg, &name)) else {
                wrong(name.clone(), unknown(&name, command));
                continue;
            };
            match words(arg, &spanned.value) {
                Ok(words) => {
                    for (i, word) in words.iter().enumerate() {
                        if let Err(message) = check(arg, word.as_ref()) {
                            let place = if spanned.value.is_array() {
                                format!("{name}[{i}]")
                            } else {
                                name.clone()
                            };
                            wrong(place, of_word(word, message));
                        }
                    }
                    fields.insert(twin(arg), Field { words, line });
                }
                Err(message) => wrong(name, message),
            }
        }
        errors.sort_by_key(|error| error.line);
        if errors.is_empty() {
            Ok(Self { path, fields })
        } else {
            Err(FileError::Fields { path, errors })
        }
    }

    /// The command with this file's words as defaults of the subcommand's flags.
    pub(super) fn as_defaults(&self, command: Command, subcommand: &str) -> Command {
        let with_defaults = |command: Command| {
            let theirs: Vec<_> =
                command.get_arguments().map(|arg| (arg.get_id().clone(), twin(arg))).collect();
            theirs.into_iter().fold(command, |command, (id, twin)| match self.fields.get(&twin) {
                // An empty list is what no default is.
                Some(field) if !field.words.is_empty() => {
                    command.mut_arg(id, |arg| arg.default_values(field.words.clone()))
                }
                _ => command,
            })
        };
        let command = with_defaults(command);
        if command.find_subcommand(subcommand).is_none() {
            return command;
        }
        command.mut_subcommand(subcommand, with_defaults)
    }

    /// Where it says something of this setting: the file, and the line.
    pub(super) fn says(&self, arg: &Arg) -> Option<(&Path, u64)> {
        self.fields.get(&twin(arg)).map(|field| (&*self.path, field.line))
    }
}

/// The fields, whatever they are called.
fn entries(text: &str) -> Result<BTreeMap<String, Spanned<Value>>, String> {
    // Nothing, or comments only: no settings.
    let whole: Value = serde_saphyr::from_str(text).map_err(|e| plain(&e))?;
    if whole.is_null() {
        return Ok(BTreeMap::new());
    }
    if !whole.is_object() {
        return Err("it is not a list of settings, like `leaseDuration: 3s`".to_owned());
    }
    serde_saphyr::from_str(text).map_err(|e| plain(&e))
}

/// What is wrong with the YAML, for somebody who does not write programs.
fn plain(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    let line = error.location().map(|location| format!("line {}: ", location.line()));
    let message = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{key}: it is set above already; each setting stands once")
        }
        error => UserMessageFormatter.format_message(error).into_owned(),
    };
    line.unwrap_or_default() + &message
}

/// The flags that are fields: those of `run`, and those of every command.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let run = command.find_subcommand("run").into_iter().flat_map(Command::get_arguments);
    command.get_arguments().chain(run).filter(|arg| is_setting(arg))
}

fn twin(arg: &Arg) -> String {
    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_field(arg: &Arg, name: &str) -> bool {
    arg.get_long().is_some_and(|long| field_of(long) == name)
}

/// Many messages begin with the word themselves.
fn of_word(word: &str, message: String) -> String {
    if message.starts_with(&format!("{word:?}")) || message.starts_with(word) {
        message
    } else {
        format!("{word:?}: {message}")
    }
}

/// There is no such field: perhaps its name is written in another way.
fn unknown(name: &str, command: &Command) -> String {
    let all: Vec<_> = flags(command).filter_map(Arg::get_long).map(field_of).collect();
    match nearest(name, all.iter().map(String::as_str)).as_slice() {
        [] => format!("there is no such setting; there are {}", all.join(", ")),
        near => format!("there is no such setting; is it {}?", near.join(" or ")),
    }
}

/// The value as the words that the flag would be given.
fn words(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    let many = matches!(arg.get_action(), ArgAction::Append);
    match value {
        Value::Array(items) if many => items.iter().map(word).collect(),
        Value::Array(_) => Err("a single value is wanted, not a list".to_owned()),
        // As if it were not there.
        Value::Null => Ok(Vec::new()),
        value => word(value).map(|word| vec![word]),
    }
}

fn word(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(yes) => Ok(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a word or a number is wanted".to_owned())
        }
    }
}

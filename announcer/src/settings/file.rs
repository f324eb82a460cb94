//! The file of `--config`: YAML, one level deep.

use std::{
    collections::BTreeMap,
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{field_of, is_setting};

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
    #[error("the file of --config cannot be read: {}", path.display())]
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
                        if let Err(message) = check(arg, word) {
                            let place = if spanned.value.is_array() {
                                format!("{name}[{i}]")
                            } else {
                                name.clone()
                            };
                            wrong(place, message);
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
    let plain = |error: &serde_saphyr::Error| error.without_snippet().to_string();
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

/// The flags that are fields: those of `run`, and those of every command.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let run = command.find_subcommand("run").into_iter().flat_map(Command::get_arguments);
    command.get_arguments().chain(run).filter(|arg| is_setting(arg))
}

fn flag(arg: &Arg) -> String {
    arg.get_long().unwrap_or_default().to_owned()
}

fn twin(arg: &Arg) -> String {
    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_field(arg: &Arg, name: &str) -> bool {
    arg.get_long().is_some_and(|long| field_of(long) == name)
}

/// There is no such field: perhaps its name is written in another way.
fn unknown(name: &str, command: &Command) -> String {
    let letters = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
    };
    let fields = flags(command).filter_map(Arg::get_long).map(field_of);
    let (wanted, mut near) = (letters(name), Vec::new());
    let mut all = Vec::new();
    for field in fields {
        let known = letters(&field);
        if known == wanted || known.starts_with(&wanted) || wanted.starts_with(&known) {
            near.push(field.clone());
        }
        all.push(field);
    }
    match near.as_slice() {
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

/// What the flag's own parser says of a word.
fn check(arg: &Arg, word: &str) -> Result<(), String> {
    let alone = Command::default().no_binary_name(true).arg(arg.clone().env(None));
    let given = format!("--{}={word}", flag(arg));
    let Err(error) = alone.try_get_matches_from([given]) else { return Ok(()) };
    if let Some(source) = error.source() {
        return Err(format!("{word:?}: {source}"));
    }
    let whole = error.kind().to_string();
    let valid = error.get(clap::error::ContextKind::ValidValue).map(ToString::to_string);
    Err(match valid {
        Some(valid) => format!("{word:?} is none of {valid}"),
        None => format!("{word:?}: {whole}"),
    })
}

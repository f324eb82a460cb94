//! What a flag's own parser says of a word that did not come as a flag.

use std::{
    error::Error as _,
    ffi::{OsStr, OsString},
};

use clap::{
    Arg, Command,
    error::{ContextKind, ErrorKind},
};

/// What is wrong, without the word.
pub(super) fn check(arg: &Arg, word: &OsStr) -> Result<(), String> {
    let flag = arg.get_long().unwrap_or_default();
    // Only what bears on its value: of other flags that it conflicts with there are none.
    let mut alone = Arg::new("value")
        .long(flag.to_owned())
        .action(arg.get_action().clone())
        .value_parser(arg.get_value_parser().clone())
        .ignore_case(arg.is_ignore_case_set());
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let mut given = OsString::from(format!("--{flag}="));
    given.push(word);
    let command = Command::default().no_binary_name(true).arg(alone);
    let Err(error) = command.try_get_matches_from([given]) else { return Ok(()) };
    if let Some(source) = error.source() {
        return Err(source.to_string());
    }
    let valid = error.get(ContextKind::ValidValue).map(ToString::to_string);
    Err(match (error.kind(), valid) {
        (ErrorKind::InvalidValue, None) => "a value is missing".to_owned(),
        (_, Some(valid)) => format!("not one of {valid}"),
        (kind, None) => kind.to_string(),
    })
}

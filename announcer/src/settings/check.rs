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
    let alone = Command::default().no_binary_name(true).arg(arg.clone().env(None));
    let mut given = OsString::from(format!("--{flag}="));
    given.push(word);
    let Err(error) = alone.try_get_matches_from([given]) else { return Ok(()) };
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

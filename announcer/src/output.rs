//! What commands write to standard output.

use std::{fmt::Display, io::Write as _};

use serde::Serialize;

use crate::{cli::OutputFormat, exit::Failure};

/// Writes text as it is.
///
/// # Errors
/// Nobody reads it any more: an error, not a panic.
pub fn write(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::unexpected)
}

/// Writes a result in the format that was asked for; displayed it is the table, `wide` is
/// the same with everything.
///
/// # Errors
/// As [`write()`].
pub fn show(
    result: &(impl Display + Serialize),
    wide: impl Display,
    format: OutputFormat,
) -> Result<(), Failure> {
    match format {
        OutputFormat::Table => write(result),
        OutputFormat::Wide => write(wide),
        OutputFormat::Json | OutputFormat::Yaml => show_value(result, format),
    }
}

/// Writes a result as YAML if that was asked for, else as JSON.
///
/// # Errors
/// As [`write()`].
pub fn show_value(result: &impl Serialize, format: OutputFormat) -> Result<(), Failure> {
    match format {
        OutputFormat::Yaml => write(serde_saphyr::to_string(result).map_err(Failure::unexpected)?),
        _ => write(serde_json::to_string_pretty(result).map_err(Failure::unexpected)? + "\n"),
    }
}

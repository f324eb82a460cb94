//! What commands write to standard output.

use std::{fmt::Display, io::Write as _};

use serde::Serialize;

use crate::{cli::OutputFormat, exit::Failure};

/// Writes text; control characters that others put into it reach no terminal.
///
/// # Errors
/// Nobody reads it any more: an error, not a panic.
pub fn write(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let text = harmless(&text.to_string());
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::unexpected)
}

/// Text with control characters shown, not obeyed; lines stay lines.
pub fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
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

/// Writes one of many results: a line of JSON, or a document of YAML.
///
/// # Errors
/// As [`write()`].
pub fn show_next(result: &impl Serialize, format: OutputFormat) -> Result<(), Failure> {
    match format {
        OutputFormat::Yaml => write("---\n").and_then(|()| show_value(result, format)),
        _ => write(serde_json::to_string(result).map_err(Failure::unexpected)? + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_others_are_shown_and_not_obeyed() {
        assert_eq!(harmless("a\x1b[2Jb\u{9b}31mc\r\n\td"), "a\\u{1b}[2Jb\\u{9b}31mc\\r\n\td");
    }
}

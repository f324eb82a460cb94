//! How the words of flags are read, with errors that say what would do: the standard
//! library's do not.

use std::{num::NonZeroU32, time::Duration};

/// Why a word is not what is wanted. Whoever prints it names the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    /// No span of time.
    #[error("not a duration; write numbers with units, like 500ms, 3s or 1m 30s")]
    Duration,
    /// No natural number.
    #[error("not a whole number from 1 to {}", u32::MAX)]
    Positive,
    /// No natural number, and not 0.
    #[error("not a whole number, like 0 or 1000")]
    Count,
    /// No number at all.
    #[error("not a number, like 10 or 0.5")]
    Number,
}

pub(super) fn duration(word: &str) -> Result<Duration, ValueError> {
    humantime::parse_duration(word).map_err(|_| ValueError::Duration)
}

pub(super) fn positive(word: &str) -> Result<NonZeroU32, ValueError> {
    word.parse().map_err(|_| ValueError::Positive)
}

pub(super) fn count(word: &str) -> Result<usize, ValueError> {
    word.parse().map_err(|_| ValueError::Count)
}

pub(super) fn number(word: &str) -> Result<f64, ValueError> {
    word.parse().map_err(|_| ValueError::Number)
}

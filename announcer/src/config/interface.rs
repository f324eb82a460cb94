//! Which interfaces are meant.

use std::str::FromStr;

use regex::Regex;

/// An interface by name, or all whose names match a regular expression.
#[derive(Clone, Debug)]
pub enum InterfacePattern {
    /// This one; waited for if it does not exist yet.
    Name(String),
    /// Every one that matches; at least one is waited for.
    Regex(Regex),
}

impl InterfacePattern {
    /// Whether an interface of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

impl std::fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

/// Not an interface name and not a regular expression.
#[derive(Debug, thiserror::Error)]
pub enum InterfacePatternError {
    /// The kernel would not take it.
    #[error(
        "{0:?} is not an interface name: 1 to 15 characters without blanks, '/' and ':' (a regular expression stands between slashes, like /ens.*/)"
    )]
    Name(String),
    /// Between slashes, but no regular expression.
    #[error("\"/{expression}/\" is not a regular expression: {}", reason(error))]
    Regex {
        /// Without the slashes.
        expression: String,
        /// Why: over several lines.
        error: regex::Error,
    },
}

/// The last line, after a picture of where it is in the anchored expression.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl FromStr for InterfacePattern {
    type Err = InterfacePatternError;

    fn from_str(s: &str) -> Result<Self, InterfacePatternError> {
        let inner = s.strip_prefix('/').and_then(|s| s.strip_suffix('/'));
        if let Some(expression) = inner {
            // Anchored: `/eth/` must not mean every name with `eth` in it.
            let anchored = Regex::new(&format!("^(?:{expression})$"));
            return anchored.map(Self::Regex).map_err(|error| InterfacePatternError::Regex {
                expression: expression.to_owned(),
                error,
            });
        }
        // dev_valid_name() of the kernel.
        let fits = (1..=15).contains(&s.len()) && s != "." && s != "..";
        if fits && !s.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) {
            Ok(Self::Name(s.to_owned()))
        } else {
            Err(InterfacePatternError::Name(s.to_owned()))
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let pattern: InterfacePattern = "/ens[0-9]+/".parse().expect("a pattern");
        assert!(pattern.matches("ens18"));
        assert!(!pattern.matches("ens18.100"));
        assert!(!pattern.matches("xens18"));
    }
}

//! Errors with what caused them, in one line.

use std::error::Error;

/// The text of an error and of its sources, nothing said twice: many errors say their source's
/// text themselves, and others say nothing of why.
pub fn with_sources(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    let mut parts: Vec<String> = Vec::new();
    for part in chain.map(ToString::to_string) {
        if !parts.iter().any(|said| said.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Told {
        #[error("disk is full")]
        Cause,
        #[error("cannot write: {0}; make room")]
        Repeats(#[source] Box<Told>),
        #[error("cannot start")]
        Silent(#[source] Box<Told>),
    }

    #[test]
    fn each_cause_is_said_once() {
        let full = || Box::new(Told::Cause);
        let repeats = || Told::Repeats(full());
        assert_eq!(with_sources(&repeats()), "cannot write: disk is full; make room");
        let silent = || Told::Silent(full());
        assert_eq!(with_sources(&Told::Silent(Box::new(silent()))), "cannot start: disk is full");
        let both = Told::Silent(Box::new(repeats()));
        assert_eq!(with_sources(&both), "cannot start: cannot write: disk is full; make room");
        let over = Told::Repeats(Box::new(silent()));
        assert_eq!(with_sources(&over), "cannot write: cannot start; make room: disk is full");
        let error = Err::<(), _>(silent()).context("reading it").context("at first");
        let error = error.expect_err("it is one");
        assert_eq!(
            with_sources(error.as_ref()),
            "at first: reading it: cannot start: disk is full"
        );
    }
}

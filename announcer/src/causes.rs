//! Errors with what caused them, in one line.

use std::error::Error;

/// The text of an error and of its sources, each once: many errors say their source's text
/// themselves, and others say nothing of why.
pub fn with_sources(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    let mut parts: Vec<String> = Vec::new();
    for part in chain.map(ToString::to_string) {
        if !parts.last().is_some_and(|last| last.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
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
        let repeats = Told::Repeats(full());
        assert_eq!(with_sources(&repeats), "cannot write: disk is full; make room");
        let silent = Told::Silent(Box::new(Told::Silent(full())));
        assert_eq!(with_sources(&silent), "cannot start: disk is full");
        let both = Told::Silent(Box::new(repeats));
        assert_eq!(with_sources(&both), "cannot start: cannot write: disk is full; make room");
    }
}

//! An error in one line.

use std::error::Error;

/// An error with what caused it. Many errors say their source's text themselves: nothing is
/// said twice.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
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
    #[error("cannot start: {0}; give --file")]
    struct SaysItself(#[source] std::io::Error);

    #[test]
    fn nothing_is_said_twice() {
        let missing = || std::io::Error::other("no such file");
        let said = with_causes(&SaysItself(missing()));
        assert_eq!(said, "cannot start: no such file; give --file");
        let error = Err::<(), _>(missing()).context("reading it").context("starting");
        let error = error.expect_err("it is one");
        assert_eq!(with_causes(error.as_ref()), "starting: reading it: no such file");
        let error = Err::<(), _>(SaysItself(missing())).context("starting").expect_err("one");
        let said = with_causes(error.as_ref());
        assert_eq!(said, "starting: cannot start: no such file; give --file");
    }
}

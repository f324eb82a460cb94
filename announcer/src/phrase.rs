//! Parts of sentences: lists and counts.

/// With commas; of more than `most` the rest is counted.
pub fn list<T: ToString>(all: impl IntoIterator<Item = T>, most: usize) -> String {
    let mut all = all.into_iter();
    let named: Vec<String> = all.by_ref().take(most).map(|one| one.to_string()).collect();
    match all.count() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// So many of what is named in the singular.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted() {
        for (length, told) in [(0, ""), (1, "1"), (2, "1, 2"), (3, "1, 2 and 1 more")] {
            assert_eq!(list(1..=length, 2), told);
        }
        let nodes = [0, 1, 2].map(|n| count(n, "node"));
        assert_eq!(nodes, ["0 nodes", "1 node", "2 nodes"]);
    }
}

//! How explanations and overviews look to people.

use std::fmt;

use super::finding::{Explanation, Link, Verdict};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut of = None;
        for link in &self.chain {
            if of != Some(&link.of) {
                writeln!(f, "{}", link.of)?;
                of = Some(&link.of);
            }
            link.fmt(f)?;
        }
        writeln!(f, "\n{}", self.conclusion)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Problem => "PROBLEM",
        };
        writeln!(f, "  {verdict:<7}  {:<11}  {}", self.link, self.says)?;
        for detail in &self.details {
            writeln!(f, "{:24}{detail}", "")?;
        }
        match &self.remedy {
            Some(remedy) => writeln!(f, "{:24}type: {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Columns as wide as what is in them.
pub(super) fn columns(
    f: &mut fmt::Formatter<'_>,
    head: &[&str],
    rows: &[Vec<String>],
) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.len())).max().unwrap_or(0)
    };
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("{cell:<w$}", w = width(i)));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

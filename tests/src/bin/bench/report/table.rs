//! Figures that belong together, side by side: one row for each case.

use std::fmt;

use serde_json::{Value, json};

use super::{Goal, short};
use crate::samples::Samples;

/// Between two columns.
const GAP: usize = 2;

/// Rows of figures under the same headings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// What the headings mean.
    pub(crate) legend: Option<String>,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// One for each column.
    pub(crate) cells: Vec<Cell>,
    /// What else there is to say.
    pub(crate) note: Option<String>,
}

/// One figure, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    value: Option<f64>,
    goal: Option<Goal>,
    /// Of the measurements of which the figure is the median: the least, and the 95th
    /// percentile.
    spread: Option<(f64, f64)>,
}

impl Table {
    pub(crate) fn new(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let columns = columns.into_iter().collect();
        Self { title: title.into(), legend: None, columns, rows: Vec::new() }
    }

    #[must_use]
    pub(crate) fn legend(mut self, legend: impl Into<String>) -> Self {
        self.legend = Some(legend.into());
        self
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(&row.cells);
            let cells: serde_json::Map<_, _> =
                cells.map(|(column, cell)| ((*column).to_owned(), cell.json())).collect();
            json!({ "name": row.name, "cells": cells, "note": row.note })
        });
        json!({ "title": self.title, "legend": self.legend, "rows": rows.collect::<Vec<_>>() })
    }
}

impl Row {
    pub(crate) fn new(
        name: impl Into<String>,
        cells: impl IntoIterator<Item = impl Into<Cell>>,
    ) -> Self {
        Self { name: name.into(), cells: cells.into_iter().map(Into::into).collect(), note: None }
    }

    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl Cell {
    /// The median; JSON has the spread, too.
    pub(crate) fn median(samples: &Samples) -> Self {
        let spread = Some((samples.min(), samples.percentile(95)));
        Self { spread, ..Self::from(samples.median()) }
    }

    #[must_use]
    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtMost(goal));
        self
    }

    #[must_use]
    pub(crate) fn at_least(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtLeast(goal));
        self
    }

    pub(crate) const fn value(self) -> Option<f64> {
        self.value
    }

    /// `None` without a goal, or without a figure.
    fn met(self) -> Option<bool> {
        self.value.zip(self.goal).map(|(value, goal)| goal.is_met_by(value))
    }

    fn json(self) -> Value {
        let goal = self.goal.map(Goal::bound);
        let mut json = json!({ "value": self.value, "goal": goal, "met": self.met() });
        if let Some((min, p95)) = self.spread {
            json["min"] = min.into();
            json["p95"] = p95.into();
        }
        json
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::from(Some(value))
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        Self { value, ..Self::default() }
    }
}

/// The figure, and its goal behind the sign of how they compare.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.value else { return f.write_str("-") };
        f.write_str(&short(value))?;
        let Some(goal) = self.goal else { return Ok(()) };
        write!(f, " {} {}", goal.sign(value), short(goal.bound()))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printed: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.cells.iter().map(Cell::to_string).collect()).collect();
        let width = |n: usize, column: &str| {
            let cells = printed.iter().filter_map(|row| row.get(n));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(column.chars().count())
        };
        let widths: Vec<_> = self.columns.iter().enumerate().map(|(n, c)| width(n, c)).collect();
        let names = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);

        writeln!(f, "{}", self.title)?;
        if let Some(legend) = &self.legend {
            writeln!(f, "  {legend}")?;
        }
        let mut line = format!("  {:<names$}", "");
        for (column, width) in self.columns.iter().zip(&widths) {
            line += &format!("{:GAP$}{column:>width$}", "");
        }
        writeln!(f, "{}", line.trim_end())?;
        for (row, cells) in self.rows.iter().zip(&printed) {
            let mut line = format!("  {:<names$}", row.name);
            for (cell, width) in cells.iter().zip(&widths) {
                line += &format!("{:GAP$}{cell:>width$}", "");
            }
            if let Some(note) = &row.note {
                line += &format!("{:GAP$}{note}", "");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let table = Table::new("moves", ["unanswered", "overlap ms"]);
        let mut table = table.legend("asked 1000 times a second");
        let cells = [Cell::from(0.0).at_most(0.0), Cell::from(61.25).at_most(50.0)];
        table.rows.push(Row::new("SIGTERM", cells));
        table.rows.push(Row::new("carrier", [Some(12.0), None]).note("fast"));
        table
    }

    #[test]
    fn each_figure_is_compared_with_its_goal() {
        let expected = "\
moves
  asked 1000 times a second
           unanswered  overlap ms
  SIGTERM       0 ≤ 0   61.2 > 50
  carrier          12           -  fast
";
        assert_eq!(table().to_string(), expected);
    }

    #[test]
    fn a_median_has_its_spread_in_json() {
        let samples = Samples::new([0.5, 0.25, 1.0]).unwrap();
        let cell = Cell::median(&samples).at_least(0.97);
        assert_eq!(cell.to_string(), "0.50 < 0.97");
        let expected = json!({ "value": 0.5, "goal": 0.97, "met": false, "min": 0.25, "p95": 1.0 });
        assert_eq!(cell.json(), expected);
    }

    #[test]
    fn the_json_names_the_columns() {
        let json = table().json();
        let overlap = &json["rows"][0]["cells"]["overlap ms"];
        assert_eq!(*overlap, json!({ "value": 61.25, "goal": 50.0, "met": false }));
        assert_eq!(json["rows"][1]["cells"]["overlap ms"]["value"], Value::Null);
        assert_eq!(json["rows"][1]["note"], "fast");
    }
}

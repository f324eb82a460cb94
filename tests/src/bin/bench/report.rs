//! Figures beside their goals, as text and as JSON.

mod goal;
mod table;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    thread,
};

use announcer_tests::cluster::Plane;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::goal::Goal;
pub(crate) use self::table::{Cell, Row, Table};
use crate::{plot::Plot, samples::Samples};

/// What one run of one benchmark measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    /// With which API server, if there is one.
    pub(crate) plane: Option<Plane>,
    pub(crate) quick: bool,
    pub(crate) measured: Measured,
}

/// The figures of a benchmark, or of a part of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) figures: Vec<Figure>,
    pub(crate) tables: Vec<Table>,
    /// Drawn from figures that are in the tables too.
    pub(crate) plots: Vec<Plot>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) goal: Option<Goal>,
    /// What else is known of it, in the same unit unless the name says otherwise.
    pub(crate) details: Vec<(&'static str, f64)>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { name: name.into(), unit, value, goal: None, details: Vec::new() }
    }

    /// The median, with the spread of the samples as details.
    pub(crate) fn median(name: impl Into<String>, unit: &'static str, samples: &Samples) -> Self {
        let figure = Self::new(name, unit, samples.median());
        figure
            .detail("min", samples.min())
            .detail("p95", samples.percentile(95))
            .detail("max", samples.max())
            .detail("n", samples.len() as f64)
    }

    #[must_use]
    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtMost(goal));
        self
    }

    #[must_use]
    pub(crate) fn detail(mut self, name: &'static str, value: f64) -> Self {
        self.details.push((name, value));
        self
    }

    /// `None` without a goal.
    fn met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.is_met_by(self.value))
    }

    fn json(&self) -> Value {
        let details: serde_json::Map<String, Value> =
            self.details.iter().map(|&(name, value)| (name.into(), json!(value))).collect();
        json!({
            "name": self.name, "unit": self.unit, "value": self.value,
            "goal": self.goal.map(Goal::bound), "met": self.met(), "details": details,
        })
    }
}

impl Measured {
    /// What was measured besides.
    pub(crate) fn add(&mut self, more: impl Into<Self>) {
        let Self { figures, tables, plots } = more.into();
        self.figures.extend(figures);
        self.tables.extend(tables);
        self.plots.extend(plots);
    }
}

impl From<Vec<Figure>> for Measured {
    fn from(figures: Vec<Figure>) -> Self {
        Self { figures, ..Self::default() }
    }
}

impl From<Table> for Measured {
    fn from(table: Table) -> Self {
        Self { tables: vec![table], ..Self::default() }
    }
}

impl Report {
    /// Where it is written to: runs that cannot be compared do not replace each other.
    pub(crate) fn file_name(&self) -> String {
        let plane = if self.plane == Some(Plane::Real) { "-real" } else { "" };
        format!("{}{plane}.json", self.bench)
    }

    pub(crate) fn json(&self) -> Value {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = thread::available_parallelism().map_or(0, usize::from);
        let Measured { figures, tables, .. } = &self.measured;
        let figures: Vec<_> = figures.iter().map(Figure::json).collect();
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        json!({
            "bench": self.bench, "controlPlane": self.plane.map(plane_name), "quick": self.quick,
            "machine": { "kernel": kernel.trim(), "cpus": cpus },
            "figures": figures,
            "tables": tables,
        })
    }

    /// Writes the figures to `file`, and the plots beside it. Returns what was written.
    pub(crate) fn write(&self, file: &Path) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        let mut write = |file: PathBuf, text: String| {
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            written.push(file);
            anyhow::Ok(())
        };
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("making {}", directory.display()))?;
        }
        write(file.to_owned(), format!("{:#}\n", self.json()))?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        for plot in &self.measured.plots {
            write(file.with_file_name(format!("{stem}-{}.svg", plot.name)), plot.svg())?;
        }
        Ok(written)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick = if self.quick { " (quick: not to be quoted)" } else { "" };
        let plane = self.plane.map(plane_name).map(|plane| format!(", {plane} control plane"));
        writeln!(f, "{}{}{quick}", self.bench, plane.unwrap_or_default())?;
        let Measured { figures, tables, .. } = &self.measured;
        let names = figures.iter().map(|figure| figure.name.chars().count());
        let width = names.max().unwrap_or(0);
        for figure in figures {
            let Figure { name, unit, value, goal, details } = figure;
            let measured = format!("{} {unit}", short(*value));
            let goal = goal.map_or(String::new(), |goal| format!("goal {}", short(goal.bound())));
            let verdict = match figure.met() {
                Some(true) => "ok",
                Some(false) => "missed",
                None => "",
            };
            let details: Vec<_> =
                details.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
            let line = format!(
                "  {name:<width$}  {measured:>11}  {goal:<9}  {verdict:<6}  {}",
                details.join("  ")
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for table in tables {
            write!(f, "\n{table}")?;
        }
        Ok(())
    }
}

const fn plane_name(plane: Plane) -> &'static str {
    match plane {
        Plane::Embedded => "embedded",
        Plane::Real => "real",
    }
}

/// Three digits or less; whole numbers as such.
pub(crate) fn short(value: f64) -> String {
    let magnitude = value.abs();
    if value.fract() == 0.0 || magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let reply = Samples::new([107.93, 104.0, 120.25]).unwrap();
        let figures = vec![
            Figure::median("reply", "ns", &reply).at_most(110.0),
            Figure::new("idle CPU", "%", 0.625).at_most(0.5),
            Figure::new("latency", "us", 12.34),
        ];
        Report { bench: "datapath", plane: None, quick: true, measured: figures.into() }
    }

    #[test]
    fn each_figure_stands_beside_its_goal() {
        let expected = "\
datapath (quick: not to be quoted)
  reply          108 ns  goal 110   ok      min 104  p95 120  max 120  n 3
  idle CPU       0.62 %  goal 0.50  missed
  latency       12.3 us
";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn the_json_says_the_same_unrounded() {
        let json = report().json();
        assert_eq!(
            json["figures"][0],
            json!({
                "name": "reply", "unit": "ns", "value": 107.93, "goal": 110.0, "met": true,
                "details": { "min": 104.0, "p95": 120.25, "max": 120.25, "n": 3.0 },
            })
        );
        assert_eq!(json["figures"][1]["met"], false);
        assert_eq!(json["figures"][2]["met"], Value::Null);
        assert_eq!(json["quick"], true);
    }

    #[test]
    fn runs_with_different_control_planes_are_told_apart() {
        let of = |plane| Report { plane, ..report() };
        let [none, embedded, real] = [None, Some(Plane::Embedded), Some(Plane::Real)].map(of);
        assert_ne!(embedded.file_name(), real.file_name());
        assert_eq!(none.json()["controlPlane"], Value::Null);
        assert_eq!(real.json()["controlPlane"], "real");
        assert!(real.to_string().starts_with("datapath, real control plane (quick"), "{real}");
    }
}

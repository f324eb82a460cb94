//! What the checks say: findings, grouped, and what to do first.

use std::fmt;

use serde::Serialize;

use crate::phrase::count;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, less well than it could, or not always.
    Warning,
    /// It does not work.
    Failure,
}

/// What a finding is about; in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The kernel and what it can do.
    Kernel,
    /// What the process may do.
    Permissions,
    /// Interfaces, hooks, and who is there.
    Network,
    /// Settings of the kernel that bear on ARP.
    Sysctls,
    /// The machine and its clocks.
    Machine,
    /// The API server.
    Cluster,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Permissions => "permissions",
            Self::Network => "network",
            Self::Sysctls => "sysctls",
            Self::Machine => "machine",
            Self::Cluster => "cluster",
        })
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where it belongs.
    pub group: Group,
    /// How bad it is.
    pub level: Level,
    /// What was looked at, in a word or two: the same on every machine.
    pub check: String,
    /// What was found.
    pub found: String,
    /// What to do, or where to look; always there unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(group: Group, check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { group, level: Level::Ok, check: check.into(), found: found.into(), remedy: None }
    }

    /// As it should be, and where to look if it does not work all the same.
    pub fn hint(
        group: Group,
        check: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { remedy: Some(hint.into()), ..Self::ok(group, check, found) }
    }

    /// It works, less well than it could, or not always.
    pub fn warning(
        group: Group,
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, ..Self::hint(group, check, found, remedy) }
    }

    /// It does not work.
    pub fn failure(
        group: Group,
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Failure, ..Self::hint(group, check, found, remedy) }
    }
}

/// All findings. Displayed it is the output of `--output table`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Counts by level.
    pub ok: usize,
    /// Counts by level.
    pub warnings: usize,
    /// Counts by level.
    pub failures: usize,
    /// In the order of their groups.
    pub findings: Vec<Finding>,
}

impl Report {
    /// In the order of the groups, and within one in the order given.
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.group);
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self {
            ok: count(Level::Ok),
            warnings: count(Level::Warning),
            failures: count(Level::Failure),
            findings,
        }
    }

    /// How many checks failed.
    pub const fn failures(&self) -> usize {
        self.failures
    }

    /// The worst finding, of equals the first: what it needs, what comes later may rest on.
    fn worst(&self) -> Option<&Finding> {
        let mut bad = self.findings.iter().filter(|finding| finding.level > Level::Ok);
        let first_failure = self.findings.iter().find(|it| it.level == Level::Failure);
        first_failure.or_else(|| bad.next())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|it| it.check.chars().count()).max().unwrap_or(0);
        let mut group = None;
        for finding in &self.findings {
            if group.replace(finding.group) != Some(finding.group) {
                writeln!(f, "{}", finding.group)?;
            }
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Failure => "FAILURE",
            };
            writeln!(f, "  {level:<7}  {:<width$}  {}", finding.check, finding.found)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(f, "           -> {remedy}")?;
            }
        }
        let Self { ok, warnings, failures, .. } = self;
        writeln!(f, "\n{ok} ok, {}, {}", count(*warnings, "warning"), count(*failures, "failure"))?;
        if let Some(Finding { check, remedy: Some(remedy), .. }) = self.worst() {
            writeln!(f, "First: {check}: {remedy}")?;
        }
        Ok(())
    }
}

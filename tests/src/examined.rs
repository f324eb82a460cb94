//! What `announcer doctor -o json` says.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::daemon::Daemon;

/// One run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The exit code; `None`: a signal.
    pub code: Option<i32>,
    /// Word by word.
    pub said: String,
    /// The same, understood.
    pub findings: Vec<Finding>,
}

/// One finding.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    /// ok, warning or failure.
    pub level: String,
    /// What was looked at.
    pub check: String,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(default)]
    pub remedy: Option<String>,
}

impl Report {
    /// Waits for the end of a doctor that was told `-o json`.
    ///
    /// # Errors
    /// It still runs after `within`, or what it said is no report.
    pub fn of(mut doctor: Daemon, within: Duration) -> Result<Self> {
        #[derive(Deserialize)]
        struct Written {
            findings: Vec<Finding>,
        }
        let code = doctor.wait_exit(within)?.code();
        // The last words come by the other output, at any time.
        let lines = doctor.log().into_iter().map(|line| line.text + "\n");
        let said: String = lines.filter(|line| !line.starts_with("announcer: ")).collect();
        let Written { findings } =
            serde_json::from_str(&said).with_context(|| format!("no report: {said}"))?;
        Ok(Self { code, said, findings })
    }

    /// What it says of this check alone.
    #[must_use]
    pub fn on(&self, check: &str) -> Self {
        let mut report = self.clone();
        report.findings.retain(|it| it.check == check);
        report
    }

    /// The remedy of a finding of this level whose text has `part`. Panics where there is
    /// none, and where anything but ok comes without a remedy.
    #[track_caller]
    #[expect(clippy::panic, reason = "as an assertion, which tests are made of")]
    pub fn find(&self, level: &str, part: &str) -> String {
        let is_it = |it: &&Finding| it.level == level && it.found.contains(part);
        let Some(found) = self.findings.iter().find(is_it) else {
            panic!("no {level} with {part:?} in\n{}", self.said)
        };
        let remedy = found.remedy.clone().unwrap_or_default();
        assert!(level == "ok" || !remedy.is_empty(), "{found:?}");
        remedy
    }

    /// Those that must be mended.
    pub fn failures(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|it| it.level == "failure").collect()
    }
}

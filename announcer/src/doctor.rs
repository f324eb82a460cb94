//! `announcer doctor`: whether this machine can announce, and what to do where it cannot.
//!
//! [`facts`] says what was found, [`gather`] finds it out, [`checks`] judge it, [`report`]
//! is what they say. Nothing here changes the machine: no program is attached, nothing is
//! pinned, no setting is written, and the lock of the daemon is looked at, not taken.

pub mod checks;
pub mod facts;
pub mod gather;
pub mod report;
pub mod rights;

use std::io::Read as _;

use anyhow::Context as _;

use self::{facts::Facts, report::Report};
use crate::{
    cli::{DoctorArgs, OutputFormat},
    exit::{Code, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// [`Code::CheckFailed`] when a check failed, after the report has been written;
/// [`Code::Usage`] for facts that cannot be read and for timings that cannot work together.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let facts = match &args.from {
        Some(path) => read(path).map_err(|error| Failure { code: Code::Usage, error })?,
        None => gather::gather(args)?,
    };
    if args.facts {
        return output::show_value(&facts, OutputFormat::Json);
    }
    let report = Report::new(checks::all(&facts));
    output::show(&report, &report, args.output)?;
    match report.failures() {
        0 => Ok(()),
        1 => Err(failed("1 check failed")),
        n => Err(failed(&format!("{n} checks failed"))),
    }
}

fn failed(what: &str) -> Failure {
    Failure { code: Code::CheckFailed, error: anyhow::anyhow!("{what}; see the report") }
}

fn read(path: &std::path::Path) -> anyhow::Result<Facts> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("--from -")?;
    } else {
        text =
            std::fs::read_to_string(path).with_context(|| format!("--from {}", path.display()))?;
    }
    serde_json::from_str(&text).with_context(|| {
        format!(
            "--from {}: not what `announcer doctor --facts` of this version prints",
            path.display()
        )
    })
}

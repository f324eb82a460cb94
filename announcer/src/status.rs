//! What `announcer status` says: out of what is pinned, and of what the daemon says of
//! itself where one runs.

mod daemon;
mod interface;
mod table;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use self::daemon::{Daemon, DaemonStatus, Origin};
use self::{daemon::VipStatus, interface::InterfaceStatus};
use crate::{
    datapath::Inspection,
    ownership::report::Report,
    types::{BootTime, Vip},
};

/// One network namespace. Serialised it is the output of `--output json` and `yaml`;
/// displayed, that of `--output table`, and with `{:#}` that of `wide`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    daemon: Daemon,
    /// As the daemon sees them; absent when none was asked, or its ownership loop hangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vips: Option<Vec<VipStatus>>,
    interfaces: Vec<InterfaceStatus>,
    /// Why there may be interfaces that are not told of; absent when all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interfaces_error: Option<String>,
}

impl Status {
    /// What is pinned, as of `now`, where no daemon runs.
    pub fn new(found: &[Inspection], now: BootTime) -> Self {
        let interfaces = found.iter().map(|found| InterfaceStatus::new(found, now)).collect();
        Self { daemon: Daemon::Absent, vips: None, interfaces, interfaces_error: None }
    }

    /// With what the daemon says of itself; no report: its ownership loop does not answer.
    /// `rates` are the requests answered a second.
    #[must_use]
    pub fn with_daemon(
        self,
        found: &[Inspection],
        origin: &Origin,
        report: Option<&Report>,
        rates: &BTreeMap<Vip, f64>,
    ) -> Self {
        let answered = answered(found);
        let vip = |(vip, seen): (&Vip, _)| {
            let answered = answered.get(vip).copied().unwrap_or(0);
            (*vip, seen, answered, rates.get(vip).copied())
        };
        let vips = report.map(|report| {
            let all = report.vips.iter().map(vip);
            all.map(|(vip, seen, answered, rate)| {
                VipStatus::new(report.at, vip, seen, answered, rate)
            })
            .collect()
        });
        let daemon = Daemon::Running(DaemonStatus::new(origin, report));
        Self { daemon, vips, ..self }
    }

    /// With what is known of a daemon that does not say it itself.
    #[must_use]
    pub fn with_unasked(self, daemon: Daemon) -> Self {
        Self { daemon, ..self }
    }

    /// What is attached and pinned could not be read, for this reason.
    #[must_use]
    pub fn with_unreadable(self, why: String) -> Self {
        Self { interfaces_error: Some(why), ..self }
    }
}

/// Requests answered for each VIP, over all interfaces.
pub fn answered(found: &[Inspection]) -> BTreeMap<Vip, u64> {
    let mut answered = BTreeMap::new();
    for maps in found.iter().filter_map(|found| found.maps.as_ref().ok()) {
        for (vip, pinned) in &maps.vips {
            *answered.entry(*vip).or_default() += pinned.answered;
        }
    }
    answered
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = f.alternate();
        match &self.daemon {
            Daemon::Running(daemon) => {
                table::write(f, daemon, self.vips.as_deref(), wide)?;
                writeln!(f)?;
            }
            Daemon::Hung(holder) => writeln!(
                f,
                "the daemon hangs: {holder}; what is pinned goes on until its time is over\n"
            )?,
            Daemon::Absent | Daemon::Unknown { .. } => {}
        }
        if let Some(why) = &self.interfaces_error {
            return writeln!(f, "what is attached and pinned cannot be read: {why}");
        }
        if self.interfaces.is_empty() {
            return writeln!(f, "nothing is attached in this network namespace");
        }
        // Where the daemon tells of the VIPs, the maps hold nothing but the same again.
        let with_vips = wide || self.vips.is_none();
        for (i, interface) in self.interfaces.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            interface.write(f, with_vips)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! When a cluster has come to rest.

use std::time::{Duration, Instant};

use announcer_apiserver::{LEASES, Match};
use announcer_tests::cluster::VipLease;
use anyhow::{Result, bail};

use crate::interrupt;

/// What is rebalanced moves several times a second.
const QUIET: Duration = Duration::from_secs(5);

/// Waits until no VIP lease has been written for some seconds, and says since when.
///
/// # Errors
/// They still were after `within`.
pub(crate) fn until_vips_rest(
    audit: &announcer_apiserver::Audit,
    within: Duration,
) -> Result<Instant> {
    let writes = Match::any().writes().resource(LEASES).name_prefix(VipLease::PREFIX);
    let deadline = Instant::now() + within;
    loop {
        let (now, before) = (Instant::now(), audit.count(&writes));
        interrupt::pause(QUIET)?;
        if audit.count(&writes) == before {
            let last = audit.recent(&writes).pop();
            return Ok(last.map_or(now, |write| write.at));
        }
        if now > deadline {
            bail!("VIPs still change hands after {within:?}");
        }
    }
}

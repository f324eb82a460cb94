//! Finds out the facts: reads files, asks the kernel and the API server.

mod api;
mod clock;
mod host;
mod network;

use std::time::Duration;

use super::facts::{Daemon, Facts, Pulse, Settings};
use crate::{
    causes::with_sources,
    cli::DoctorArgs,
    datapath::{
        namespace::InstanceLock,
        survey::{self, Found},
    },
    exit::{Code, Failure},
    observe::socket::{self, AskError},
    ownership::timing::Timing,
};

/// Clocks are compared over so much time at least: a reading is off by a few microseconds,
/// so this tells parts per million to some ten.
const COMPARED_FOR: Duration = Duration::from_millis(300);

/// Finds out all that is asked for. What cannot be found out is a fact, too.
///
/// # Errors
/// Timings that cannot work together; no runtime.
pub fn gather(args: &DoctorArgs) -> Result<Facts, Failure> {
    let timing = Timing::new(args.timing.lease_duration, args.timing.renew_interval)
        .map_err(|error| Failure { code: Code::Usage, error: error.into() })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::unexpected)?;
    let start = clock::Reading::now();
    let (daemon, network, cluster) = runtime.block_on(async {
        let daemon = daemon().await;
        let network = network::network(&args.wire.interface).await;
        let is_cluster = !args.no_cluster && args.static_vip.is_empty();
        let cluster = if is_cluster { Some(api::cluster(args, timing).await) } else { None };
        (daemon, network, cluster)
    });
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings(args, timing),
        kernel: host::kernel(),
        process: host::process(),
        bpffs: survey::bpffs(),
        network,
        daemon,
        machine: host::machine(),
        clock: clock::compare(start, COMPARED_FOR),
        cluster,
    };
    Ok(facts)
}

/// The daemon that has the lock, and whether it answers.
async fn daemon() -> Found<Option<Daemon>> {
    let holder = InstanceLock::holder().map_err(|error| error.to_string())?;
    let Some(holder) = holder else { return Ok(None) };
    let pulse = match socket::is_well().await {
        Ok(()) => Pulse::Turns,
        Err(AskError::Silent { waited, .. }) => {
            Pulse::Hangs(format!("it has not answered for {waited:?}: it is stopped or stuck"))
        }
        Err(AskError::Unwell(why)) => Pulse::Hangs(why),
        Err(AskError::NoDaemon) => Pulse::Unknown("its status socket is not there (yet)".into()),
        Err(error) => Pulse::Unknown(with_sources(&error)),
    };
    Ok(Some(Daemon { holder, pulse }))
}

fn settings(args: &DoctorArgs, timing: Timing) -> Settings {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Settings {
        interfaces: args.wire.interface.iter().map(ToString::to_string).collect(),
        hook: args.wire.hook.to_string(),
        static_vips: args.static_vip.iter().map(ToString::to_string).collect(),
        lease_duration_ms: millis(timing.lease_duration()),
        renew_interval_ms: millis(timing.renew_interval()),
    }
}

//! What one TCP stream gets through with a program in its way (iperf3).

use std::{process::Command, thread};

use announcer_tests::{
    bpf::{Attached, Hook},
    daemon::{Daemon, DaemonBuilder},
    lab::UPLINK,
    netns::NetNs,
};
use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Extent, NO_PROGRAM, and_hooks,
    wires::{ASKER, HOOKS, PATIENCE, STATION, VIP, Wire},
};
use crate::{
    interrupt,
    plot::Plot,
    progress,
    report::{Cell, Measured, Row, Table},
    samples::Samples,
};

/// With tcx at least this, of the throughput without a program.
const GOAL: f64 = 0.97;
const NIC: &str = "eth0";
/// Seconds. Far more than a stream takes.
const TOO_LONG: &str = "15";

/// A cable with a stream's source at one end and its sink, and maybe an announcer, at the
/// other.
struct Stream {
    wire: Wire,
    _server: Daemon,
    _announcer: Option<Daemon>,
    _peer: Option<Attached>,
}

pub(super) fn measure(extent: &Extent) -> Result<Measured> {
    progress("TCP throughput");
    let hooks = [None].into_iter().chain(HOOKS.map(Some));
    let streams = hooks.map(Stream::new).collect::<Result<Vec<_>>>()?;
    let mut rounds = Vec::new();
    for _ in 0..extent.streams {
        interrupt::check()?;
        let all = streams.iter().map(Stream::gigabits_a_second);
        rounds.push(all.collect::<Result<Vec<_>>>()?);
    }

    let title = "Throughput of one TCP stream (iperf3), Gbit/s";
    let mut table = Table::new(title, and_hooks(NO_PROGRAM))
        .legend(format!("medians of {} rounds of a second each", extent.streams));
    let all = (0..streams.len()).map(|n| Ok(Cell::median(&of(&rounds, n, |side, _| side)?)));
    table.rows.push(Row::new("Gbit/s", all.collect::<Result<Vec<_>>>()?));
    let plots = vec![Plot::bars("throughput", &table)];
    let mut shares = vec![Cell::default()];
    for n in 1..streams.len() {
        let share = Cell::median(&of(&rounds, n, |side, without| side / without)?);
        // The first hook is tcx.
        shares.push(if n == 1 { share.at_least(GOAL) } else { share });
    }
    table.rows.push(Row::new("of that with no program", shares));
    Ok(Measured { plots, ..table.into() })
}

/// What a side did in each round, beside what the first did in the same.
fn of(rounds: &[Vec<f64>], side: usize, compare: fn(f64, f64) -> f64) -> Result<Samples> {
    let each = rounds.iter().filter_map(|round| Some(compare(*round.get(side)?, *round.first()?)));
    Samples::new(each).context("there are no rounds")
}

impl Stream {
    fn new(hook: Option<Hook>) -> Result<Self> {
        let client = NetNs::new("client")?;
        let wire = Wire::new(&client, NIC, VIP)?;
        client.ip(&format!("address add {ASKER}/24 dev {NIC}"))?;
        let peer = hook.map(|hook| wire.peer_for(hook)).transpose()?.flatten();
        let announcer = hook.map(|hook| {
            let daemon = DaemonBuilder::run(UPLINK)?
                .args(["--hook", hook.flag(), "--static-vip", &VIP.to_string()])
                .start(wire.station())?;
            wire.probe()?.wait_first_answer(PATIENCE).with_context(|| daemon.print())?;
            anyhow::Ok(daemon)
        });
        let announcer = announcer.transpose()?;
        let mut server = Command::new("iperf3");
        server.args(["--server", "--forceflush"]);
        let server = Daemon::start(server, "iperf3", wire.station())?;
        server.wait_for_log("Server listening", PATIENCE)?;
        Ok(Self { wire, _server: server, _announcer: announcer, _peer: peer })
    }

    /// As the receiver counts them, for a second.
    fn gigabits_a_second(&self) -> Result<f64> {
        let station = STATION.to_string();
        let mut args = vec![TOO_LONG, "iperf3", "--client", &station, "--time", "1", "--json"];
        // Where the scheduler puts the two would be most of what is measured.
        if thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
            args.extend(["--affinity", "0,1"]);
        }
        let said = self.wire.client().tool("timeout", &args, "")?;
        let said: Value = serde_json::from_str(&said).context("reading what iperf3 says")?;
        let bits = said.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
        Ok(bits.context("iperf3 does not say what was received")? / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_same_round() {
        let rounds = [vec![20.0, 19.0], vec![10.0, 9.9], vec![40.0, 20.0]];
        let shares = of(&rounds, 1, |side, without| side / without).unwrap();
        assert!((shares.median() - 0.95).abs() < 1e-9, "{shares:?}");
        assert!(of(&[], 1, |side, _| side).is_err());
    }
}

//! Many nodes without networks, in one process: announcer/examples/fleet.rs.

use std::{env, net::TcpListener, path::PathBuf, process::Command, time::Duration};

use announcer_apiserver::{ApiServer, LEASES, NAMESPACES};
use announcer_tests::{
    cluster::{NAMESPACE, NodeLease, Timing, VipLease},
    daemon::{self, Daemon},
    netns::NetNs,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::addresses;

/// Names the program, when it is not beside the announcer.
const BINARY: &str = "BENCH_FLEET";
/// What is asked at rest does not depend on them.
const VIPS: u32 = 10;
/// Descriptors for a few connections of each node, at both ends.
const DESCRIPTORS: libc::rlim_t = 65_536;

/// The nodes, and the API server that they are clients of.
pub(super) struct Fleet {
    // In the order in which they have to go.
    process: Daemon,
    server: ApiServer,
}

impl Fleet {
    /// Starts them in a namespace of their own, and waits until all sessions are open and
    /// all VIPs held.
    pub(super) fn start(nodes: u32, timing: Timing, within: Duration) -> Result<Self> {
        allow_descriptors()?;
        let ns = NetNs::new("fleet")?;
        let listener = ns.run(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let server = ApiServer::start(listener)?;
        let namespace = json!({ "metadata": { "name": NAMESPACE } });
        server.objects().create(&NAMESPACES, "", namespace)?;
        let mut command = Command::new(binary()?);
        command.args(["--server", &server.url(), "--namespace", NAMESPACE]);
        command.args(["--nodes", &nodes.to_string(), "--vips", &VIPS.to_string()]);
        command.args(["--lease-duration", &format!("{}ms", timing.lease.as_millis())]);
        command.args(["--renew-interval", &format!("{}ms", timing.renew.as_millis())]);
        let process = Daemon::start(command, "fleet", &ns)?;
        let fleet = Self { process, server };
        for n in 1..=nodes {
            fleet.wait_lease(&NodeLease::name(&format!("node-{n}")), within)?;
        }
        for n in 0..VIPS {
            fleet.wait_lease(&VipLease::name(addresses::beyond(n)), within)?;
        }
        Ok(fleet)
    }

    pub(super) fn server(&self) -> &ApiServer {
        &self.server
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it names a holder.
    fn wait_lease(&self, name: &str, within: Duration) -> Result<()> {
        let held = |lease: Option<&Value>| {
            let holder = lease.and_then(|lease| lease.pointer("/spec/holderIdentity"));
            holder.and_then(Value::as_str).is_some_and(|holder| !holder.is_empty())
        };
        let objects = self.server.objects();
        let waited = objects.wait_for(&LEASES, NAMESPACE, name, held, within);
        waited.with_context(|| format!("what the fleet said:\n{}", self.process.print()))?;
        Ok(())
    }
}

fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY) {
        return Ok(path.into());
    }
    let beside = daemon::binary()?.with_file_name("examples").join("fleet");
    ensure!(
        beside.is_file(),
        "there is no {}: run `cargo build --release -p announcer --example fleet`, or set {BINARY}",
        beside.display()
    );
    Ok(beside)
}

/// For this process and those that it starts.
fn allow_descriptors() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid, writable rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_cur.max(limit.rlim_max.min(DESCRIPTORS));
    // SAFETY: a valid rlimit.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    ensure!(set == 0, "cannot allow for {DESCRIPTORS} descriptors");
    Ok(())
}

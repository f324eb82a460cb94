//! A cluster to run announcers in: a lab, an API server with a Node object for each
//! node, Services, and one announcer per node.

mod leases;
mod maps;
mod nodes;
mod objects;
mod observed;
mod plane;
mod policies;
mod traffic;

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use announcer_apiserver::{ApiServer, Audit, LEASES, Match};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tempfile::TempDir;

use self::plane::Server;
pub use self::{
    leases::{Held, LeaseState, NodeLease, VipLease},
    maps::MapEntry,
    observed::{HTTP_PORT, Samples},
    plane::{Objects, Plane},
    policies::{gateways, policies},
};
use crate::{
    controlplane::Pooled,
    daemon::{Daemon, DaemonBuilder, Signal},
    lab::{Lab, Node, UPLINK},
    scratch,
};

/// The namespace of the announcers' Leases.
pub const NAMESPACE: &str = "announcer-system";
/// The namespace of the Services.
pub const SERVICES_IN: &str = "default";
/// The label that makes a Service an announced one, and its value.
pub const ANNOUNCE: (&str, &str) = ("l2announcer.io/announce", "true");
/// Time for what takes milliseconds, on a machine that does other things besides.
pub const SOON: Duration = Duration::from_secs(20);

/// Lease timings of all announcers of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// `--lease-duration`, D: how long a silent node stays in possession.
    pub lease: Duration,
    /// `--renew-interval`.
    pub renew: Duration,
}

impl Timing {
    /// The announcer's defaults: 3 s and 1 s.
    pub const DEFAULT: Self =
        Self { lease: Duration::from_millis(3000), renew: Duration::from_millis(1000) };

    /// How long after its last confirmed renewal a holder goes on answering at most: D
    /// less the margin of a fifth.
    pub fn validity(self) -> Duration {
        self.lease * 4 / 5
    }
}

/// N nodes, a client, and an API server, whose audit log knows each node's announcer by
/// the node's name. No announcer is started yet: see [`Self::start`].
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they have to go.
    daemons: BTreeMap<usize, Daemon>,
    proxies: Vec<Daemon>,
    kubeconfigs: TempDir,
    server: Server,
    lab: Lab,
    /// What the nodes are called in the cluster, node 1 first.
    names: Vec<String>,
    timing: Timing,
    args: Vec<String>,
}

impl Cluster {
    /// Builds a cluster of `nodes` Ready nodes, with further arguments for every
    /// announcer.
    ///
    /// # Errors
    /// Those of [`Lab::new`], of the temporary directory for kubeconfig files, and of
    /// [`crate::controlplane::ControlPlane::start`].
    pub fn new<'a>(
        plane: Plane,
        nodes: u8,
        timing: Timing,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let (lab, server) = Server::start(plane, nodes)?;
        let kubeconfigs = scratch::directory("lab")?;
        let args = args.into_iter().map(str::to_owned).collect();
        let names = lab.nodes().iter().map(|node| node.name.clone()).collect();
        let daemons = BTreeMap::new();
        let proxies = Vec::new();
        let mut cluster = Self { daemons, proxies, kubeconfigs, server, lab, names, timing, args };
        for node in cluster.lab.nodes() {
            cluster.set_node_ready(&node.name, true)?;
            cluster.introduce(node)?;
        }
        cluster.proxies = cluster.start_proxies()?;
        Ok(cluster)
    }

    /// Gives `node`'s announcer what it needs to be known to the API server.
    fn introduce(&self, node: &Node) -> Result<()> {
        let kubeconfig = self.kubeconfig(node);
        match &self.server {
            Server::Embedded(server) => fs::write(kubeconfig, server.kubeconfig(&node.name))?,
            Server::Real(control) => {
                control.introduce(&node.name, &self.token(node), &kubeconfig)?;
            }
        }
        Ok(())
    }

    /// The hosts and their cables.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The objects of the API server.
    pub fn objects(&self) -> Objects<'_> {
        self.server.objects()
    }

    /// What the announcers asked of the API server.
    pub fn audit(&self) -> &Audit {
        self.server.audit()
    }

    /// The embedded API server, to torment it.
    ///
    /// # Panics
    /// The cluster has a real one.
    #[expect(clippy::panic, reason = "a test that asks for it is itself wrong")]
    pub fn server(&self) -> &ApiServer {
        match &self.server {
            Server::Embedded(server) => server,
            Server::Real(_) => panic!("the faults of the embedded API server, of a real one"),
        }
    }

    /// The real control plane.
    ///
    /// # Panics
    /// The cluster has the embedded API server.
    #[expect(clippy::panic, reason = "a test that asks for it is itself wrong")]
    pub fn control_plane(&self) -> &Pooled {
        match &self.server {
            Server::Real(control) => control,
            Server::Embedded(_) => panic!("the control plane of an embedded API server"),
        }
    }

    /// The same, to stop and start it; no other test gets it afterwards.
    ///
    /// # Panics
    /// As [`Self::control_plane`].
    #[expect(clippy::panic, reason = "a test that asks for it is itself wrong")]
    pub fn control_plane_mut(&mut self) -> &mut Pooled {
        match &mut self.server {
            Server::Real(control) => control,
            Server::Embedded(_) => panic!("the control plane of an embedded API server"),
        }
    }

    /// The lease timings.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Which API server it has.
    pub fn plane(&self) -> Plane {
        match self.server {
            Server::Embedded(_) => Plane::Embedded,
            Server::Real(_) => Plane::Real,
        }
    }

    /// Where nodes find the API server.
    pub fn url(&self) -> String {
        match &self.server {
            Server::Embedded(server) => server.url(),
            Server::Real(control) => control.url(),
        }
    }

    /// How an administrator starts kubectl, on the control host.
    ///
    /// # Errors
    /// The control plane's programs are gone.
    pub fn kubectl(&self) -> Result<String> {
        match &self.server {
            Server::Embedded(_) => {
                let kubeconfig = self.kubeconfig(self.lab.node(1));
                Ok(format!("kubectl --kubeconfig {}", kubeconfig.display()))
            }
            Server::Real(control) => control.kubectl_command_line(),
        }
    }

    /// The temporary directories: what would be left behind by a process that is killed.
    pub fn directories(&self) -> Vec<PathBuf> {
        let control = match &self.server {
            Server::Embedded(_) => None,
            Server::Real(control) => Some(control.directory().to_owned()),
        };
        [self.kubeconfigs.path().to_owned()].into_iter().chain(control).collect()
    }

    /// The file by which `node` is known to the API server.
    pub fn kubeconfig(&self, node: &Node) -> PathBuf {
        self.kubeconfigs.path().join(format!("{}.kubeconfig", node.name))
    }

    /// The file with the token of `node`'s announcer, where the API server is a real one.
    pub fn token(&self, node: &Node) -> PathBuf {
        self.kubeconfigs.path().join(format!("{}.token", node.name))
    }

    /// The command line of node `n`'s announcer.
    ///
    /// # Errors
    /// There is no announcer binary.
    pub fn announcer(&self, n: usize) -> Result<DaemonBuilder> {
        let node = self.lab.node(n);
        let ms = |d: Duration| format!("{}ms", d.as_millis());
        Ok(DaemonBuilder::run(UPLINK)?
            .named(&*node.name)
            .args(["--node-name", self.name(n), "--namespace", NAMESPACE])
            .args(["--lease-duration", &ms(self.timing.lease)])
            .args(["--renew-interval", &ms(self.timing.renew)])
            .arg("--kubeconfig")
            .arg(self.kubeconfig(node))
            .args(&self.args))
    }

    /// Starts node `n`'s announcer, and waits until its session is open. Where one was
    /// killed before, this is its successor.
    ///
    /// # Errors
    /// It runs already, or did not open a session; the error carries its log.
    pub fn start(&mut self, n: usize) -> Result<&Daemon> {
        self.start_until(n, "session open")
    }

    /// Starts node `n`'s announcer, and waits until it has found out that it is no
    /// candidate for any VIP: then it opens no session.
    ///
    /// # Errors
    /// It runs already, or thinks otherwise; the error carries its log.
    pub fn start_idle(&mut self, n: usize) -> Result<&Daemon> {
        self.start_until(n, "no candidate for any VIP")
    }

    fn start_until(&mut self, n: usize, line: &str) -> Result<&Daemon> {
        if self.daemons.contains_key(&n) {
            bail!("the announcer of {} runs already", self.lab.node(n).name);
        }
        let daemon = self.announcer(n)?.start(&self.lab.node(n).ns)?;
        daemon.wait_for_log(line, SOON)?;
        Ok(self.daemons.entry(n).or_insert(daemon))
    }

    /// Starts all announcers at once, and waits until all sessions are open.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_together(&mut self) -> Result<()> {
        for n in 1..=self.lab.nodes().len() {
            let daemon = self.announcer(n)?.start(&self.lab.node(n).ns)?;
            self.daemons.insert(n, daemon);
        }
        let mut daemons = self.daemons.values();
        daemons.try_for_each(|daemon| daemon.wait_for_log("session open", SOON).map(drop))
    }

    /// Starts all announcers; node 1 is first, and takes what there is to take.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_all(&mut self) -> Result<()> {
        (1..=self.lab.nodes().len()).try_for_each(|n| self.start(n).map(drop))
    }

    /// Node `n`'s running announcer.
    ///
    /// # Errors
    /// It was not started, or has been killed or awaited.
    pub fn daemon(&self, n: usize) -> Result<&Daemon> {
        self.daemons.get(&n).with_context(|| format!("no announcer runs on node {n}"))
    }

    /// SIGKILL; on return the process is gone, and its log returned.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, n: usize) -> Result<Daemon> {
        let mut daemon = self.take(n)?;
        daemon.kill()?;
        Ok(daemon)
    }

    /// SIGTERM, and waits for the orderly end.
    ///
    /// # Errors
    /// It does not run, still runs after `within`, or ended otherwise than with exit code
    /// 0; the error carries its log.
    pub fn terminate(&mut self, n: usize, within: Duration) -> Result<()> {
        self.daemon(n)?.signal(Signal::Term)?;
        self.wait_ended(n, within)
    }

    /// Waits for the orderly end of node `n`'s announcer, which was told to end.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn wait_ended(&mut self, n: usize, within: Duration) -> Result<()> {
        let mut daemon = self.take(n)?;
        let status = daemon.wait_exit(within)?;
        if !status.success() {
            bail!("not an orderly end: {status}\n{}", daemon.print());
        }
        Ok(())
    }

    fn take(&mut self, n: usize) -> Result<Daemon> {
        self.daemons.remove(&n).with_context(|| format!("no announcer runs on node {n}"))
    }

    /// What the Lease of `vip` says now.
    pub fn vip_lease(&self, vip: Ipv4Addr) -> Option<VipLease> {
        let lease = self.objects().get(&LEASES, NAMESPACE, &VipLease::name(vip))?;
        Some(VipLease::read(&lease))
    }

    /// Which node the Lease of `vip` names; `None`: nobody, or there is none.
    pub fn holder(&self, vip: Ipv4Addr) -> Option<usize> {
        let holder = self.vip_lease(vip)?.held?.node;
        self.number_of(&holder)
    }

    /// Waits until the Lease of `vip` names a node that `wanted` accepts, by number.
    ///
    /// # Errors
    /// It did not within `within`; the error says what it said instead.
    pub fn wait_for_holder(
        &self,
        vip: Ipv4Addr,
        within: Duration,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<usize> {
        let number = |lease: &Value| self.number_of(&VipLease::read(lease).held?.node);
        self.wait_for_lease(&VipLease::name(vip), within, |lease| {
            lease.and_then(number).filter(|&n| wanted(n))
        })
    }

    /// Waits until the Lease of `vip` names nobody or is gone.
    ///
    /// # Errors
    /// It still named somebody after `within`.
    pub fn wait_released(&self, vip: Ipv4Addr, within: Duration) -> Result<()> {
        self.wait_for_lease(&VipLease::name(vip), within, |lease| {
            lease.and_then(|lease| VipLease::read(lease).held).is_none().then_some(())
        })
    }

    /// What the Lease of node `n` says now.
    pub fn node_lease(&self, n: usize) -> Option<NodeLease> {
        let name = NodeLease::name(self.name(n));
        Some(NodeLease::read(&self.objects().get(&LEASES, NAMESPACE, &name)?))
    }

    /// Waits until the Lease of node `n` is as `wanted`.
    ///
    /// # Errors
    /// It was not within `within`; the error says what it said.
    pub fn wait_for_node_lease(
        &self,
        n: usize,
        within: Duration,
        wanted: impl Fn(&NodeLease) -> bool,
    ) -> Result<NodeLease> {
        self.wait_for_lease(&NodeLease::name(self.name(n)), within, |lease| {
            lease.map(NodeLease::read).filter(|lease| wanted(lease))
        })
    }

    /// Waits until every running announcer has renewed its lease `times` more often than
    /// now: time as the protocol sees it pass.
    ///
    /// # Errors
    /// That took longer than ten times as long as it should.
    pub fn wait_renewals(&self, times: u32) -> Result<()> {
        let nodes: Vec<_> = self.daemons.keys().copied().collect();
        self.wait_renewals_of(&nodes, times)
    }

    /// The same for these nodes only: others may be cut off.
    ///
    /// # Errors
    /// As [`Self::wait_renewals`].
    pub fn wait_renewals_of(&self, nodes: &[usize], times: u32) -> Result<()> {
        let audit = self.audit();
        let goals: Vec<_> = nodes
            .iter()
            .map(|&n| {
                let of = self.renewals(n);
                let goal = audit.count(&of) + u64::from(times);
                (n, of, goal)
            })
            .collect();
        let deadline = Instant::now() + self.timing.renew * times * 10 + SOON;
        for (n, of, goal) in goals {
            let left = deadline.saturating_duration_since(Instant::now());
            if !audit.wait_for(&of, goal, left) {
                let (name, count) = (self.name(n), audit.count(&of));
                bail!("{name} has written its lease {count} times, not {goal}");
            }
        }
        Ok(())
    }

    /// What node `n`'s announcer writes to its own lease: its renewals, and the beginning
    /// and end of sessions.
    pub fn renewals(&self, n: usize) -> Match {
        let (client, name) = (&self.lab.node(n).name, NodeLease::name(self.name(n)));
        Match::any().client(client).writes().resource(LEASES).name(name)
    }

    /// Waits until every running announcer has renewed its lease throughout one lease
    /// duration: longer than one that is new, or was cut off, waits before it takes
    /// what seems to be free.
    ///
    /// # Errors
    /// As [`Self::wait_renewals`].
    pub fn wait_lease_duration(&self) -> Result<()> {
        let nodes: Vec<_> = self.daemons.keys().copied().collect();
        self.wait_lease_duration_of(&nodes)
    }

    /// The same for these nodes only: others may be cut off.
    ///
    /// # Errors
    /// As [`Self::wait_renewals`].
    pub fn wait_lease_duration_of(&self, nodes: &[usize]) -> Result<()> {
        let Timing { lease, renew } = self.timing;
        let renewals = lease.as_nanos().div_ceil(renew.as_nanos()) + 1;
        self.wait_renewals_of(nodes, u32::try_from(renewals)?)
    }

    fn number_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name).map(|i| i + 1)
    }

    fn wait_for_lease<T>(
        &self,
        name: &str,
        within: Duration,
        check: impl Fn(Option<&Value>) -> Option<T>,
    ) -> Result<T> {
        let mut found = None;
        let objects = self.objects();
        let waited = objects.wait_for(
            &LEASES,
            NAMESPACE,
            name,
            |lease| {
                found = check(lease);
                found.is_some()
            },
            within,
        );
        match (waited, found) {
            (Ok(_), Some(found)) => Ok(found),
            (Ok(_), None) => Err(anyhow!("lease {name} was looked at in vain")),
            (Err(unmet), _) => Err(self.explain(unmet)),
        }
    }

    /// A condition that was not met, and what the announcers say.
    fn explain(&self, unmet: anyhow::Error) -> anyhow::Error {
        let logs: String = self.daemons.values().map(Daemon::print).collect();
        unmet.context(format!("what the announcers logged:\n{logs}"))
    }
}

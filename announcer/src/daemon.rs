//! Wires the stages together and supervises them. Nothing imports this module
//! but `main`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client, Resource};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use crate::{
    announce::Pacing,
    config::{Cluster, Config, InterfacePattern, Source},
    datapath::{
        Datapath, DatapathError, Interface,
        namespace::{InstanceLock, InstanceLockError},
        netlink::Snapshot,
    },
    intent,
    ownership::{
        driver::{self, Channels},
        machine::Settings,
        store::Store,
        timing::Timing,
    },
    responder::{OnStop, Responder},
    types::{BootTime, IfIndex, NodeName, Vip},
    wire_state::{Adopted, ForeignClaim, WireEntry, WireState},
};

/// Foreign claims wait here for ownership; more in one burst are dropped, as
/// the data plane reports a station that goes on.
const CLAIMS: usize = 1024;

/// Beyond the offers' own bound: for the requests around them.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon, or something like it.
    #[error(transparent)]
    Instance(#[from] InstanceLockError),
    /// The kernel side.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The kubeconfig cannot be used.
    #[error(
        "no credentials for the cluster: {0}; give --kubeconfig, or --static-vip to do without a cluster"
    )]
    Credentials(String),
    /// A system call.
    #[error("{0} failed")]
    System(&'static str, #[source] std::io::Error),
    /// A task ended that never should.
    #[error("task {0} ended unexpectedly; what is pinned goes on answering until its time is over")]
    Task(&'static str),
}

/// Runs until SIGTERM or SIGINT, on one thread: the data plane needs none, and
/// decisions are cheap.
///
/// # Errors
/// [`DaemonError`]. What the kernel side still holds then ends with its time.
pub fn run(config: Config) -> Result<(), DaemonError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| DaemonError::System("starting the runtime", e))?
        .block_on(supervise(config))
}

async fn supervise(config: Config) -> Result<(), DaemonError> {
    let mut signals = Signals::new()?;
    let _lock = InstanceLock::acquire()?;
    let datapath = Datapath::open(config.datapath.clone())?;
    // Whatever can be found wrong without touching an interface comes first.
    let source = Connected::new(config.source, config.timing).await?;
    let attached = tokio::select! {
        attached = attach(&datapath, &config.interfaces) => Some(attached?),
        () = signals.next() => None,
    };
    let Some((interfaces, adopted)) = attached else {
        datapath.detach_others(&[])?;
        return Ok(());
    };
    let macs = interfaces.iter().map(Interface::mac).collect();
    let (wire, states) = watch::channel(None);
    // A task that panics drops its sender; without this one the responder would
    // take that for an orderly end and detach.
    let still_running = wire.clone();
    let (claims_in, claims) = mpsc::channel(CLAIMS);
    let (responder, _status) =
        Responder::new(interfaces, Pacing::default(), states, claims_in, OnStop::Detach)?;
    let mut responder = tokio::spawn(responder.run());

    let (drain, draining) = watch::channel(false);
    let (mut owner, patience) = match source {
        Connected::Static(vips) => {
            let task =
                announce_always(vips.into_iter().collect(), config.timing, wire, claims, draining);
            (tokio::spawn(task), DRAIN_GRACE)
        }
        Connected::Cluster(cluster, client) => {
            let patience = cluster.handover_timeout + DRAIN_GRACE;
            let plan = Ownership { cluster: *cluster, timing: config.timing, macs, adopted };
            (tokio::spawn(plan.run(client, wire, claims, draining)), patience)
        }
    };

    tokio::select! {
        () = signals.next() => {}
        _ = &mut owner => return Err(DaemonError::Task("ownership")),
        result = &mut responder => {
            return Err(result.ok().and_then(Result::err).map_or(DaemonError::Task("responder"), Into::into));
        }
    }
    info!("handing over; a second signal leaves at once");
    // Every receiver gone means that the owner has ended: seen below.
    let _ = drain.send(true);
    tokio::select! {
        _ = &mut owner => {}
        () = tokio::time::sleep(patience) => warn!("nobody took over in time"),
        () = signals.next() => warn!("leaving at once"),
    }
    // The end of all senders closes the wire channel, and with that the responder
    // detaches.
    owner.abort();
    drop(still_running);
    match responder.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DaemonError::Task("responder")),
    }
}

/// Where the VIPs come from, with the means to ask.
enum Connected {
    Static(BTreeSet<Vip>),
    Cluster(Box<Cluster>, Client),
}

impl Connected {
    async fn new(source: Source, timing: Timing) -> Result<Self, DaemonError> {
        Ok(match source {
            Source::Static(vips) => Self::Static(vips),
            Source::Cluster(cluster) => {
                let client = client(cluster.kubeconfig.as_deref(), timing).await?;
                Self::Cluster(cluster, client)
            }
        })
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, DaemonError> {
        let open = |kind| signal(kind).map_err(|e| DaemonError::System("catching signals", e));
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Attaches to every interface that is meant, waiting for those to come.
async fn attach(
    datapath: &Datapath,
    patterns: &[InterfacePattern],
) -> Result<(Vec<Interface>, Option<Adopted>), DaemonError> {
    loop {
        match attach_once(datapath, patterns).await {
            Err(DaemonError::Datapath(error)) if error.is_transient() => {
                warn!(%error, "attaching again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            result => return result,
        }
    }
}

async fn attach_once(
    datapath: &Datapath,
    patterns: &[InterfacePattern],
) -> Result<(Vec<Interface>, Option<Adopted>), DaemonError> {
    let mut told = false;
    let indices = datapath
        .netlink()
        .wait_until(|snapshot| match resolve(snapshot, patterns) {
            Ok(indices) => Some(indices),
            Err(missing) => {
                if !std::mem::replace(&mut told, true) {
                    info!("waiting for {missing}");
                }
                None
            }
        })
        .await
        .map_err(DatapathError::from)?;
    let mut interfaces = Vec::new();
    match attach_all(datapath, &indices, &mut interfaces).await {
        Ok(adopted) => Ok((interfaces, adopted)),
        Err(error) => {
            interfaces.into_iter().for_each(Interface::abandon);
            Err(error)
        }
    }
}

async fn attach_all(
    datapath: &Datapath,
    indices: &[IfIndex],
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Adopted>, DaemonError> {
    let mut adopted: Option<Adopted> = None;
    for index in indices {
        let (interface, left) = datapath.attach(*index).await?;
        info!(
            interface = interface.name(), mac = %interface.mac(), hook = %interface.hook(),
            cost = interface.hook().known_cost(), adopted = left.is_some(), "attached"
        );
        interfaces.push(interface);
        merge(&mut adopted, left);
    }
    for index in datapath.detach_others(indices)? {
        info!(ifindex = index.get(), "removed what a former daemon left on another interface");
    }
    Ok(adopted)
}

/// Interfaces of one daemon were written together; should they differ all the
/// same, a VIP counts until the earliest of its times.
fn merge(adopted: &mut Option<Adopted>, more: Option<Adopted>) {
    let Some(more) = more else { return };
    let Some(all) = adopted else {
        *adopted = Some(more);
        return;
    };
    if all.session != more.session {
        return;
    }
    for (vip, until) in more.answering {
        all.answering.entry(vip).and_modify(|u| *u = until.min(*u)).or_insert(until);
    }
}

/// The interfaces that are meant, or what is missing.
fn resolve(snapshot: &Snapshot, patterns: &[InterfacePattern]) -> Result<Vec<IfIndex>, String> {
    if patterns.is_empty() {
        return snapshot
            .default_route
            .map(|index| vec![index])
            .ok_or_else(|| "a default route (or give --interface)".to_owned());
    }
    let mut indices = Vec::new();
    for pattern in patterns {
        let before = indices.len();
        for facts in &snapshot.interfaces {
            if pattern.matches(&facts.name) {
                indices.push(facts.index);
            }
        }
        if indices.len() == before {
            return Err(format!("interface {pattern}"));
        }
    }
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

/// Static VIPs: held always, as long as this loop turns.
async fn announce_always(
    vips: Vec<Vip>,
    timing: Timing,
    wire: watch::Sender<Option<Arc<WireState>>>,
    mut claims: mpsc::Receiver<ForeignClaim>,
    mut draining: watch::Receiver<bool>,
) {
    loop {
        let until = BootTime::now() + timing.validity();
        let entries: BTreeMap<_, _> =
            vips.iter().map(|vip| (*vip, WireEntry::Answer { until })).collect();
        wire.send_replace(Some(Arc::new(WireState { vips: entries, session: None })));
        tokio::select! {
            () = tokio::time::sleep(timing.validity() / 3) => {}
            Some(claim) = claims.recv() => warn!(
                vip = %claim.vip, mac = %claim.mac, kind = ?claim.kind,
                "address conflict: another station claims the VIP"
            ),
            _ = draining.changed() => return,
        }
    }
}

/// What the ownership task needs.
struct Ownership {
    cluster: Cluster,
    timing: Timing,
    macs: Vec<crate::types::MacAddr>,
    adopted: Option<Adopted>,
}

impl Ownership {
    async fn run(
        self,
        client: Client,
        wire: watch::Sender<Option<Arc<WireState>>>,
        claims: mpsc::Receiver<ForeignClaim>,
        drain: watch::Receiver<bool>,
    ) {
        let Self { cluster, timing, macs, adopted } = self;
        let (intent_in, intent) = watch::channel(None);
        // Nobody says yet what becomes of the interfaces: none speaks against this node.
        let (_links, links) = watch::channel(None);
        let watching = intent::watch::run(
            client.clone(),
            cluster.node.clone(),
            cluster.selection,
            links,
            intent_in,
        );
        let owner = Arc::new(OnceLock::new());
        let finding = find_owner(client.clone(), cluster.node.clone(), owner.clone());
        let store =
            Store::new(client, &cluster.namespace, timing, cluster.node.clone(), macs, owner);
        let settings = Settings {
            me: cluster.node,
            timing,
            on_api_loss: cluster.on_api_loss,
            handover_timeout: cluster.handover_timeout,
        };
        let channels = Channels { intent, claims, wire, drain };
        tokio::select! {
            ((), ()) = async { tokio::join!(watching, finding) } => {}
            () = driver::run(settings, adopted, store, channels) => {}
        }
    }
}

/// Looks up this node's Node object, with which its lease is to be collected.
/// Nothing waits for it: a later renewal names the owner.
async fn find_owner(client: Client, node: NodeName, owner: Arc<OnceLock<OwnerReference>>) {
    let nodes: Api<Node> = Api::all(client);
    let mut told = false;
    let mut pauses = crate::backoff::watch_backoff();
    loop {
        let attempt = tokio::time::timeout(Duration::from_secs(5), nodes.get(node.as_str()));
        match attempt.await {
            Ok(Ok(object)) => {
                if let Some(reference) = object.owner_ref(&()) {
                    owner.get_or_init(|| reference);
                }
                return;
            }
            Ok(Err(kube::Error::Api(status))) if !std::mem::replace(&mut told, true) => {
                warn!(
                    %node, error = status.message,
                    "cannot read this node's Node object; give --node-name if it has another name"
                );
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
    }
}

async fn client(kubeconfig: Option<&Path>, timing: Timing) -> Result<Client, DaemonError> {
    let wrong = |e: &dyn std::fmt::Display| DaemonError::Credentials(e.to_string());
    let mut config = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path)
                .map_err(|e| wrong(&format_args!("{}: {e}", path.display())))?;
            kube::Config::from_custom_kubeconfig(file, &Default::default())
                .await
                .map_err(|e| wrong(&format_args!("{}: {e}", path.display())))?
        }
        None => kube::Config::infer().await.map_err(|e| wrong(&e))?,
    };
    config.connect_timeout = Some(timing.request_timeout());
    // A renewal that is sent again behind our back would be dated wrongly.
    config.default_retry = false;
    // Nothing else ends a list, or the start of a watch, on a connection whose
    // other end has vanished. Watches are closed by the server after 60 s.
    config.read_timeout = Some(Duration::from_secs(70));
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|e| wrong(&e))
}

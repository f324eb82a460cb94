//! Wires the stages together and supervises them. Nothing imports this module
//! but `main`.

mod attach;
mod cluster;
mod fixed;
mod uplinks;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use kube::Client;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

use self::{
    cluster::Ownership,
    fixed::Fixed,
    uplinks::{Told, Uplinks},
};
use crate::{
    client::{self, ClientError},
    config::{Cluster, Config, InterfacePattern, Source},
    datapath::{
        Datapath, DatapathError,
        namespace::{InstanceLock, InstanceLockError},
    },
    observe::{
        Observer, Stages,
        http::{self, HttpAddress},
        socket,
    },
    ownership::{
        driver::Witness,
        profile::{Profile, Settings},
        timing::Timing,
    },
    responder::{OnStop, Responder},
    types::Vip,
};

/// Foreign claims wait here for ownership; more in one burst are dropped, as
/// the data plane reports a station that goes on.
const CLAIMS: usize = 1024;

/// Beyond the offers' own bound: for the requests around them, which are paced (some
/// 4,000 VIPs). What ends the process by force has to wait longer (the DaemonSet's grace
/// period).
const DRAIN_GRACE: Duration = Duration::from_secs(20);

/// How long an interface that is being attached to at the end may take.
const ATTACHING: Duration = Duration::from_secs(2);

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
        "{0}; give --kubeconfig (ANNOUNCER_KUBECONFIG), or --static-vip (ANNOUNCER_STATIC_VIP) to do without a cluster"
    )]
    Credentials(#[from] ClientError),
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
    let observer = Observer::new(config.datapath.pin_root.clone(), config.vip_series);
    let _watched = Watched::begin(config.http_address, &observer);
    let datapath = Datapath::open(config.datapath.clone())?;
    // Whatever can be found wrong without touching an interface comes first.
    let source = Connected::new(config.source, config.timing).await?;
    let left = datapath.pinned()?;
    let attached = tokio::select! {
        attached = attach::attach(&datapath, &config.interfaces) => Some(attached?),
        () = signals.next() => None,
    };
    let on_stop = source.on_stop();
    let Some((interfaces, adopted)) = attached else {
        // What a former daemon left silent has its own end.
        datapath.detach_others(if on_stop == OnStop::Detach { &[] } else { &left })?;
        return Ok(());
    };
    let attached: BTreeMap<_, _> =
        interfaces.iter().map(|(i, uplink)| (i.index(), uplink.clone())).collect();
    // The interface of the default route goes on by its name: the route may go with it.
    let patterns = match config.interfaces.is_empty() {
        true => attached.values().map(|u| InterfacePattern::Name(u.name.clone())).collect(),
        false => config.interfaces,
    };
    let (responder_in, changes) = mpsc::channel(1);
    let (links_in, links) = watch::channel(None);
    let (macs_in, macs) = watch::channel(attached.values().filter_map(|u| u.mac).collect());
    let (profile_in, profile) = watch::channel(source.profile());
    let told =
        Told { responder: responder_in, links: links_in, macs: macs_in, profile: profile_in };
    let hooks = interfaces.iter().map(|(i, _)| (i.index(), i.hook())).collect();
    let uplinks = Uplinks::new(datapath, patterns, attached, hooks, told, observer.health());
    let (wire, states) = watch::channel(None);
    // A task that panics drops its sender; without this one the responder would
    // take that for an orderly end and detach.
    let still_running = wire.clone();
    let (claims_in, claims) = mpsc::channel(CLAIMS);
    let (responder, status) =
        Responder::new(interfaces, changes, config.announce, states, claims_in, on_stop)?;
    let responder = responder.observed(observer.metrics(), observer.health());
    let mut responder = tokio::spawn(responder.run());
    let (ending, ends) = watch::channel(false);
    let mut uplinks = tokio::spawn(uplinks.follow(ends));

    let (owner_in, asks) = mpsc::channel(1);
    observer.set_stages(Stages {
        owner: owner_in.clone(),
        responder: status,
        links: links.clone(),
    });
    let witness = Witness { metrics: observer.metrics(), health: observer.health() };

    let (drain, draining) = watch::channel(false);
    let (mut owner, patience) = match source {
        Connected::Static(vips) => {
            let fixed = Fixed {
                vips,
                timing: config.timing,
                conflict: config.conflict,
                macs,
                adopted,
                links,
                asks,
                witness,
            };
            (tokio::spawn(fixed.run(wire, claims, draining)), DRAIN_GRACE)
        }
        Connected::Cluster(cluster, client) => {
            let patience = cluster.handover_timeout + DRAIN_GRACE;
            let plan = Ownership {
                cluster: *cluster,
                timing: config.timing,
                conflict: config.conflict,
                macs,
                profile,
                adopted,
                links,
                owner: owner_in,
                asks,
                witness,
            };
            (tokio::spawn(plan.run(client, wire, claims, draining)), patience)
        }
    };

    tokio::select! {
        () = signals.next() => {}
        _ = &mut owner => return Err(DaemonError::Task("ownership")),
        _ = &mut uplinks => return Err(DaemonError::Task("uplinks")),
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
    ending.send_replace(true);
    if tokio::time::timeout(ATTACHING, &mut uplinks).await.is_err() {
        warn!("an interface is being attached to; `announcer detach` takes it down");
        uplinks.abort();
    }
    drop(still_running);
    match responder.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DaemonError::Task("responder")),
    }
}

/// What others see of the daemon: served as long as it runs, and no longer.
struct Watched([JoinHandle<Infallible>; 2]);

impl Watched {
    fn begin(address: HttpAddress, observer: &Observer) -> Self {
        let http = tokio::spawn(http::serve(address, observer.clone()));
        Self([http, tokio::spawn(socket::serve(observer.clone()))])
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
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
                let patience = timing.request_timeout();
                let kubeconfig = cluster.kubeconfig.as_deref();
                let (client, _) = client::connect(kubeconfig, patience).await?;
                Self::Cluster(cluster, client)
            }
        })
    }

    /// What the node lease is to say, as far as it is known before any interface is.
    fn profile(&self) -> Profile {
        let settings = match self {
            Self::Static(_) => None,
            Self::Cluster(cluster, _) => Some(Settings::of(&cluster.selection)),
        };
        Profile { settings, ..Profile::default() }
    }

    /// What an orderly end leaves behind.
    fn on_stop(&self) -> OnStop {
        match self {
            Self::Static(_) => OnStop::Detach,
            Self::Cluster(cluster, _) => cluster.linger.map_or(OnStop::Detach, OnStop::LeaveSilent),
        }
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

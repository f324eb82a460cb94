//! Many nodes without networks: the ownership code of each, as the daemon runs it, against
//! one API server. `cargo xtask bench scale` starts it, to count what a large cluster asks
//! of the API server.
//!
//!     cargo run --release -p announcer --example fleet -- --server http://127.0.0.1:8080 \
//!         --nodes 300 --vips 300
//!
//! Nodes are called node-1, node-2, …, and use their names as bearer tokens. Every VIP
//! may be held by all of them. What would be written to BPF maps goes nowhere; Services and
//! Nodes are not watched. Ends with SIGTERM, in disorder, as a power failure would.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

use announcer::{
    announce::pacing,
    conflict::{self, OnConflict},
    events::Reports,
    intent::desired::{Candidacy, Intent, VipIntent},
    observe::{Ask, metrics::Metrics},
    ownership::{
        driver::{self, Channels, Witness},
        heartbeat::OnApiLoss,
        machine::Settings,
        profile::Profile,
        store::Store,
        timing::Timing,
    },
    types::{MacAddr, NodeName, Vip},
    wire_state::{Heard, WireState},
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

#[derive(Debug, Parser)]
struct Args {
    /// URL of the API server.
    #[arg(long)]
    server: String,
    /// Namespace of the Leases.
    #[arg(long, default_value = "announcer-system")]
    namespace: String,
    #[arg(long)]
    nodes: usize,
    /// How many VIPs: 10.64.0.1 to 10.64.0.250, then from 10.64.1.1 on.
    #[arg(long)]
    vips: u32,
    /// From one node's start to the next one's.
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    apart: Duration,
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    lease_duration: Duration,
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    renew_interval: Duration,
}

const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

/// The ends of a node's channels that nothing else holds.
type Held = (
    watch::Sender<Option<Arc<Intent>>>,
    mpsc::Sender<Heard>,
    watch::Receiver<Option<Arc<WireState>>>,
    watch::Sender<bool>,
    mpsc::Sender<Ask>,
);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args = Args::parse();
    let timing = Timing::new(args.lease_duration, args.renew_interval)?;
    let names: Vec<NodeName> =
        (1..=args.nodes).map(|n| Ok(format!("node-{n}").parse()?)).collect::<Result<_>>()?;
    let eligible: Arc<BTreeSet<NodeName>> = Arc::new(names.iter().cloned().collect());
    let vip = |n: u32| {
        Vip::new(Ipv4Addr::from_bits(FIRST_VIP.to_bits() + n / 250 * 256 + n % 250).into())
    };
    let vips = (0..args.vips)
        .map(|n| Ok((vip(n)?, VipIntent::on(Arc::clone(&eligible)))))
        .collect::<Result<_>>()?;
    let intent = Arc::new(Intent { vips, candidacy: Candidacy::Candidate });

    let mut terminate = signal(SignalKind::terminate())?;
    let mut nodes = JoinSet::new();
    for name in names {
        let client = client(&args.server, &name, timing)?;
        let (channels, held) = channels(&intent);
        let (_, macs) = watch::channel(BTreeSet::from([mac(nodes.len())]));
        let (_, profile) = watch::channel(Profile::default());
        let (node, owner) = (name.clone(), Arc::default());
        let store = Store::new(client, &args.namespace, timing, node, macs, profile, owner);
        let settings = settings(name, timing);
        let later = args.apart * u32::try_from(nodes.len())?;
        nodes.spawn(async move {
            let _held = held;
            tokio::time::sleep(later).await;
            driver::run(settings, conflicts(), None, store, channels, Witness::default()).await;
        });
    }
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        ended = nodes.join_next() => bail!("a node ended: {ended:?}"),
    }
}

fn settings(me: NodeName, timing: Timing) -> Settings {
    let handover_timeout = Duration::from_secs(5);
    let rebalance = Some(Duration::from_secs(1));
    Settings {
        me,
        timing,
        on_api_loss: OnApiLoss::Hold,
        handover_timeout,
        rebalance,
        probing: false,
    }
}

/// There is no wire to probe.
fn conflicts() -> conflict::Settings {
    conflict::Settings {
        on_conflict: OnConflict::Defend,
        probe_interval: None,
        frames_per_second: pacing::DEFAULT_RATE,
    }
}

fn channels(intent: &Arc<Intent>) -> (Channels, Held) {
    let (intent_in, intent_out) = watch::channel(None);
    intent_in.send_replace(Some(Arc::clone(intent)));
    let (claims_in, claims) = mpsc::channel(1);
    let (wire, wire_out) = watch::channel(None);
    let (drain_in, drain) = watch::channel(false);
    // Without a wire there are no conflicts to report.
    let (reports, _) = Reports::channel(Metrics::default());
    let (asks_in, asks) = mpsc::channel(1);
    (
        Channels { intent: intent_out, claims, reports, wire, drain, asks },
        (intent_in, claims_in, wire_out, drain_in, asks_in),
    )
}

/// As the daemon's own.
fn client(server: &str, name: &NodeName, timing: Timing) -> Result<kube::Client> {
    let mut config = kube::Config::new(server.parse().context("--server is no URL")?);
    config.auth_info.token = Some(name.to_string().into());
    config.connect_timeout = Some(timing.request_timeout());
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_secs(70));
    config.reset_reader_on_write = true;
    Ok(kube::Client::try_from(config)?)
}

fn mac(n: usize) -> MacAddr {
    let [.., high, low] = n.to_be_bytes();
    MacAddr::new([0x02, 0, 0, 3, high, low])
}

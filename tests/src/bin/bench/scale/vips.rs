//! Three nodes, and more and more VIPs: what they cost at rest, and how long it takes to
//! own them.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_tests::{
    cluster::{Cluster, Plane, Timing},
    lab::CLIENT_NIC,
};
use anyhow::{Context, Result};

use super::{
    sweep::{self, Swept},
    traffic::Traffic,
};
use crate::{
    addresses, interrupt,
    process::{Memory, cpu_time},
    progress,
    report::{Cell, Measured, Row, Table},
    samples::Samples,
    settle,
};

const NODES: u8 = 3;
/// More than the goal, so that a figure comes out of it even where it is missed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Until all VIPs must have been answered, in seconds.
const OWNED: f64 = 60.0;
/// Nodes that are new are not trusted with VIPs for some lease durations.
const TRUSTED: Duration = Duration::from_secs(12);
/// Rebalancing is gradual.
const EVEN: Duration = Duration::from_secs(900);
/// How many times the mean a node may hold.
const UNEVEN: f64 = 1.3;
/// Resident memory of a daemon, in MB.
const MEMORY: f64 = 40.0;
/// VIPs of each node: five times two frames of gratuitous ARP, 200 frames a second.
const ANNOUNCED_PER_S: u32 = 20;

pub(super) fn measure(sizes: &[u32], rest: Duration) -> Result<Measured> {
    let columns = ["s, half of them", "all", "CPU s", "uneven"];
    let title = "3 nodes: time until all VIPs are answered, 3s/1s";
    let legend = "CPU seconds that the busiest daemon took for it; how many times the mean the \
                  node with the most VIPs has, at that time";
    let mut owned = Table::new(title, columns).legend(legend);
    let columns =
        ["even after s", "uneven", "requests/s", "events/s", "CPU %", "RSS MB", "anonymous MB"];
    let title = "3 nodes at rest, 3s/1s: API requests and watch events, the busiest daemon";
    let legend = "at rest when no VIP moves any more, so long after the daemons' start";
    let mut resting = Table::new(title, columns).legend(legend);
    for &vips in sizes {
        interrupt::check()?;
        progress(&format!("{vips} VIPs, Services first"));
        let cluster = Cluster::new(Plane::Embedded, NODES, Timing::DEFAULT, [])?;
        create_services(&cluster, vips)?;
        let mut scene = Scene { cluster, vips: (0..vips).map(addresses::beyond).collect() };
        let began = Instant::now();
        owned.rows.push(scene.services_first(began)?);
        resting.rows.push(scene.at_rest(began, rest)?);
    }
    if let Some(&vips) = sizes.last() {
        interrupt::check()?;
        progress(&format!("{vips} VIPs, daemons first"));
        let cluster = Cluster::new(Plane::Embedded, NODES, Timing::DEFAULT, [])?;
        let mut scene = Scene { cluster, vips: (0..vips).map(addresses::beyond).collect() };
        owned.rows.push(scene.daemons_first()?);
    }
    let mut measured = Measured::from(owned);
    measured.add(resting);
    Ok(measured)
}

struct Scene {
    cluster: Cluster,
    vips: Vec<Ipv4Addr>,
}

impl Scene {
    fn services_first(&mut self, began: Instant) -> Result<Row> {
        self.cluster.start_together()?;
        let swept = self.sweep()?;
        self.owned(&format!("{} VIPs, from the daemons' start", self.vips.len()), began, &swept)
    }

    fn daemons_first(&mut self) -> Result<Row> {
        self.cluster.start_together()?;
        self.cluster.wait_lease_duration()?;
        let began = Instant::now();
        create_services(&self.cluster, u32::try_from(self.vips.len())?)?;
        let created = began.elapsed().as_secs_f64();
        let swept = self.sweep()?;
        let name = format!("{} VIPs, from the first Service's creation", self.vips.len());
        let row = self.owned(&name, began, &swept)?;
        Ok(row.note(format!("the last Service after {created:.1} s")))
    }

    fn sweep(&self) -> Result<Swept> {
        sweep::until_answered(self.cluster.lab().client(), CLIENT_NIC, &self.vips, PATIENCE)
    }

    fn owned(&self, name: &str, began: Instant, swept: &Swept) -> Result<Row> {
        let used = self.each(|pid| Ok(cpu_time(pid)?.as_secs_f64()))?;
        let cells = [
            swept.seconds(began, 0.5).into(),
            Cell::from(swept.seconds(began, 1.0)).at_most(OWNED),
            used.max().into(),
            self.unevenness().into(),
        ];
        Ok(Row::new(name, cells))
    }

    fn at_rest(&self, began: Instant, rest: Duration) -> Result<Row> {
        let audit = self.cluster.audit();
        interrupt::pause(TRUSTED)?;
        let even = settle::until_vips_rest(audit, EVEN)?.saturating_duration_since(began);
        // Until everything is announced.
        let announced = u32::try_from(self.vips.len())? / u32::from(NODES) / ANNOUNCED_PER_S + 10;
        interrupt::pause(Duration::from_secs(announced.into()))?;
        progress(&format!("at rest, for {rest:?}"));
        let used = || self.each(|pid| Ok(cpu_time(pid)?.as_secs_f64())).map(|s| s.max());
        let (before, cpu) = (Traffic::of(audit), used()?);
        interrupt::pause(rest)?;
        let (after, cpu) = (Traffic::of(audit), used()? - cpu);
        let rates = after.since(&before);
        progress(&format!("  {}", rates.list()));
        let megabytes = |of: fn(&Memory) -> u64| {
            self.each(|pid| Ok(of(&Memory::of(pid)?) as f64 / 1e6)).map(|memory| memory.max())
        };
        let cells = [
            Cell::from(even.as_secs_f64()),
            Cell::from(self.unevenness()).at_most(UNEVEN),
            rates.all().into(),
            rates.events.into(),
            (cpu / rest.as_secs_f64() * 100.0).into(),
            Cell::from(megabytes(|memory| memory.resident)?).at_most(MEMORY),
            megabytes(|memory| memory.anonymous)?.into(),
        ];
        Ok(Row::new(format!("{} VIPs", self.vips.len()), cells).note(rates.list()))
    }

    /// By the leases.
    fn unevenness(&self) -> f64 {
        let mut held = [0; NODES as usize];
        for vip in &self.vips {
            let holder = self.cluster.holder(*vip).and_then(|n| held.get_mut(n - 1));
            holder.into_iter().for_each(|count| *count += 1);
        }
        let most = held.into_iter().max().unwrap_or(0);
        f64::from(most) * f64::from(NODES) / self.vips.len() as f64
    }

    /// Something of each daemon's process.
    fn each(&self, of: impl Fn(u32) -> Result<f64>) -> Result<Samples> {
        let all = (1..=usize::from(NODES)).map(|n| of(self.cluster.daemon(n)?.pid()));
        Samples::new(all.collect::<Result<Vec<_>>>()?).context("there are no daemons")
    }
}

fn create_services(cluster: &Cluster, count: u32) -> Result<()> {
    for n in 0..count {
        cluster.create_service(&format!("web-{n}"), addresses::beyond(n))?;
    }
    Ok(())
}

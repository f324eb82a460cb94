//! Three nodes, and more and more VIPs: what they cost at rest, and how long it takes to
//! own them.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_tests::{
    cluster::{Cluster, Timing},
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
};

const NODES: u8 = 3;
/// More than the goal, so that a figure comes out of it even where it is missed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Until all VIPs must have been answered, in seconds.
const OWNED: f64 = 60.0;
/// Resident memory of a daemon, in MB.
const MEMORY: f64 = 40.0;
/// Gratuitous ARP: each VIP five times with two frames, 500 frames a second on each node.
const ANNOUNCED_PER_S: u32 = 50;

pub(super) fn measure(sizes: &[u32], rest: Duration) -> Result<Measured> {
    let columns = ["s, half of them", "all", "CPU s", "most on a node"];
    let title = "3 nodes: time until all VIPs are answered, 3s/1s";
    let legend = "CPU seconds that the busiest daemon took for it; VIPs of the busiest node over \
                  the mean";
    let mut owned = Table::new(title, columns).legend(legend);
    let columns = ["requests/s", "events/s", "CPU %", "RSS MB", "anonymous MB"];
    let title = "3 nodes at rest, 3s/1s: API requests and watch events, the busiest daemon";
    let mut resting = Table::new(title, columns);
    for &vips in sizes {
        interrupt::check()?;
        progress(&format!("{vips} VIPs, Services first"));
        let cluster = Cluster::new(NODES, Timing::DEFAULT)?;
        create_services(&cluster, vips)?;
        let mut scene = Scene { cluster, vips: (0..vips).map(addresses::beyond).collect() };
        owned.rows.push(scene.services_first()?);
        resting.rows.push(scene.at_rest(rest)?);
    }
    if let Some(&vips) = sizes.last() {
        interrupt::check()?;
        progress(&format!("{vips} VIPs, daemons first"));
        let cluster = Cluster::new(NODES, Timing::DEFAULT)?;
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
    fn services_first(&mut self) -> Result<Row> {
        let began = Instant::now();
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
            swept.unevenness(usize::from(NODES)).into(),
        ];
        Ok(Row::new(name, cells))
    }

    fn at_rest(&self, rest: Duration) -> Result<Row> {
        // Until everything is announced, should one node have it all.
        let announced = u32::try_from(self.vips.len())? / ANNOUNCED_PER_S + 10;
        interrupt::pause(Duration::from_secs(announced.into()))?;
        progress(&format!("at rest, for {rest:?}"));
        let audit = self.cluster.server().audit();
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
            Cell::from(rates.all()),
            rates.events.into(),
            (cpu / rest.as_secs_f64() * 100.0).into(),
            Cell::from(megabytes(|memory| memory.resident)?).at_most(MEMORY),
            megabytes(|memory| memory.anonymous)?.into(),
        ];
        Ok(Row::new(format!("{} VIPs", self.vips.len()), cells).note(rates.list()))
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

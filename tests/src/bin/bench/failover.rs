//! `bench failover`: how soon another node answers, how soon a new Service is answered,
//! and what a cluster at rest costs.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use announcer_apiserver::{LEASES, Match};
use announcer_tests::{
    cluster::{ANNOUNCE, Cluster, NodeLease, Timing},
    lab::{CLIENT_NIC, Link},
    probe::{Probe, ProbeHandle},
    topology::Cut,
};
use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    interrupt,
    process::{Memory, cpu_time},
    progress,
    report::Figure,
    samples::Samples,
};

const NODES: u8 = 3;
/// Time for a fence, many times over, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(30);

/// The quicker of the two timings that have goals.
const FAST: Timing =
    Timing { lease: Duration::from_millis(800), renew: Duration::from_millis(200) };

/// How much is measured.
struct Extent {
    crashes: u32,
    services: u32,
    rest: Duration,
}

const FULL: Extent = Extent { crashes: 20, services: 25, rest: Duration::from_secs(30) };
const QUICK: Extent = Extent { crashes: 3, services: 5, rest: Duration::from_secs(10) };

pub(crate) fn measure(quick: bool) -> Result<Vec<Figure>> {
    let extent = if quick { QUICK } else { FULL };
    let mut figures = crash(Timing::DEFAULT, extent.crashes, [2.7, 3.5])?;
    figures.extend(crash(FAST, extent.crashes, [0.8, 1.1])?);
    figures.push(address_to_answer(extent.services)?);
    figures.extend(at_rest(extent.rest)?);
    Ok(figures)
}

/// `goals`: for the median and for the worst, in seconds.
fn crash(timing: Timing, runs: u32, goals: [f64; 2]) -> Result<Vec<Figure>> {
    let Timing { lease, renew } = timing;
    progress(&format!("{runs} crashes with leases of {lease:?} renewed every {renew:?}"));
    let vip = vip(0);
    let mut cluster = Cluster::new(NODES, timing)?;
    cluster.create_service("web", vip)?;
    cluster.start_all()?;
    let mut seconds = Vec::new();
    for run in 0..runs {
        interrupt::check()?;
        let holder = cluster.wait_for_holder(vip, PATIENCE, |_| true)?;
        // Everybody has seen everybody alive for a while.
        cluster.wait_renewals(4)?;
        // Half a renewal more or less decides: the runs are spread over it evenly.
        let phase = renew.mul_f64((f64::from(run) + 0.5) / f64::from(runs));
        let took = crash_of(&cluster, vip, holder, phase).with_context(|| format!("run {run}"))?;
        progress(&format!("  {:6.3} s", took.as_secs_f64()));
        seconds.push(took.as_secs_f64());
    }
    let seconds = Samples::new(seconds).context("there are no runs")?;
    let name = format!("crash to first answer, {lease:?}/{renew:?}");
    let [median, worst] = goals;
    Ok(vec![
        Figure::median(format!("{name}, median"), "s", &seconds).at_most(median),
        Figure::new(format!("{name}, worst"), "s", seconds.max()).at_most(worst),
    ])
}

/// Cuts the holder off `phase` after a renewal, waits for another node's first answer,
/// and for the holder's return.
fn crash_of(cluster: &Cluster, vip: Ipv4Addr, holder: usize, phase: Duration) -> Result<Duration> {
    let lab = cluster.lab();
    let node = lab.node(holder);
    let probe = probe(cluster, vip)?;
    probe.wait_answer_by(node.mac, PATIENCE)?;
    let before = cluster.node_lease(holder).context("the holder has no lease")?;
    renewal(cluster, holder)?;
    thread::sleep(phase);
    let cut = lab.cut(node, Link::All, Cut::Silent)?;
    let first = probe.wait_answer(PATIENCE, |answer| answer.mac != node.mac)?;
    let recording = probe.stop()?;
    ensure!(recording.contested() == 0, "two nodes answered: {:?}", recording.overlaps());

    lab.restore(node, Link::All)?;
    cluster.wait_for_node_lease(holder, PATIENCE, |lease| {
        lease.is_open() && lease.session != before.session
    })?;
    Ok(first.at.saturating_duration_since(cut))
}

/// Waits until node `n` has just renewed its lease.
fn renewal(cluster: &Cluster, n: usize) -> Result<()> {
    let name = &cluster.lab().node(n).name;
    let renewals = Match::any().client(name).writes().resource(LEASES).name(NodeLease::name(name));
    let audit = cluster.server().audit();
    let next = audit.count(&renewals) + 1;
    ensure!(audit.wait_for(&renewals, next, PATIENCE), "{name} does not renew its lease");
    Ok(())
}

/// From before the address is written until the client has an answer. The probe asks
/// every millisecond, which adds half of one.
fn address_to_answer(services: u32) -> Result<Figure> {
    progress(&format!("{services} Services that get an address"));
    let mut cluster = Cluster::new(NODES, Timing::DEFAULT)?;
    cluster.start_all()?;
    // So that nobody waits for those who might know more than it does.
    cluster.wait_renewals(4)?;
    let mut ms = Vec::new();
    for n in 0..services {
        interrupt::check()?;
        let vip = vip(n);
        let (label, value) = ANNOUNCE;
        cluster.create_service_without_address("web", json!({ label: value }))?;
        let probe = probe(&cluster, vip)?;
        probe.wait_requests(200)?;
        let written = Instant::now();
        cluster.set_addresses("web", &[vip])?;
        let first = probe.wait_first_answer(PATIENCE)?;
        ms.push(first.at.saturating_duration_since(written).as_secs_f64() * 1e3);
        drop(probe);
        cluster.delete_service("web")?;
        cluster.wait_released(vip, PATIENCE)?;
    }
    let ms = Samples::new(ms).context("there are no Services")?;
    Ok(Figure::median("Service address written to first answer", "ms", &ms).at_most(12.0))
}

const VIPS: u32 = 100;

/// What a cluster with [`VIPS`] VIPs takes while nothing happens; of the daemons the
/// costliest.
fn at_rest(length: Duration) -> Result<Vec<Figure>> {
    progress(&format!("{VIPS} VIPs at rest, for {length:?}"));
    let mut cluster = Cluster::new(NODES, Timing::DEFAULT)?;
    for n in 0..VIPS {
        cluster.create_service(&format!("web-{n}"), vip(n))?;
    }
    cluster.start_all()?;
    for n in 0..VIPS {
        cluster.wait_for_holder(vip(n), PATIENCE, |_| true)?;
    }
    // Five rounds of announcements, 1.1 s apart, and what else comes with a beginning.
    cluster.wait_renewals(8)?;

    let daemons = 1..=usize::from(NODES);
    let pids: Vec<u32> = daemons.map(|n| Ok(cluster.daemon(n)?.pid())).collect::<Result<_>>()?;
    let used = || pids.iter().map(|&pid| cpu_time(pid)).collect::<Result<Vec<_>>>();
    let audit = cluster.server().audit();
    let (began, cpu, requests) = (Instant::now(), used()?, audit.count(&Match::any()));
    interrupt::pause(length)?;
    let (elapsed, later) = (began.elapsed().as_secs_f64(), used()?);
    let requests = audit.count(&Match::any()).saturating_sub(requests);

    let percent = cpu
        .iter()
        .zip(later)
        .map(|(&before, after)| after.saturating_sub(before).as_secs_f64() / elapsed * 100.0);
    let percent = Samples::new(percent).context("there are no daemons")?;
    let memory = pids.iter().map(|&pid| Memory::of(pid)).collect::<Result<Vec<_>>>()?;
    let megabytes = |bytes: fn(&Memory) -> u64| {
        Samples::new(memory.iter().map(|memory| bytes(memory) as f64 / 1e6))
            .context("there are no daemons")
    };
    let resident = megabytes(|memory| memory.resident)?;
    let proportional = megabytes(|memory| memory.proportional)?;
    let anonymous = megabytes(|memory| memory.anonymous)?;
    let rate = requests as f64 / elapsed;
    Ok(vec![
        Figure::new(format!("resident memory of a daemon, {VIPS} VIPs"), "MB", resident.max())
            .at_most(15.0)
            .detail("least", resident.min())
            .detail("proportional", proportional.max())
            .detail("anonymous", anonymous.max()),
        Figure::new(format!("CPU of a daemon at rest, {VIPS} VIPs"), "%", percent.max())
            .at_most(0.5)
            .detail("least", percent.min()),
        Figure::new(format!("API requests at rest, {VIPS} VIPs, {NODES} nodes"), "/s", rate)
            .detail("per node", rate / f64::from(NODES)),
    ])
}

fn probe(cluster: &Cluster, vip: Ipv4Addr) -> Result<ProbeHandle> {
    Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC)
}

/// The lab leaves 192.0.2.2 to .100 and .201 to .254 free for VIPs.
fn vip(n: u32) -> Ipv4Addr {
    let last = if n < 99 { 2 + n } else { 102 + n };
    Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_are_addresses_that_the_lab_leaves_free() {
        let vips: std::collections::BTreeSet<_> = (0..VIPS).map(|n| vip(n).octets()[3]).collect();
        assert_eq!(vips.len(), 100);
        assert!(vips.iter().all(|last| (2..=100).contains(last) || (201..=254).contains(last)));
    }
}

//! What announcers ask of a real API server, by its own metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use announcer_tests::cluster::{Cluster, Plane, Timing};
use anyhow::{Context, Result};

use super::{NODES, PATIENCE};
use crate::{
    addresses, interrupt, progress,
    report::{Cell, Row, Table},
    settle,
};

/// Nodes that are new are not trusted with VIPs for some lease durations, and a thousand
/// VIPs take some more until each is where it belongs, and announced.
const TRUSTED: Duration = Duration::from_secs(30);
const EVEN: Duration = Duration::from_secs(240);

/// Requests a second, by verb and resource.
type Rates = BTreeMap<(String, String), f64>;

/// Requests a second at rest with one and with a thousand Services, and what is left of
/// them when the announcers have ended: what the lab's kube-proxies and the server itself
/// ask for.
pub(super) fn measure(rest: Duration) -> Result<Table> {
    let title = "requests/s at rest by the API server's metrics, 3 nodes, 3s/1s";
    let mut table = Table::new(title, ["1 Service", "1000 Services", "announcers ended"]);
    let [one, _] = at_rest(1, rest)?;
    let [many, ended] = at_rest(1000, rest)?;
    let all = [one, many, ended];
    let kinds: BTreeSet<_> = all.iter().flat_map(BTreeMap::keys).collect();
    for kind in kinds {
        let (verb, resource) = kind;
        let rate = |rates: &Rates| Cell::from(rates.get(kind).copied().unwrap_or_default());
        table.rows.push(Row::new(format!("{verb} {resource}"), all.each_ref().map(rate)));
    }
    let total = |rates: &Rates| Cell::from(rates.values().sum::<f64>());
    table.rows.push(Row::new("all", all.each_ref().map(total)));
    Ok(table)
}

/// With announcers, and after their end.
fn at_rest(services: u32, rest: Duration) -> Result<[Rates; 2]> {
    progress(&format!("{services} Services on a real control plane"));
    let mut cluster = Cluster::new(Plane::Real, NODES, Timing::DEFAULT, [])?;
    for n in 0..services {
        interrupt::check()?;
        cluster.create_service(&format!("web-{n}"), addresses::beyond(n))?;
    }
    cluster.start_together()?;
    for n in 0..services {
        cluster.wait_for_holder(addresses::beyond(n), PATIENCE, |_| true)?;
    }
    interrupt::pause(TRUSTED)?;
    settle::until_vips_rest(cluster.audit(), EVEN)?;
    progress(&format!("at rest, for {rest:?}"));
    let with = rates(&cluster, rest)?;
    for n in 1..=usize::from(NODES) {
        cluster.terminate(n, PATIENCE)?;
    }
    progress(&format!("without announcers, for {rest:?}"));
    Ok([with, rates(&cluster, rest)?])
}

fn rates(cluster: &Cluster, rest: Duration) -> Result<Rates> {
    let admin = cluster.control_plane().admin();
    let before = requests(&admin.metrics()?)?;
    interrupt::pause(rest)?;
    let after = requests(&admin.metrics()?)?;
    let rate = |(of, count): (_, f64)| {
        let more = count - before.get(&of).copied().unwrap_or_default();
        (more > 0.0).then(|| (of, more / rest.as_secs_f64()))
    };
    Ok(after.into_iter().filter_map(rate).collect())
}

/// `apiserver_request_total`, by verb and resource.
fn requests(metrics: &str) -> Result<BTreeMap<(String, String), f64>> {
    let mut requests = BTreeMap::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else { continue };
        let (labels, count) = rest.rsplit_once("} ").with_context(|| line.to_owned())?;
        let of = (label(labels, "verb"), label(labels, "resource"));
        let count: f64 = count.trim().parse().with_context(|| line.to_owned())?;
        *requests.entry(of).or_default() += count;
    }
    Ok(requests)
}

/// The value of a label; none of those that are asked for has a quote in it.
fn label(labels: &str, name: &str) -> String {
    let mut labels = labels.split("\",");
    let value = labels.find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
    value.unwrap_or_default().trim_end_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_summed_by_verb_and_resource() {
        let metrics = "# TYPE apiserver_request_total counter\n\
            apiserver_request_total{code=\"200\",resource=\"leases\",verb=\"PUT\"} 40\n\
            apiserver_request_total{code=\"409\",resource=\"leases\",verb=\"PUT\"} 2\n\
            apiserver_request_total{code=\"0\",resource=\"\",verb=\"GET\"} 1e+03\n\
            apiserver_request_duration_seconds{verb=\"GET\"} 7\n";
        let of = |verb: &str, resource: &str| (verb.to_owned(), resource.to_owned());
        let expected = BTreeMap::from([(of("PUT", "leases"), 42.0), (of("GET", ""), 1000.0)]);
        assert_eq!(requests(metrics).unwrap(), expected);
        assert!(requests("apiserver_request_total{verb=\"GET\"} many\n").is_err());
    }
}

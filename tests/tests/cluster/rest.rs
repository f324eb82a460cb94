//! What announcers ask of the API server when nothing happens, by its own log.

use std::{collections::BTreeMap, net::Ipv4Addr};

use announcer_apiserver::{Audited, LEASES, Match, Verb};
use announcer_tests::cluster::{Cluster, NodeLease, SOON};

use crate::{held_by_node_1, quick, wire::steady};

/// So many renewals of each node are counted.
const RENEWALS: usize = 8;

#[test]
fn at_rest_there_is_one_renewal_per_node_and_interval_however_many_vips() {
    let mut cluster = quick(3);
    cluster.install_policies().unwrap();
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    at_rest(&cluster);
    for n in 1..=50 {
        let vip = Ipv4Addr::new(192, 0, 2, 10 + n);
        cluster.create_service(&format!("web-{n}"), vip).unwrap();
    }
    for n in 1..=50 {
        let vip = Ipv4Addr::new(192, 0, 2, 10 + n);
        cluster.wait_for_holder(vip, SOON, |_| true).unwrap();
    }
    cluster.wait_lease_duration().unwrap();
    at_rest(&cluster);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

/// Each node writes its own lease, not more often than it should, and that is all.
fn at_rest(cluster: &Cluster) {
    let audit = cluster.audit();
    audit.clear();
    cluster.wait_renewals(u32::try_from(RENEWALS).unwrap()).unwrap();
    let requests = audit.recent(&Match::any());
    let (renewals, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(is_renewal);
    assert_eq!(others.iter().map(|r| &r.request).collect::<Vec<_>>(), <[&_; 0]>::default());
    let mut of: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for renewal in renewals {
        of.entry(renewal.request.client).or_default().push(renewal.at);
    }
    assert_eq!(of.len(), cluster.lab().nodes().len());
    for (client, at) in of {
        // Times at the server: the first may have been late on its way, no more.
        let intervals =
            (at[at.len() - 1] - at[0]).as_nanos().div_ceil(cluster.timing().renew.as_nanos());
        let most = usize::try_from(intervals).unwrap() + 1;
        println!("{client}: {} renewals, and time for {most}", at.len());
        assert!((RENEWALS..=most + 1).contains(&at.len()), "{client}: {} of {most}", at.len());
    }
}

fn is_renewal(entry: &Audited) -> bool {
    let request = &entry.request;
    request.verb == Verb::Update
        && request.resource == Some(LEASES)
        && request.name == NodeLease::name(&request.client)
        && entry.wrote.is_some()
}

//! What the announcers ask of the API server, by its own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use announcer_apiserver::{Audited, LEASES, Match, Verb};
use announcer_tests::{
    cluster::{Cluster, NodeLease, SOON},
    lab::CLIENT_NIC,
    probe::Probe,
};

use crate::{VIP, held_by_node_1, quick, wire::steady};

/// So many renewals of each node are counted.
const RENEWALS: usize = 8;

#[test]
fn at_rest_there_is_one_renewal_per_node_and_interval_however_many_vips() {
    let mut cluster = quick(3);
    cluster.install_policies();
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
    let audit = cluster.server().audit();
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

#[test]
fn watches_have_bookmarks_and_resume_where_they_were() {
    let mut cluster = quick(3);
    cluster.install_policies();
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let (watches, audit) = (cluster.server().watches(), cluster.server().audit());
    let any = Match::any();
    let open = watches.count(&any);
    let (watching, listing) = (Match::any().verb(Verb::Watch), Match::any().verb(Verb::List));
    for _ in 0..2 {
        audit.clear();
        // Now they know all that there was up to this version, and so they say afterwards.
        let version = cluster.server().objects().resource_version();
        assert_eq!(watches.bookmark(&any), open, "all want bookmarks");
        assert_eq!(watches.close(&any), open);
        assert!(audit.wait_for(&watching, u64::try_from(open).unwrap(), SOON));
        assert!(watches.wait_for(&any, open, SOON));
        assert_eq!(audit.count(&listing), 0, "{:#?}", audit.recent(&listing));
        for watch in audit.recent(&watching) {
            let uri = &watch.request.uri;
            assert_eq!(parameter(uri, "allowWatchBookmarks"), Some("true"), "{uri}");
            let from: u64 = parameter(uri, "resourceVersion").unwrap().parse().unwrap();
            assert!(from >= version, "from before {version}: {uri}");
        }
    }
    let kinds = |of: &Match| -> BTreeMap<String, BTreeSet<String>> {
        let mut kinds: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for request in audit.recent(of).into_iter().map(|entry| entry.request) {
            let resource = request.resource.unwrap().to_string();
            kinds.entry(request.client).or_default().insert(resource);
        }
        kinds
    };
    let watched = kinds(&watching);
    // All history gone: each is listed once more, and watched from there.
    audit.clear();
    assert_eq!(watches.expire(&any), open);
    assert!(audit.wait_for(&watching, u64::try_from(open).unwrap(), SOON));
    assert!(watches.wait_for(&any, open, SOON));
    assert_eq!(kinds(&listing), watched);
    for watch in audit.recent(&watching) {
        assert_ne!(parameter(&watch.request.uri, "resourceVersion"), Some("0"));
    }
    // And they hear what happens.
    let other = Ipv4Addr::new(192, 0, 2, 11);
    let probe_other = Probe::new(other).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    cluster.create_service("other", other).unwrap();
    probe_other.wait_first_answer(SOON).unwrap();
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    assert!(cluster.vip_lease(VIP).is_some());
}

/// A parameter of a URI's query.
fn parameter<'a>(uri: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = uri.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

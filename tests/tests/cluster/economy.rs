//! How announcers watch, by the embedded API server's own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use announcer_apiserver::{Match, Verb};
use announcer_tests::{cluster::SOON, lab::CLIENT_NIC, probe::Probe};

use crate::{VIP, held_by_node_1, quick, wire::steady};

#[test]
fn watches_have_bookmarks_and_resume_where_they_were() {
    let mut cluster = quick(3);
    cluster.install_policies().unwrap();
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let (watches, audit) = (cluster.server().watches(), cluster.audit());
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

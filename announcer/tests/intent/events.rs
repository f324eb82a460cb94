//! Events on Services, in an API server.

use std::{net::TcpListener, sync::Arc, time::Duration};

use announcer::{
    conflict::{Notice, Over, Response, Stranger, What},
    events::{News, Occurrence, Reports, publish},
    intent::desired::ServiceRef,
    observe::metrics::Metrics,
    types::MacAddr,
};
use announcer_apiserver::{ApiServer, EVENTS_V1, LabelSelector, Match, SERVICES, Verb};
use serde_json::{Value, json};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn notice(last: u8, what: What) -> Notice {
    let mac = MacAddr::new([0x52, 0x54, 0, 0, 0, last]);
    Notice {
        vip: format!("192.0.2.{last}").parse().expect("a VIP"),
        stranger: Stranger { mac, interface: "ens18".into(), probes: false },
        what,
        response: Response::Defended,
    }
}

fn service(server: &ApiServer) -> ServiceRef {
    let body = json!({
        "metadata": { "name": "web" },
        "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
    });
    let made = server.objects().create(&SERVICES, "default", body).expect("a Service");
    let uid = made["metadata"]["uid"].as_str().expect("a uid").into();
    ServiceRef { namespace: "default".into(), name: "web".into(), uid }
}

/// One Event for each, though they are about one Service.
#[tokio::test(flavor = "multi_thread")]
async fn the_edges_of_conflicts_are_events() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = ApiServer::start(listener).expect("an API server");
    let services: Arc<[ServiceRef]> = [service(&server)].into();
    let config = kube::Config::new(server.url().parse().expect("a URL"));
    let client = kube::Client::try_from(config).expect("a client");
    let (reports, occurrences) = Reports::channel(Metrics::default());
    let node = "node-1".parse().expect("a node name");
    let publishing =
        tokio::spawn(publish(client, node, tokio::sync::watch::channel(None).1, occurrences));
    let over = What::Over(Over::Quiet);
    for (vip, what) in [(10, What::Began), (11, What::Began), (10, over)] {
        let news = News::Conflict(notice(vip, what));
        reports.send(Occurrence { services: services.clone(), news });
    }
    let created = Match::any().verb(Verb::Create).resource(EVENTS_V1);
    assert!(server.audit().wait_for(&created, 3, LONG));
    publishing.abort();

    let events = server.objects().list(&EVENTS_V1, Some("default"), &LabelSelector::default());
    let with = |kind: &str, vip: &str| {
        let is_it = |event: &&Value| {
            event["type"] == kind && event["note"].as_str().is_some_and(|note| note.contains(vip))
        };
        let found: Vec<&Value> = events.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{kind} {vip}: {events:#?}");
        found[0].clone()
    };
    with("Warning", "192.0.2.11");
    let [warning, normal] = ["Warning", "Normal"].map(|kind| with(kind, "192.0.2.10"));
    for event in [&warning, &normal] {
        assert_eq!(event["reason"], "AddressConflict");
        assert_eq!(event["regarding"]["uid"], json!(&*services[0].uid));
        assert_eq!(event["reportingInstance"], "node-1");
        let note = event["note"].as_str().expect("a note");
        for part in ["52:54:00:00:00:0a", "QEMU/KVM", "192.0.2.10", "ens18", "node-1"] {
            assert!(note.contains(part), "{part}: {note}");
        }
    }
}

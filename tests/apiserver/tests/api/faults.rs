//! Each fault, as a client experiences it.

use std::time::{Duration, Instant};

use announcer_apiserver::{
    ApiServer, Fault, LEASES, Match, NODES, Outage, Refusal, SERVICES, Verb,
};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::{LONG, holder, lease, lease_json, leases, refusal, start, with_holder};

const SHORT: Duration = Duration::from_millis(50);

fn updates_of(client: &str) -> Match {
    Match::any().client(client).verb(Verb::Update).resource(LEASES)
}

async fn with_lease(server: &ApiServer) -> (Api<Lease>, Lease) {
    let api = leases(server, "a").await;
    let made = api.create(&PostParams::default(), &lease("x", "a")).await.unwrap();
    (api, made)
}

async fn take(api: &Api<Lease>, lease: &Lease, by: &str) -> Result<Lease, kube::Error> {
    api.replace("x", &PostParams::default(), &with_holder(lease.clone(), by)).await
}

fn holds(server: &ApiServer, who: &str) -> bool {
    let lease = server.objects().get(&LEASES, "kube-system", "x").unwrap();
    lease["spec"]["holderIdentity"] == who
}

#[tokio::test]
async fn refusals_apply_nothing_and_are_counted_down() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    for (how, code, reason) in [
        (Refusal::Conflict, 409, "Conflict"),
        (Refusal::Gone, 410, "Expired"),
        (Refusal::TooManyRequests { retry_after_seconds: 1 }, 429, "TooManyRequests"),
        (Refusal::Server(500), 500, "InternalError"),
        (Refusal::Server(503), 503, "ServiceUnavailable"),
    ] {
        let fault = server.faults().inject_times(1, updates_of("a"), Fault::Refuse(how));
        assert_eq!(refusal(take(&api, &made, "b").await), (code, reason.to_owned()));
        assert!(holds(&server, "a"));
        // A read is not an update, and the second update goes through.
        api.get("x").await.unwrap();
        assert_eq!(fault.hits(), 1);
    }
    take(&api, &made, "b").await.unwrap();
    assert!(holds(&server, "b"));
}

#[tokio::test]
async fn a_fault_is_for_whom_it_is_meant() {
    let server = start();
    let (a, _) = with_lease(&server).await;
    let b = leases(&server, "b").await;
    let no = Fault::Refuse(Refusal::Server(500));
    for on in [
        Match::any().client("b"),
        Match::any().resource(SERVICES),
        Match::any().resource(NODES).client("a"),
        Match::any().name("y"),
        Match::any().name_prefix("xx"),
        Match::any().namespace("default"),
        Match::any().writes(),
        Match::any().subresource(Some("status")),
    ] {
        let fault = server.faults().inject(on, no.clone());
        a.get("x").await.unwrap();
        fault.remove();
    }
    let fault = server.faults().inject(Match::any().client("b").name_prefix("x"), no);
    assert_eq!(refusal(b.get("x").await).0, 500);
    drop(fault);
    b.get("x").await.unwrap();
}

#[tokio::test]
async fn a_late_request_is_applied_though_its_client_gave_up() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    let delay = Fault::DelayBefore(Duration::from_millis(200));
    let fault = server.faults().inject_times(1, updates_of("a"), delay);
    assert!(timeout(SHORT, take(&api, &made, "b")).await.is_err());
    assert!(holds(&server, "a"));
    let is_b = |lease: Option<&Value>| lease.unwrap()["spec"]["holderIdentity"] == "b";
    server.objects().until(&LEASES, "kube-system", "x", is_b, LONG).await.unwrap();
    assert_eq!(fault.hits(), 1);
}

#[tokio::test]
async fn a_late_answer_is_late_only_for_its_client() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    let delay = Duration::from_millis(100);
    let _fault = server.faults().inject(updates_of("a"), Fault::DelayAfter(delay));
    let begin = Instant::now();
    let answer = tokio::spawn(async move { take(&api, &made, "b").await });
    let is_b = |lease: Option<&Value>| lease.unwrap()["spec"]["holderIdentity"] == "b";
    server.objects().until(&LEASES, "kube-system", "x", is_b, LONG).await.unwrap();
    assert!(!answer.is_finished());
    assert_eq!(holder(&answer.await.unwrap().unwrap()), "b");
    assert!(begin.elapsed() >= delay);
}

#[tokio::test]
async fn a_lost_answer_was_applied_a_dropped_request_was_not() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    let _lost = server.faults().inject_times(1, updates_of("a"), Fault::LoseAnswer);
    let answer = take(&api, &made, "b").await;
    assert!(!matches!(answer, Ok(_) | Err(kube::Error::Api(_))), "{answer:?}");
    assert!(holds(&server, "b"));
    let current = api.get("x").await.unwrap();
    let _dropped = server.faults().inject_times(1, updates_of("a"), Fault::Drop);
    let answer = take(&api, &current, "c").await;
    assert!(!matches!(answer, Ok(_) | Err(kube::Error::Api(_))), "{answer:?}");
    assert!(holds(&server, "b"));
    let cut = server.audit().recent(&updates_of("a"));
    assert_eq!(cut.iter().map(|entry| entry.code).collect::<Vec<_>>(), [None, None]);
    assert_eq!(cut.iter().filter(|entry| entry.wrote.is_some()).count(), 1);
}

#[tokio::test]
async fn a_hanging_request_is_cut_when_the_fault_ends() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    let fault = server.faults().inject(updates_of("a"), Fault::Hang);
    let answer = tokio::spawn(async move { take(&api, &made, "b").await });
    assert!(fault.until_hits(1, LONG).await);
    assert!(!answer.is_finished());
    drop(fault);
    assert!(timeout(LONG, answer).await.unwrap().unwrap().is_err());
    assert!(holds(&server, "a"));
}

#[tokio::test]
async fn frozen_watches_deliver_later_what_they_held_back() {
    let server = start();
    let api = leases(&server, "a").await;
    let mut old = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let other = leases(&server, "b").await;
    let mut other = other.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let frozen = server.faults().inject(Match::any().client("a"), Fault::FreezeWatches);
    let mut new = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    for name in ["x", "y"] {
        server.objects().create(&LEASES, "kube-system", lease_json(name, json!({}))).unwrap();
    }
    // Others are not frozen, nor is anything but watches; both frozen streams hold something.
    for _ in 0..2 {
        assert!(matches!(other.next().await, Some(Ok(WatchEvent::Added(_)))));
    }
    api.get("x").await.unwrap();
    assert!(frozen.until_hits(2, LONG).await);
    assert!(timeout(SHORT, old.next()).await.is_err());
    assert!(timeout(SHORT, new.next()).await.is_err());
    drop(frozen);
    for stream in [&mut old, &mut new] {
        for _ in 0..2 {
            let event = timeout(LONG, stream.next()).await.unwrap();
            assert!(matches!(event, Some(Ok(WatchEvent::Added(_)))), "{event:?}");
        }
    }
}

async fn refuse_and_listen_again(server: ApiServer) {
    let (api, made) = with_lease(&server).await;
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    events.next().await.unwrap().unwrap();
    for _ in 0..3 {
        let outage = server.faults().outage(Outage::Refuse);
        let connection = std::net::TcpStream::connect(server.address());
        let refused = connection.map_err(|error| error.kind()).unwrap_err();
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
        assert!(api.get("x").await.is_err());
        outage.end();
        api.get("x").await.unwrap();
    }
    // The watch was cut: it ends, or fails, but says nothing more.
    assert!(!matches!(timeout(LONG, events.next()).await.unwrap(), Some(Ok(_))));
    take(&api, &made, "b").await.unwrap();
}

#[tokio::test]
async fn an_outage_refuses_connections_and_ends() {
    refuse_and_listen_again(start()).await;
    // A port that was asked for stays bound in another way than one that the kernel chose.
    let listener = std::net::TcpListener::bind("127.83.65.1:6443").unwrap();
    refuse_and_listen_again(ApiServer::start(listener).unwrap()).await;
}

#[tokio::test]
async fn a_black_hole_swallows_and_then_delivers() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    let watcher = leases(&server, "w").await;
    let mut events = watcher.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    events.next().await.unwrap().unwrap();
    let outage = server.faults().outage(Outage::BlackHole);
    assert!(timeout(SHORT, api.get("x")).await.is_err());
    let fresh = leases(&server, "new").await;
    assert!(timeout(SHORT, fresh.get("x")).await.is_err());
    let renewal = tokio::spawn(async move { take(&api, &made, "b").await });
    server.objects().create(&LEASES, "kube-system", lease_json("y", json!({}))).unwrap();
    assert!(timeout(SHORT, events.next()).await.is_err());
    assert!(!renewal.is_finished() && holds(&server, "a"));
    drop(outage);
    // Nothing was lost, the request is processed late.
    assert_eq!(holder(&timeout(LONG, renewal).await.unwrap().unwrap().unwrap()), "b");
    for _ in 0..2 {
        timeout(LONG, events.next()).await.unwrap().unwrap().unwrap();
    }
    fresh.get("x").await.unwrap();
}

#[tokio::test]
async fn outages_nest_and_outlive_nothing() {
    let server = start();
    let (api, _) = with_lease(&server).await;
    let hole = server.faults().outage(Outage::BlackHole);
    let refusing = server.faults().outage(Outage::Refuse);
    assert!(api.get("x").await.is_err());
    drop(refusing);
    assert!(timeout(SHORT, api.get("x")).await.is_err());
    drop(hole);
    api.get("x").await.unwrap();
    let last = server.faults().outage(Outage::Refuse);
    drop(server);
    drop(last);
}

#[tokio::test]
async fn delays_add_up_and_the_first_refusal_counts() {
    let server = start();
    let (api, made) = with_lease(&server).await;
    let delay = Duration::from_millis(30);
    let faults = server.faults();
    let delays = [
        faults.inject(updates_of("a"), Fault::DelayBefore(delay)),
        faults.inject(updates_of("a"), Fault::DelayBefore(delay)),
    ];
    let first = faults.inject_times(1, updates_of("a"), Fault::Refuse(Refusal::Server(503)));
    let second = faults.inject_times(1, updates_of("a"), Fault::Refuse(Refusal::Conflict));
    let begin = Instant::now();
    assert_eq!(refusal(take(&api, &made, "b").await).0, 503);
    assert!(begin.elapsed() >= 2 * delay);
    assert_eq!((first.hits(), second.hits()), (1, 0));
    assert_eq!(refusal(take(&api, &made, "b").await).0, 409);
    take(&api, &made, "b").await.unwrap();
    assert!(delays.iter().all(|fault| fault.hits() == 3));
}

//! Many writers and watchers at once: nothing is lost, nothing comes twice, nothing out of order.

use std::collections::BTreeMap;

use announcer_apiserver::{ApiServer, LEASES, LabelSelector, Match};
use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::{LONG, lease, lease_json, leases, start, with_holder};

/// What a watcher knows: names and resourceVersions of the objects of its selection.
type Known = BTreeMap<String, String>;

/// Lists, then follows changes until it has seen the revision `until`.
async fn follow(api: Api<Lease>, labels: &str, until: tokio::sync::watch::Receiver<u64>) -> Known {
    let list = api.list(&ListParams::default().labels(labels)).await.unwrap();
    let from = list.metadata.resource_version.clone().unwrap();
    let mut known: Known =
        list.into_iter().map(|l| (l.name_any(), l.resource_version().unwrap())).collect();
    let params = WatchParams::default().labels(labels);
    let mut events = api.watch(&params, &from).await.unwrap().boxed();
    let mut last: u64 = from.parse().unwrap();
    // Zero until the writers are done.
    while *until.borrow() == 0 || last < *until.borrow() {
        let event = timeout(LONG, events.next()).await.unwrap().unwrap().unwrap();
        let lease = match &event {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) | WatchEvent::Deleted(lease) => {
                lease
            }
            WatchEvent::Bookmark(bookmark) => {
                last = bookmark.metadata.resource_version.parse().unwrap();
                continue;
            }
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
        let (name, version) = (lease.name_any(), lease.resource_version().unwrap());
        let number: u64 = version.parse().unwrap();
        assert!(number > last, "{number} came behind {last}");
        last = number;
        let before = match event {
            WatchEvent::Deleted(_) => known.remove(&name),
            _ => known.insert(name, version),
        };
        assert_eq!(before.is_none(), matches!(event, WatchEvent::Added(_)));
    }
    known
}

async fn write(api: Api<Lease>, writer: usize) -> u32 {
    let mut conflicts = 0;
    for round in 0..60 {
        let name = format!("l{}", (round + writer) % 7);
        let post = PostParams::default();
        let result = match api.get_opt(&name).await.unwrap() {
            None => api.create(&post, &lease(&name, "w")).await.map(drop),
            Some(_) if round % 11 == 0 => api.delete(&name, &Default::default()).await.map(drop),
            Some(mut found) => {
                let over = if round % 3 == 0 { "yes" } else { "no" };
                found.labels_mut().insert("over".to_owned(), over.to_owned());
                let next = with_holder(found, &format!("w{writer}-{round}"));
                api.replace(&name, &post, &next).await.map(drop)
            }
        };
        match result {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => conflicts += 1,
            Err(other) => panic!("{other}"),
        }
    }
    conflicts
}

fn truth(server: &ApiServer, labels: &str) -> Known {
    let labels = LabelSelector::parse(labels).unwrap();
    let text = |lease: &Value, field: &str| lease["metadata"][field].as_str().unwrap().to_owned();
    let leases = server.objects().list(&LEASES, Some("kube-system"), &labels);
    leases.iter().map(|l| (text(l, "name"), text(l, "resourceVersion"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_agree_with_the_store_under_concurrent_writers() {
    let server = start();
    let (done, until) = tokio::sync::watch::channel(0);
    let selections = ["", "over=yes", "over!=yes", "over in (no),!gone"];
    let mut watchers = Vec::new();
    for (at, labels) in selections.into_iter().cycle().take(12).enumerate() {
        let api = leases(&server, &format!("watcher-{at}")).await;
        let until = until.clone();
        watchers.push(tokio::spawn(async move { (labels, follow(api, labels, until).await) }));
    }
    let mut writers = Vec::new();
    for writer in 0..4 {
        writers.push(write(leases(&server, &format!("writer-{writer}")).await, writer));
    }
    join_all(writers.into_iter().map(tokio::spawn)).await;
    done.send_replace(server.objects().resource_version());
    // Those that no event tells of the end are told by a bookmark; new streams included.
    let told = async {
        loop {
            server.watches().bookmark(&Match::any());
            tokio::task::yield_now().await;
        }
    };
    let check = async {
        for watcher in watchers {
            let (labels, known) = watcher.await.unwrap();
            assert_eq!(known, truth(&server, labels), "{labels:?}");
        }
    };
    tokio::select! { () = check => {}, () = told => {} }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_swaps_exactly_one_wins() {
    let server = start();
    let first = leases(&server, "first").await;
    let mut current = first.create(&PostParams::default(), &lease("x", "none")).await.unwrap();
    for round in 0..20 {
        let mut rivals = Vec::new();
        for rival in 0..8 {
            let api = leases(&server, "rival").await;
            let mine = with_holder(current.clone(), &format!("r{round}-{rival}"));
            rivals.push(tokio::spawn(async move {
                api.replace("x", &PostParams::default(), &mine).await.is_ok()
            }));
        }
        let won = join_all(rivals).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        assert_eq!(won, 1);
        current = first.get("x").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_watches_and_five_thousand_leases() {
    let server = start();
    for at in 0..5000 {
        let body = lease_json(&format!("l{at}"), json!({}));
        server.objects().create(&LEASES, "kube-system", body).unwrap();
    }
    let api = leases(&server, "many").await;
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 5000);
    let from = server.objects().resource_version().to_string();
    let mut streams = Vec::new();
    for at in 0..500 {
        let params = WatchParams::default().fields(&format!("metadata.name=l{at}"));
        streams.push(api.watch(&params, &from).await.unwrap().boxed());
    }
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    for at in 0..500 {
        let name = format!("l{at}");
        server.objects().patch(&LEASES, "kube-system", &name, label.clone()).unwrap();
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        let event = timeout(LONG, stream.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(event, WatchEvent::Modified(l) if l.name_any() == format!("l{at}")));
    }
    assert!(server.audit().events(&Match::any().client("many").resource(LEASES)) >= 500);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, bool, u8),
    Delete(u8),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_u8, any::<bool>(), 0..3_u8).prop_map(|(n, l, h)| Step::Put(n, l, h)),
        3 => (0..4_u8).prop_map(Step::Delete),
        1 => Just(Step::Compact),
    ]
}

fn run(server: &ApiServer, step: &Step) {
    let objects = server.objects();
    match step {
        Step::Put(name, over, holder) => {
            let body = json!({
                "metadata": {"name": format!("l{name}"), "labels": {"over": over.to_string()}},
                "spec": {"holderIdentity": holder.to_string()},
            });
            objects.apply(&LEASES, "kube-system", body).unwrap();
        }
        // It may be absent: then nothing happens.
        Step::Delete(name) => {
            drop(objects.delete(&LEASES, "kube-system", &format!("l{name}")));
        }
        Step::Compact => objects.compact(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Wherever a watch starts, replaying it over the state of its start gives the state now, or
    /// it is told that the history does not reach back.
    #[test]
    fn any_watch_leads_from_its_start_to_now(steps in prop::collection::vec(step(), 1..40)) {
        let server = start();
        let labels = "over=true";
        let mut states = vec![(server.objects().resource_version(), truth(&server, labels))];
        let mut compacted = 0;
        for step in &steps {
            run(&server, step);
            let version = server.objects().resource_version();
            if matches!(step, Step::Compact) {
                compacted = version;
            }
            states.push((version, truth(&server, labels)));
        }
        let (end, now) = states.last().cloned().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let api = leases(&server, "replayer").await;
            for (start, mut known) in states {
                let params = WatchParams::default().labels(labels);
                let mut events = api.watch(&params, &start.to_string()).await.unwrap().boxed();
                server.watches().bookmark(&Match::any());
                loop {
                    let event = timeout(LONG, events.next()).await.unwrap().unwrap().unwrap();
                    let of = |l: &Lease| (l.name_any(), l.resource_version().unwrap());
                    match event {
                        WatchEvent::Added(lease) => {
                            let (name, version) = of(&lease);
                            assert_eq!(known.insert(name, version), None);
                        }
                        WatchEvent::Modified(lease) => {
                            let (name, version) = of(&lease);
                            assert!(known.insert(name, version).is_some());
                        }
                        WatchEvent::Deleted(lease) => {
                            assert!(known.remove(&of(&lease).0).is_some());
                        }
                        WatchEvent::Bookmark(bookmark) => {
                            assert_eq!(bookmark.metadata.resource_version, end.to_string());
                            assert_eq!(known, now);
                            assert!(start >= compacted);
                            break;
                        }
                        WatchEvent::Error(status) => {
                            assert_eq!(status.code, 410);
                            assert!(start < compacted);
                            break;
                        }
                    }
                }
            }
        });
    }
}

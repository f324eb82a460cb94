//! Watches: order, selections that objects enter and leave, resuming, bookmarks, 410.

use std::{pin::pin, time::Duration};

use announcer_apiserver::{Fault, LEASES, Match, Options, Verb};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::watcher::{self, Event},
};
use serde_json::json;

use crate::cluster::{LONG, lease_json, leases, start, start_with};

/// Type, name and resourceVersion of an event.
type Seen = (&'static str, String, String);

fn seen(event: WatchEvent<Lease>) -> Seen {
    let of = |name, lease: Lease| (name, lease.name_any(), lease.resource_version().unwrap());
    match event {
        WatchEvent::Added(lease) => of("ADDED", lease),
        WatchEvent::Modified(lease) => of("MODIFIED", lease),
        WatchEvent::Deleted(lease) => of("DELETED", lease),
        WatchEvent::Bookmark(bookmark) => {
            ("BOOKMARK", String::new(), bookmark.metadata.resource_version)
        }
        WatchEvent::Error(status) => ("ERROR", status.reason.clone(), status.code.to_string()),
    }
}

async fn next<T>(mut stream: impl Stream<Item = T> + Unpin) -> Option<T> {
    tokio::time::timeout(LONG, stream.next()).await.unwrap()
}

async fn watch(
    api: &Api<Lease>,
    params: &WatchParams,
    from: &str,
) -> impl Stream<Item = Seen> + Unpin + use<> {
    let stream = api.watch(params, from).await.unwrap();
    Box::pin(stream.map_ok(seen).map(|event| event.unwrap()))
}

#[tokio::test]
async fn entering_a_selection_is_added_and_leaving_it_deleted() {
    let server = start();
    let objects = server.objects();
    let api = leases(&server, "a").await;
    let over = WatchParams::default().labels("over in (yes)");
    let from = objects.resource_version().to_string();
    let mut events = watch(&api, &over, &from).await;
    let create = |name: &str, label: &str| {
        objects.create(&LEASES, "kube-system", lease_json(name, json!({"over": label}))).unwrap();
    };
    let patch = |name: &str, patch: serde_json::Value| {
        objects.patch(&LEASES, "kube-system", name, patch).unwrap();
        objects.resource_version().to_string()
    };
    create("x", "no");
    patch("x", json!({"spec": {"leaseTransitions": 1}}));
    let entered = patch("x", json!({"metadata": {"labels": {"over": "yes"}}}));
    assert_eq!(next(&mut events).await, Some(("ADDED", "x".to_owned(), entered)));
    let changed = patch("x", json!({"spec": {"leaseTransitions": 2}}));
    assert_eq!(next(&mut events).await, Some(("MODIFIED", "x".to_owned(), changed)));
    let left = patch("x", json!({"metadata": {"labels": {"over": null}}}));
    // The revision is that of the change, so that the client can resume behind it.
    assert_eq!(next(&mut events).await, Some(("DELETED", "x".to_owned(), left)));
    objects.delete(&LEASES, "kube-system", "x").unwrap();
    create("y", "yes");
    objects.delete(&LEASES, "kube-system", "y").unwrap();
    let gone = objects.resource_version().to_string();
    assert_eq!(next(&mut events).await.unwrap().0, "ADDED");
    assert_eq!(next(&mut events).await, Some(("DELETED", "y".to_owned(), gone)));
}

#[tokio::test]
async fn a_watch_by_name_hears_of_that_name_only() {
    let server = start();
    let api = leases(&server, "a").await;
    let one = WatchParams::default().fields("metadata.name=x");
    let mut events = watch(&api, &one, "0").await;
    for name in ["w", "x", "y"] {
        let body = lease_json(name, json!({}));
        server.objects().create(&LEASES, "kube-system", body.clone()).unwrap();
        server.objects().create(&LEASES, "default", body).unwrap();
    }
    server.objects().delete(&LEASES, "default", "x").unwrap();
    server.objects().delete(&LEASES, "kube-system", "x").unwrap();
    let (first, second) = (next(&mut events).await.unwrap(), next(&mut events).await.unwrap());
    assert_eq!((first.0, first.1.as_str()), ("ADDED", "x"));
    assert_eq!((second.0, second.1.as_str()), ("DELETED", "x"));
    let named = Match::any().verb(Verb::Watch).name("x");
    assert_eq!(server.watches().count(&named), 1);
    server.watches().close(&named);
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_watch_resumes_where_it_is_told() {
    let server = start();
    let api = leases(&server, "a").await;
    let mut versions = Vec::new();
    for name in ["x", "y", "z"] {
        let body = lease_json(name, json!({}));
        server.objects().create(&LEASES, "kube-system", body).unwrap();
        versions.push(server.objects().resource_version().to_string());
    }
    let params = WatchParams::default();
    let mut behind_x = watch(&api, &params, &versions[0]).await;
    assert_eq!(next(&mut behind_x).await.unwrap().1, "y");
    assert_eq!(next(&mut behind_x).await.unwrap().1, "z");
    // Without a version: the state as ADDED events, then what changes.
    let mut anew = watch(&api, &params, "0").await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(next(&mut anew).await.unwrap().1);
    }
    assert_eq!(names, ["x", "y", "z"]);
    server.objects().compact();
    let mut expired = watch(&api, &params, &versions[0]).await;
    let error = ("ERROR", "Expired".to_owned(), "410".to_owned());
    assert_eq!(next(&mut expired).await, Some(error));
    assert_eq!(next(&mut expired).await, None);
    let mut current = watch(&api, &params, &versions[2]).await;
    server.objects().delete(&LEASES, "kube-system", "z").unwrap();
    assert_eq!(next(&mut current).await.unwrap().0, "DELETED");
}

#[tokio::test]
async fn a_short_history_expires_by_itself() {
    let server = start_with(Options { history: 4, ..Options::default() });
    let api = leases(&server, "a").await;
    let start = server.objects().resource_version().to_string();
    for at in 0..5 {
        let body = lease_json(&format!("l{at}"), json!({}));
        server.objects().create(&LEASES, "kube-system", body).unwrap();
    }
    let mut events = watch(&api, &WatchParams::default(), &start).await;
    assert_eq!(next(&mut events).await.unwrap().2, "410");
}

#[tokio::test]
async fn bookmarks_come_behind_what_they_cover() {
    let interval = Duration::from_millis(20);
    let server = start_with(Options { bookmark_interval: interval, ..Options::default() });
    let api = leases(&server, "a").await;
    let mut events = watch(&api, &WatchParams::default(), "0").await;
    let (mut made, mut told) = (Vec::new(), Vec::new());
    for at in 0..50 {
        let body = lease_json(&format!("l{at}"), json!({}));
        server.objects().create(&LEASES, "kube-system", body).unwrap();
        made.push(server.objects().resource_version());
        server.watches().bookmark(&Match::any().client("a"));
        // Bookmarks come by themselves, too: this one is not always the next.
        loop {
            let (event, _, at) = next(&mut events).await.unwrap();
            let at: u64 = at.parse().unwrap();
            if event == "ADDED" {
                told.push(at);
            } else {
                let covered: Vec<u64> = made.iter().copied().filter(|made| *made <= at).collect();
                assert_eq!(told, covered, "what a bookmark covers came before it");
                if at == server.objects().resource_version() {
                    break;
                }
            }
        }
    }
    // One that comes by itself.
    assert_eq!(next(&mut events).await.unwrap().0, "BOOKMARK");
    let mut without = watch(&api, &WatchParams::default().disable_bookmarks(), "0").await;
    assert_eq!(next(&mut without).await.unwrap().0, "ADDED");
}

#[tokio::test]
async fn a_watch_ends_after_its_timeout() {
    let server = start();
    let api = leases(&server, "a").await;
    let mut events = watch(&api, &WatchParams::default().timeout(1), "0").await;
    while let Some(event) = next(&mut events).await {
        assert_eq!(event.0, "BOOKMARK");
    }
    assert!(server.watches().until(&Match::any(), 0, LONG).await);
}

#[tokio::test]
async fn a_watch_whose_client_has_gone_is_forgotten() {
    let server = start();
    let api = leases(&server, "a").await;
    let events = watch(&api, &WatchParams::default(), "0").await;
    let frozen = api.watch(&WatchParams::default(), "0").await.unwrap();
    let _fault = server.faults().inject(Match::any(), Fault::FreezeWatches);
    assert_eq!(server.objects().watch_count(), 2);
    drop((events, frozen, api));
    assert!(server.watches().until(&Match::any(), 0, LONG).await);
    assert_eq!(server.objects().watch_count(), 0);
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_bookmark() {
    let server = start();
    for name in ["x", "y"] {
        server.objects().create(&LEASES, "kube-system", lease_json(name, json!({}))).unwrap();
    }
    let api = leases(&server, "a").await;
    let mut events = pin!(watcher::watcher(api, watcher::Config::default().streaming_lists()));
    let mut names = Vec::new();
    loop {
        match next(&mut events).await.unwrap().unwrap() {
            Event::Init => {}
            Event::InitApply(lease) => names.push(lease.name_any()),
            Event::InitDone => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(names, ["x", "y"]);
}

#[tokio::test]
async fn a_watcher_lists_anew_after_410() {
    let server = start();
    let objects = server.objects();
    objects.create(&LEASES, "kube-system", lease_json("x", json!({}))).unwrap();
    let api = leases(&server, "a").await;
    let watching = Match::any().client("a").verb(Verb::Watch);
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    let mut until_done = async || {
        let mut names = Vec::new();
        loop {
            match next(&mut events).await.unwrap() {
                Ok(Event::InitApply(lease)) => names.push(lease.name_any()),
                Ok(Event::InitDone) => return names,
                // The write, and then the 410 itself, are reported, too.
                Ok(Event::Apply(_) | Event::Init) | Err(_) => {}
                Ok(other) => panic!("unexpected {other:?}"),
            }
        }
    };
    assert_eq!(until_done().await, ["x"]);
    let expire = async {
        assert!(server.audit().until(&watching, 1, LONG).await);
        objects.create(&LEASES, "kube-system", lease_json("y", json!({}))).unwrap();
        assert_eq!(server.watches().expire(&watching), 1);
    };
    let (names, ()) = tokio::join!(until_done(), expire);
    assert_eq!(names, ["x", "y"]);
    assert_eq!(server.audit().count(&Match::any().client("a").verb(Verb::List)), 2);
}

#[tokio::test]
async fn a_restart_keeps_objects_and_forgets_history() {
    let server = start();
    let api = leases(&server, "a").await;
    let make = |name| {
        let lease = lease_json(name, json!({}));
        server.objects().create(&LEASES, "kube-system", lease).unwrap();
        server.objects().resource_version()
    };
    let before = make("x");
    let params = WatchParams::default();
    let mut events = api.watch(&params, &before.to_string()).await.unwrap().boxed();
    assert!(server.watches().until(&Match::any(), 1, LONG).await);
    let meanwhile = server.restart(|_| make("y"));
    // The watch was cut: nothing of what happened meanwhile.
    assert!(!matches!(next(&mut events).await, Some(Ok(_))));
    assert_eq!(meanwhile, before + 1);
    let list = api.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = list.iter().map(|lease| lease.name_any()).collect();
    assert_eq!(names, ["x", "y"]);
    let mut old = watch(&api, &params, &before.to_string()).await;
    assert_eq!(next(&mut old).await.unwrap().2, "410");
    let mut new = watch(&api, &params, list.metadata.resource_version.as_deref().unwrap()).await;
    make("z");
    assert_eq!(next(&mut new).await.unwrap().1, "z");
}

#[tokio::test]
async fn versions_of_the_future_are_refused() {
    let server = start();
    let api = leases(&server, "a").await;
    let future = ListParams::default().at("1000000");
    let refused = crate::cluster::refusal(api.list(&future).await);
    assert_eq!(refused, (504, "Timeout".to_owned()));
}

//! What the intent index costs at 5,000 Services and 500 Nodes: time for the first
//! intent, time for one change, memory that stays.
//!
//!     cargo run --release -p announcer --example intent_scale

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::time::{Duration, Instant};

use announcer::intent::index::{Index, Kind, Object, ObjectKey, Selection};
use anyhow::Result;
use serde_json::{Value, json};

const SERVICES: u32 = 5_000;
const NODES: u32 = 500;
const ENDPOINTS: u32 = 10;
const EVENTS: u32 = 2_000;

fn main() -> Result<()> {
    for (what, policies, local) in [
        ("flags, externalTrafficPolicy: Cluster", 0, false),
        ("20 policies, Cluster", 20, false),
        ("20 policies, Local with 10 endpoints each", 20, true),
    ] {
        scene(what, policies, local)?;
    }
    Ok(())
}

fn scene(what: &str, policies: u32, local: bool) -> Result<()> {
    let me = "node-0".parse()?;
    let services = "announce=true".parse()?;
    let class = "l2announcer.io/l2".to_owned();
    let mut index = Index::new(
        me,
        Selection {
            services,
            class,
            classless: true,
            external_ips: false,
            exclude_cordoned: false,
        },
    );
    let before = allocated();
    let mut spent = Duration::ZERO;
    let mut apply = |index: &mut Index, object: Object| {
        let start = Instant::now();
        index.apply(&object);
        spent += start.elapsed();
    };
    for i in 0..NODES {
        apply(&mut index, node(i, "True")?);
    }
    for i in 0..policies {
        apply(&mut index, policy(i)?);
    }
    for i in 0..SERVICES {
        apply(&mut index, service(i, local, "1")?);
        if local {
            apply(&mut index, slice(i, 0)?);
        }
    }
    let start = Instant::now();
    let intent = index.intent();
    spent += start.elapsed();
    let memory = allocated().saturating_sub(before);
    println!("{what}: {} VIPs on {NODES} nodes", intent.vips.len());
    println!("  first intent {spent:.1?}, {} KiB of memory stay", memory / 1024);
    let mut former = intent;
    let mut measure = |what: &str, change: &dyn Fn(u32) -> Result<Object>| -> Result<()> {
        let (mut spent, mut longest) = (Duration::ZERO, Duration::ZERO);
        for i in 0..EVENTS {
            let object = change(i)?;
            let start = Instant::now();
            index.apply(&object);
            // Held by somebody else, as by the watch channel: a change is a copy.
            former = index.intent();
            let took = start.elapsed();
            spent += took;
            longest = longest.max(took);
        }
        println!("  {what}: {:.1?} each, at most {longest:.1?}", spent / EVENTS);
        Ok(())
    };
    measure("a node's heartbeat", &|i| node(i % NODES, "True"))?;
    measure("a node comes or goes", &|i| node(7, if i % 2 == 0 { "False" } else { "True" }))?;
    measure("a Service's address", &|i| {
        service(i % SERVICES, local, &(i / SERVICES + 2).to_string())
    })?;
    if local {
        measure("a Service's endpoints", &|i| slice(i % SERVICES, 1))?;
    }
    let start = Instant::now();
    for i in 0..SERVICES {
        index.delete(Kind::Service, &ObjectKey::new("default", &format!("service-{i}")));
    }
    let left = index.intent().vips.len();
    println!("  all Services deleted in {:.1?}, {left} VIPs left", start.elapsed());
    drop(former);
    Ok(())
}

fn parsed<K: serde::de::DeserializeOwned>(value: Value) -> Result<Box<K>> {
    Ok(Box::new(serde_json::from_value(value)?))
}

fn node(i: u32, ready: &str) -> Result<Object> {
    Ok(Object::Node(parsed(json!({
        "metadata": {"name": format!("node-{i}"), "labels": {
            "kubernetes.io/hostname": format!("node-{i}"), "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "rack": (i % 20).to_string()}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))?))
}

fn policy(i: u32) -> Result<Object> {
    Ok(Object::Policy(parsed(json!({
        "apiVersion": "l2announcer.io/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": {"name": format!("policy-{i}")},
        "spec": {
            "serviceSelector": {"matchLabels": {"team": i.to_string()}},
            "nodeSelector": {"matchExpressions": [
                {"key": "rack", "operator": "NotIn", "values": [i.to_string()]}]},
            "interfaces": ["^eth[0-9]+$"],
            "loadBalancerIPs": true,
        },
    }))?))
}

fn service(i: u32, local: bool, net: &str) -> Result<Object> {
    let ip = format!("10.{net}.{}.{}", i / 250, i % 250 + 1);
    Ok(Object::Service(parsed(json!({
        "metadata": {"namespace": "default", "name": format!("service-{i}"), "labels": {
            "announce": "true", "team": (i % 20).to_string(),
            "app.kubernetes.io/name": format!("service-{i}"),
            "app.kubernetes.io/managed-by": "helm"}},
        "spec": {"type": "LoadBalancer",
            "externalTrafficPolicy": if local { "Local" } else { "Cluster" }},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
    }))?))
}

fn slice(i: u32, shift: u32) -> Result<Object> {
    let endpoints: Vec<_> = (0..ENDPOINTS)
        .map(|e| {
            let node = format!("node-{}", (i * 31 + e * 7 + shift) % NODES);
            json!({"addresses": ["10.0.0.1"], "nodeName": node, "conditions": {"ready": true}})
        })
        .collect();
    Ok(Object::EndpointSlice(parsed(json!({
        "metadata": {"namespace": "default", "name": format!("service-{i}-x"),
            "labels": {"kubernetes.io/service-name": format!("service-{i}")}},
        "addressType": "IPv4",
        "endpoints": endpoints,
    }))?))
}

/// Bytes that are allocated now.
#[cfg(target_env = "gnu")]
fn allocated() -> usize {
    // SAFETY: the call takes nothing and only reads glibc's own counters.
    unsafe { libc::mallinfo2() }.uordblks
}

/// Only glibc keeps count.
#[cfg(not(target_env = "gnu"))]
fn allocated() -> usize {
    0
}

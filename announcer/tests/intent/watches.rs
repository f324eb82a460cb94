//! Objects in an API server, intent out of the watches.

use std::{net::TcpListener, sync::Arc, time::Duration};

use announcer::{
    events::Reports,
    intent::{
        desired::Intent,
        index::{Links, Selection},
        watch,
    },
    observe::metrics::Metrics,
};
use announcer_apiserver::{
    ApiServer, CustomResource, ENDPOINT_SLICES, Fault, GroupResource, Match, NODES, Refusal,
    SERVICES, Verb,
};
use serde_json::{Value, json};
use tokio::{sync::watch as channel, task::JoinHandle};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Nobody reads them.
fn reports() -> Reports {
    Reports::channel(Metrics::default()).0
}

struct Scene {
    server: ApiServer,
    intent: channel::Receiver<Option<Arc<Intent>>>,
    links: channel::Sender<Option<Links>>,
    task: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scene {
    /// A server with these Services and a ready node, and the watches on it.
    fn start(prepare: impl FnOnce(&ApiServer)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = ApiServer::start(listener).expect("an API server");
        server.objects().create(&NODES, "", node("n1")).expect("a Node");
        prepare(&server);
        let mut config = kube::Config::new(server.url().parse().expect("a URL"));
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client");
        let (links, links_out) = channel::channel(None);
        let (intent_in, intent) = channel::channel(None);
        let me = "n1".parse().expect("a node name");
        let task = tokio::spawn(watch::run(
            client,
            me,
            selection(),
            links_out,
            intent_in,
            reports(),
            None,
        ));
        Self { server, intent, links, task }
    }

    /// Waits for exactly these VIPs, each with its eligible nodes.
    async fn until(&mut self, expected: &[(&str, &[&str])]) {
        let mut last = None;
        let met = self.intent.wait_for(|intent| {
            let Some(intent) = intent else { return false };
            let got: Vec<(String, Vec<String>)> = intent
                .vips
                .iter()
                .map(|(vip, how)| {
                    let nodes = how.eligible.iter().map(ToString::to_string);
                    (vip.to_string(), nodes.collect())
                })
                .collect();
            let met = got.len() == expected.len()
                && got.iter().zip(expected).all(|((vip, nodes), (v, n))| vip == v && nodes == n);
            last = Some(got);
            met
        });
        let met = tokio::time::timeout(LONG, met).await.is_ok();
        assert!(met, "not {expected:?} but {last:?}");
    }

    fn apply(&self, resource: &GroupResource, namespace: &str, body: Value) {
        self.server.objects().apply(resource, namespace, body).expect("an object");
    }
}

fn selection() -> Selection {
    Selection {
        services: "announce=true".parse().expect("a selector"),
        class: "l2announcer.io/l2".to_owned(),
        classless: true,
        external_ips: false,
        exclude_cordoned: false,
    }
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn service(name: &str, ip: &str, labels: Value, policy: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "externalTrafficPolicy": policy},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
    })
}

fn announced() -> Value {
    json!({"announce": "true"})
}

fn policies() -> GroupResource {
    GroupResource::new("l2announcer.io", "l2announcementpolicies")
}

fn gateways() -> GroupResource {
    GroupResource::new("gateway.networking.k8s.io", "gateways")
}

fn install_policies(server: &ApiServer) {
    server.objects().register(CustomResource {
        group: "l2announcer.io".to_owned(),
        version: "v1alpha1".to_owned(),
        plural: "l2announcementpolicies".to_owned(),
        kind: "L2AnnouncementPolicy".to_owned(),
        namespaced: false,
        status: true,
    });
}

fn policy(selector: Value) -> Value {
    json!({"metadata": {"name": "p"},
        "spec": {"serviceSelector": selector, "loadBalancerIPs": true}})
}

#[tokio::test]
async fn policies_installed_later_take_over_from_the_flags() {
    let mut scene = Scene::start(|server| {
        for (name, ip, labels) in
            [("web", "192.0.2.10", announced()), ("db", "192.0.2.11", json!({"app": "db"}))]
        {
            let body = service(name, ip, labels, "Cluster");
            server.objects().apply(&SERVICES, "default", body).expect("a Service");
        }
    });
    scene.until(&[("192.0.2.10", &["n1"])]).await;
    install_policies(&scene.server);
    scene.apply(&policies(), "", policy(json!({"matchLabels": {"app": "db"}})));
    scene.until(&[("192.0.2.11", &["n1"])]).await;
    let accepted = |policy: Option<&Value>| {
        let condition = policy.map(|p| &p["status"]["conditions"][0]);
        condition.is_some_and(|c| c["type"] == "Accepted" && c["status"] == "True")
    };
    let objects = scene.server.objects();
    objects.until(&policies(), "", "p", accepted, LONG).await.expect("the status is written");
    scene.server.objects().delete(&policies(), "", "p").expect("a policy");
    scene.until(&[("192.0.2.10", &["n1"])]).await;
    // Nothing called for these.
    for resource in [ENDPOINT_SLICES, gateways()] {
        assert_eq!(scene.server.audit().count(&Match::any().resource(resource)), 0);
    }
}

#[tokio::test]
async fn a_bad_policy_is_told_so_once_by_many_announcers() {
    let mut scenes = Vec::new();
    let mut first = Scene::start(install_policies);
    for _ in 0..4 {
        let mut config = kube::Config::new(first.server.url().parse().expect("a URL"));
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client");
        let (links, links_out) = channel::channel(None);
        let (intent_in, intent) = channel::channel(None);
        let me = "n1".parse().expect("a node name");
        let task = tokio::spawn(watch::run(
            client,
            me,
            selection(),
            links_out,
            intent_in,
            reports(),
            None,
        ));
        scenes.push((links, intent, task));
    }
    first.until(&[]).await;
    let bad = json!({"metadata": {"name": "p"},
        "spec": {"interfaces": ["eth("], "loadBalancerIPs": true}});
    first.apply(&policies(), "", bad);
    let refused = |policy: Option<&Value>| {
        let condition = policy.map(|p| &p["status"]["conditions"][0]);
        condition.is_some_and(|c| c["status"] == "False" && c["reason"] == "BadInterfaces")
    };
    let objects = first.server.objects();
    objects.until(&policies(), "", "p", refused, LONG).await.expect("the status is written");
    // A change that comes after the status makes every announcer look at it again.
    first.apply(&SERVICES, "default", service("web", "192.0.2.10", announced(), "Cluster"));
    first.server.objects().delete(&policies(), "", "p").expect("a policy");
    first.until(&[("192.0.2.10", &["n1"])]).await;
    let writes = Match::any().verb(Verb::Patch).resource(policies());
    assert_eq!(first.server.audit().writes(&writes), 1, "one write changed something");
    scenes.into_iter().for_each(|(_, _, task)| task.abort());
}

#[tokio::test]
async fn endpoints_are_watched_when_a_local_service_comes() {
    let mut scene = Scene::start(|server| {
        server.objects().create(&NODES, "", node("n2")).expect("a Node");
        let slice = json!({
            "metadata": {"name": "web-1", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n2"}],
        });
        server.objects().create(&ENDPOINT_SLICES, "default", slice).expect("a slice");
    });
    scene.apply(&SERVICES, "default", service("web", "192.0.2.10", announced(), "Cluster"));
    scene.until(&[("192.0.2.10", &["n1", "n2"])]).await;
    scene.apply(&SERVICES, "default", service("web", "192.0.2.10", announced(), "Local"));
    scene.until(&[("192.0.2.10", &["n2"])]).await;
    let moved = json!({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n1"}]});
    let objects = scene.server.objects();
    objects.patch(&ENDPOINT_SLICES, "default", "web-1", moved).expect("a slice");
    scene.until(&[("192.0.2.10", &["n1"])]).await;
}

#[tokio::test]
async fn gateways_may_be_installed_after_their_services() {
    let mut scene = Scene::start(|_| {});
    scene.until(&[]).await;
    let labels = json!({"gateway.networking.k8s.io/gateway-name": "g"});
    scene.apply(&SERVICES, "default", service("made", "192.0.2.10", labels, "Cluster"));
    let asked = Match::any().resource(gateways());
    scene.server.objects().register(CustomResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1".to_owned(),
        plural: "gateways".to_owned(),
        kind: "Gateway".to_owned(),
        namespaced: true,
        status: true,
    });
    let gateway = json!({"metadata": {"name": "g", "namespace": "default", "labels": announced()},
        "spec": {"gatewayClassName": "c"}});
    scene.apply(&gateways(), "default", gateway);
    scene.until(&[("192.0.2.10", &["n1"])]).await;
    assert!(scene.server.audit().count(&asked) > 0);
    scene.server.objects().delete(&gateways(), "default", "g").expect("a Gateway");
    scene.until(&[]).await;
}

#[tokio::test]
async fn nothing_is_published_while_nodes_cannot_be_listed() {
    let refused = Match::any().resource(NODES).verb(Verb::List);
    let mut fault = None;
    let mut scene = Scene::start(|server| {
        fault = Some(server.faults().inject(refused.clone(), Fault::Refuse(Refusal::Server(503))));
    });
    scene.apply(&SERVICES, "default", service("web", "192.0.2.10", announced(), "Cluster"));
    let audit = scene.server.audit().clone();
    let asked = tokio::task::spawn_blocking(move || audit.wait_for(&refused, 4, LONG)).await;
    assert!(asked.expect("a thread"), "it asks again");
    assert!(scene.intent.borrow().is_none());
    drop(fault);
    scene.until(&[("192.0.2.10", &["n1"])]).await;
}

#[tokio::test]
async fn links_of_this_node_count_for_it() {
    let mut scene = Scene::start(|server| {
        server.objects().create(&NODES, "", node("n2")).expect("a Node");
    });
    scene.apply(&SERVICES, "default", service("web", "192.0.2.10", announced(), "Cluster"));
    scene.until(&[("192.0.2.10", &["n1", "n2"])]).await;
    scene.links.send_replace(Some(Links::new()));
    scene.until(&[("192.0.2.10", &["n2"])]).await;
    scene.links.send_replace(None);
    scene.until(&[("192.0.2.10", &["n1", "n2"])]).await;
}

//! A server, and clients of it.

use std::{net::TcpListener, time::Duration};

use announcer_apiserver::{ApiServer, Options};
use k8s_openapi::api::{
    coordination::v1::{Lease, LeaseSpec},
    core::v1::Service,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

/// Longer than anything here takes: a test that waits this long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn start() -> ApiServer {
    start_with(Options::default())
}

pub(crate) fn start_with(options: Options) -> ApiServer {
    ApiServer::start_with(TcpListener::bind("127.0.0.1:0").unwrap(), options).unwrap()
}

/// A kube client of this name.
pub(crate) async fn client(server: &ApiServer, name: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(name)).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.read_timeout = Some(LONG);
    // What a fault does is to be seen, not retried away.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

pub(crate) async fn leases(server: &ApiServer, name: &str) -> Api<Lease> {
    Api::namespaced(client(server, name).await, "kube-system")
}

pub(crate) fn lease(name: &str, holder: &str) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() }),
    }
}

pub(crate) fn with_holder(mut lease: Lease, holder: &str) -> Lease {
    lease.spec.get_or_insert_default().holder_identity = Some(holder.to_owned());
    lease
}

pub(crate) fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

pub(crate) fn lease_json(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"holderIdentity": "x"}})
}

pub(crate) async fn create_service(api: &Api<Service>, name: &str) -> Service {
    let service = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }));
    api.create(&PostParams::default(), &service.unwrap()).await.unwrap()
}

/// The HTTP code and reason of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

//! The API server: whether it answers, how fast, and what it allows.

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::Node,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    causes::with_sources,
    cli::DoctorArgs,
    client, config,
    datapath::survey::Found,
    doctor::{
        facts::{Cluster, NodeObject, Right},
        rights::{self, Rule, Scope},
    },
    intent::index::EXCLUDE_LABEL,
    ownership::timing::Timing,
};

/// So often it is asked for its version, which costs it nothing.
const QUESTIONS: usize = 5;
/// No answer in this time is none.
const PATIENCE: Duration = Duration::from_secs(5);
const UNASKED: &str = "not asked";
const POLICIES: &str = "l2announcer.io/v1alpha1";

pub(super) async fn cluster(args: &DoctorArgs, timing: Timing) -> Cluster {
    let namespace = args.kubernetes.api.namespace.clone();
    let node = match &args.kubernetes.node_name {
        Some(node) => Ok(node.to_string()),
        None => config::host_name().map(|node| node.to_string()).map_err(|e| with_sources(&e)),
    };
    let mut cluster = Cluster {
        namespace,
        node,
        is_node_given: args.kubernetes.node_name.is_some(),
        credentials: Ok(()),
        latencies_ms: Err(UNASKED.to_owned()),
        version: None,
        rights: Vec::new(),
        node_object: None,
        serves_policies: Err(UNASKED.to_owned()),
    };
    let patience = timing.request_timeout().max(PATIENCE);
    match client::connect(args.kubernetes.api.kubeconfig.as_deref(), patience).await {
        Ok((client, server)) => {
            ask(&mut cluster, &client, args.kubernetes.service_condition).await;
            let url = server.url();
            cluster.latencies_ms = cluster.latencies_ms.map_err(|why| format!("{why} ({url})"));
        }
        Err(error) => cluster.credentials = Err(with_sources(&error)),
    }
    cluster
}

async fn ask(cluster: &mut Cluster, client: &Client, service_condition: bool) {
    let mut latencies = Vec::new();
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        match within(client.apiserver_version()).await {
            Ok(info) => cluster.version = Some(info.git_version),
            Err(error) => {
                cluster.latencies_ms = Err(error.text());
                return;
            }
        }
        latencies.push((asked.elapsed().as_secs_f64() * 1e5).round() / 1e2);
    }
    // The first one had to connect.
    latencies.remove(0);
    cluster.latencies_ms = Ok(latencies);
    for rule in rights::needed(service_condition) {
        for verb in rule.verbs {
            cluster.rights.push(review(client, &cluster.namespace, rule, verb).await);
        }
    }
    cluster.serves_policies = match within(client.list_api_group_resources(POLICIES)).await {
        Ok(list) => Ok(list.resources.iter().any(|it| it.name == "l2announcementpolicies")),
        Err(Trouble::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error.text()),
    };
    let is_refused = |right: &Right| {
        (&*right.resource, &*right.verb) == ("nodes", "get") && right.is_allowed == Ok(false)
    };
    // What is known to be refused is not asked for: it would only stand in an audit log.
    if let Ok(name) = &cluster.node
        && !cluster.rights.iter().any(is_refused)
    {
        cluster.node_object = Some(node(client, name).await);
    }
}

async fn review(client: &Client, leases_in: &str, rule: &Rule, verb: &str) -> Right {
    let (resource, subresource) = match rule.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (rule.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(rule.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        namespace: (rule.scope == Scope::Leases).then(|| leases_in.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = within(reviews.create(&PostParams::default(), &review)).await;
    Right {
        group: rule.group.to_owned(),
        resource: rule.resource.to_owned(),
        verb: verb.to_owned(),
        is_allowed: answer
            .map(|review| review.status.is_some_and(|status| status.allowed))
            .map_err(Trouble::text),
    }
}

async fn node(client: &Client, name: &str) -> Found<Option<NodeObject>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = match within(nodes.get(name)).await {
        Ok(node) => node,
        Err(Trouble::Api(status)) if status.code == 404 => return Ok(None),
        Err(error) => return Err(error.text()),
    };
    let mut conditions = node.status.into_iter().flat_map(|s| s.conditions.unwrap_or_default());
    let is_ready = |condition: k8s_openapi::api::core::v1::NodeCondition| {
        condition.type_ == "Ready" && condition.status == "True"
    };
    let labels = node.metadata.labels.unwrap_or_default();
    Ok(Some(NodeObject {
        is_ready: conditions.any(is_ready),
        is_excluded: labels.contains_key(EXCLUDE_LABEL),
    }))
}

/// Why there is no answer.
enum Trouble {
    Api(Box<kube::core::Status>),
    Other(String),
}

impl Trouble {
    fn text(self) -> String {
        match self {
            Self::Api(status) => format!("{} ({})", status.message, status.code),
            Self::Other(text) => text,
        }
    }
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Trouble::Api(status)),
        Ok(Err(error)) => Err(Trouble::Other(client::reason(&error))),
        Err(_) => Err(Trouble::Other(format!("no answer within {PATIENCE:?}"))),
    }
}

//! The API server, rights, and this node in the cluster.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    doctor::{
        facts::{Cluster, Facts, Right},
        report::{Finding, Group},
        rights::{self, Need},
    },
    intent::index::EXCLUDE_LABEL,
    ownership::timing::Timing,
};

const GROUP: Group = Group::Cluster;

pub(super) fn checks(facts: &Facts, cluster: Option<&Cluster>) -> Vec<Finding> {
    let Some(cluster) = cluster else {
        return vec![Finding::hint(
            GROUP,
            "cluster",
            "not looked at, as --no-cluster and --static-vip want it",
            "without them API server, rights and this node's Node are checked, too",
        )];
    };
    if let Err(error) = &cluster.credentials {
        let failure = Finding::failure(
            GROUP,
            "credentials",
            error.clone(),
            "give --kubeconfig FILE, or --no-cluster (or --static-vip) to leave the cluster out",
        );
        return vec![failure, unchecked("without credentials")];
    }
    let latencies = match &cluster.latencies_ms {
        Ok(latencies) => latencies,
        Err(error) => {
            let failure = Finding::failure(
                GROUP,
                "API server",
                format!("no answer: {error}"),
                "look at the address in the kubeconfig (in a pod: KUBERNETES_SERVICE_HOST), at \
                 routes and firewalls from this node to it, and at the API server",
            );
            return vec![failure, unchecked("without an answer of the API server")];
        }
    };
    let mut findings = vec![latency(facts, cluster, latencies)];
    findings.extend(allowed(cluster));
    findings.push(node(cluster));
    findings.push(policies(cluster));
    findings
}

/// What rests on the finding before.
fn unchecked(why: &str) -> Finding {
    Finding::warning(
        GROUP,
        "not checked",
        format!("rights, this node's Node and policies, {why}"),
        "mend what is said before, and ask again",
    )
}

fn latency(facts: &Facts, cluster: &Cluster, latencies: &[f64]) -> Finding {
    let version = cluster.version.as_deref().unwrap_or("unknown");
    let most = latencies.iter().copied().fold(0.0, f64::max);
    let found = format!("Kubernetes {version} answers within {most:.1} ms");
    let millis = Duration::from_millis;
    let settings = &facts.settings;
    let (lease, renew) = (millis(settings.lease_duration_ms), millis(settings.renew_interval_ms));
    // They were checked before; a file may say anything.
    let Ok(timing) = Timing::new(lease, renew) else {
        return Finding::ok(GROUP, "API server", found);
    };
    let patience = timing.request_timeout();
    let patience_ms = patience.as_secs_f64() * 1e3;
    let found = format!("{found}; a renewal is given up after {patience_ms:.0} ms");
    let remedy = format!(
        "find out what is slow (etcd's disk, a proxy, the network), or give --lease-duration more \
         than {lease:?} on every node"
    );
    if most > patience_ms {
        Finding::failure(GROUP, "API server", found, remedy)
    } else if most * 4.0 > patience_ms {
        Finding::warning(GROUP, "API server", found, remedy)
    } else {
        Finding::ok(GROUP, "API server", found)
    }
}

/// One line for each resource of which something is missing; one for all if nothing is.
fn allowed(cluster: &Cluster) -> Vec<Finding> {
    let mut missing: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut unknown: Vec<&str> = Vec::new();
    for Right { group, resource, verb, is_allowed } in &cluster.rights {
        match is_allowed {
            Ok(true) => {}
            Ok(false) => missing.entry((group, resource)).or_default().push(verb),
            Err(error) => unknown.push(error),
        }
    }
    let mut findings: Vec<_> = missing
        .into_iter()
        .map(|((group, resource), verbs)| not_allowed(cluster, group, resource, &verbs))
        .collect();
    if let Some(error) = unknown.first() {
        findings.push(Finding::warning(
            GROUP,
            "rights",
            format!("{} of {} cannot be asked for: {error}", unknown.len(), cluster.rights.len()),
            "let the API server serve authorization.k8s.io/v1, or compare with \
             deploy/kustomize/base/rbac.yaml by hand",
        ));
    } else if findings.is_empty() {
        let found = format!("all {} that the daemon needs", cluster.rights.len());
        findings.push(Finding::ok(GROUP, "rights", found));
    }
    findings
}

fn not_allowed(cluster: &Cluster, group: &str, resource: &str, verbs: &[&str]) -> Finding {
    let of = if group.is_empty() { String::new() } else { format!(".{group}") };
    let found = format!("may not {} {resource}{of}", verbs.join(", "));
    let remedy = format!(
        "kubectl apply -k deploy/kustomize/base brings the roles; they are for ServiceAccount \
         announcer in {}",
        cluster.namespace
    );
    match rights::of(group, resource).map(|rule| rule.need) {
        Some(Need::ServiceCondition) => Finding::warning(
            GROUP,
            "rights",
            format!("{found}: --service-condition does nothing"),
            "add the component deploy/kustomize/components/service-condition, or say \
             settings.serviceCondition: true to the chart; or leave --service-condition out",
        ),
        Some(Need::Sometimes(consequence)) => {
            Finding::warning(GROUP, "rights", format!("{found}: {consequence}"), remedy)
        }
        Some(Need::Always) | None => Finding::failure(GROUP, "rights", found, remedy),
    }
}

fn node(cluster: &Cluster) -> Finding {
    let what = "node";
    let name = match &cluster.node {
        Ok(name) => name,
        Err(error) => {
            let found = format!("this node's name is not known: {error}");
            let remedy = "give --node-name the name that `kubectl get nodes` has for this machine";
            return Finding::failure(GROUP, what, found, remedy);
        }
    };
    // Where the daemon is told another name, another Node counts.
    let by =
        if cluster.is_node_given { "" } else { " (by the host name; --node-name gives another)" };
    match &cluster.node_object {
        None => Finding::warning(
            GROUP,
            what,
            format!("whether there is a Node {name}{by} is not known: it may not be read"),
            "give the rights that are named above, or --kubeconfig with one that has them",
        ),
        Some(Err(error)) => Finding::warning(
            GROUP,
            what,
            format!("Node {name} cannot be read: {error}"),
            format!("kubectl get node {name}"),
        ),
        Some(Ok(None)) => Finding::failure(
            GROUP,
            what,
            format!("there is no Node {name}{by}"),
            "give --node-name the name that `kubectl get nodes` has for this machine",
        ),
        Some(Ok(Some(node))) if node.is_excluded => Finding::warning(
            GROUP,
            what,
            format!("Node {name} is excluded from load balancers, and holds no VIPs"),
            format!("kubectl label node {name} {EXCLUDE_LABEL}-"),
        ),
        Some(Ok(Some(node))) if !node.is_ready => Finding::warning(
            GROUP,
            what,
            format!("Node {name} is not Ready, and holds no VIPs"),
            format!("kubectl describe node {name}"),
        ),
        Some(Ok(Some(_))) => {
            Finding::ok(GROUP, what, format!("Node {name} is there and Ready{by}"))
        }
    }
}

fn policies(cluster: &Cluster) -> Finding {
    let what = "policies";
    match &cluster.serves_policies {
        Ok(true) => Finding::ok(GROUP, what, "L2AnnouncementPolicies are served"),
        Ok(false) => Finding::hint(
            GROUP,
            what,
            "L2AnnouncementPolicies are not served: --service-selector decides",
            "for policies: kubectl apply -k deploy/crds",
        ),
        Err(error) => Finding::warning(
            GROUP,
            what,
            format!("whether policies are served cannot be found out: {error}"),
            "kubectl get crd l2announcementpolicies.l2announcer.io",
        ),
    }
}

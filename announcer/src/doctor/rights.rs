//! What the daemon asks of the API server: deploy/kustomize as a table.

/// How badly a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing works without it.
    Always,
    /// Something works less well.
    Sometimes(&'static str),
    /// Only with `--service-condition`, which does nothing without it.
    ServiceCondition,
}

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the namespace of the Leases.
    Leases,
}

/// Some verbs on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with a subresource after a slash.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// Where.
    pub scope: Scope,
    /// How badly.
    pub need: Need,
}

const fn rule(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { group, resource, verbs, scope: Scope::Cluster, need: Need::Always }
}

impl Rule {
    const fn unless(self, missing: &'static str) -> Self {
        Self { need: Need::Sometimes(missing), ..self }
    }
}

const READ: &[&str] = &["list", "watch"];

/// All of them, whatever the settings.
pub const RULES: &[Rule] = &[
    rule("", "services", READ),
    rule("", "nodes", &["get", "list", "watch"]),
    rule("l2announcer.io", "l2announcementpolicies", READ),
    rule("l2announcer.io", "l2announcementpolicies/status", &["patch"])
        .unless("policies do not say whether they are accepted"),
    rule("discovery.k8s.io", "endpointslices", READ)
        .unless("no Service with externalTrafficPolicy: Local is announced"),
    rule("gateway.networking.k8s.io", "gateways", READ)
        .unless("Services of Gateways do not inherit their labels"),
    rule("networking.k8s.io", "ingresses", READ)
        .unless("Services of Ingresses do not inherit their labels"),
    Rule { need: Need::ServiceCondition, ..rule("", "services/status", &["patch"]) },
    rule("events.k8s.io", "events", &["create"])
        .unless("address conflicts are told in the log only, not as Events"),
    Rule {
        scope: Scope::Leases,
        ..rule("coordination.k8s.io", "leases", &["get", "list", "watch", "create", "update"])
    },
];

/// Those that a daemon needs with or without `--service-condition`.
pub fn needed(service_condition: bool) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| service_condition || rule.need != Need::ServiceCondition)
}

/// The rule about a resource.
pub fn of(group: &str, resource: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.group == group && rule.resource == resource)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Manifest {
        kind: String,
        #[serde(default)]
        rules: Vec<Granted>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Granted {
        api_groups: Vec<String>,
        resources: Vec<String>,
        verbs: Vec<String>,
    }

    /// Of a patch (RFC 6902).
    #[derive(Deserialize)]
    struct Addition {
        path: String,
        value: Granted,
    }

    type Right = (&'static str, String, String, String);

    fn read(name: &str) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kustomize/");
        std::fs::read_to_string(format!("{path}{name}")).expect(name)
    }

    #[test]
    fn the_table_is_what_the_manifests_grant() {
        let yaml = read("base/rbac.yaml");
        let mut manifests: Vec<Manifest> = serde_saphyr::from_multiple(&yaml).expect("manifests");
        assert_granted(&manifests, false);
        let yaml = read("components/service-condition/rule.yaml");
        let additions: Vec<Addition> = serde_saphyr::from_str(&yaml).expect("a patch");
        assert!(additions.iter().all(|addition| addition.path == "/rules/-"));
        let rules = additions.into_iter().map(|addition| addition.value).collect();
        manifests.push(Manifest { kind: "ClusterRole".to_owned(), rules });
        assert_granted(&manifests, true);
    }

    fn assert_granted(manifests: &[Manifest], service_condition: bool) {
        let mut granted: BTreeSet<Right> = BTreeSet::new();
        for manifest in manifests {
            let scope = if manifest.kind == "Role" { "Leases" } else { "Cluster" };
            for rule in &manifest.rules {
                for (group, resource) in rule
                    .api_groups
                    .iter()
                    .flat_map(|group| rule.resources.iter().map(move |resource| (group, resource)))
                {
                    granted.extend(
                        rule.verbs
                            .iter()
                            .map(|verb| (scope, group.clone(), resource.clone(), verb.clone())),
                    );
                }
            }
        }
        let mut asked: BTreeSet<Right> = BTreeSet::new();
        for rule in needed(service_condition) {
            let scope = if rule.scope == Scope::Leases { "Leases" } else { "Cluster" };
            let own = |verb: &&str| {
                (scope, rule.group.to_owned(), rule.resource.to_owned(), (*verb).to_owned())
            };
            asked.extend(rule.verbs.iter().map(own));
        }
        assert_eq!(asked, granted);
    }
}

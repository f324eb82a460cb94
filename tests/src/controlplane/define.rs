//! Custom resources that tests bring along.

use std::time::Duration;

use announcer_apiserver::{CustomResource, GroupResource};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Admin;

/// The API server takes some milliseconds, and a second when it is busy.
const SOON: Duration = Duration::from_secs(30);
/// Marks definitions that are to be removed again.
const OF_TESTS: &str = "lab";

fn definitions() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

impl Admin {
    pub(super) fn define(&self, custom: &CustomResource) -> Result<()> {
        let CustomResource { group, version, plural, kind, namespaced, status } = custom;
        let name = format!("{plural}.{group}");
        if self.get(&definitions(), "", &name)?.is_some() {
            return Ok(());
        }
        let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let definition = json!({
            "metadata": {
                "name": name,
                "labels": { OF_TESTS: "true" },
                // Groups below k8s.io are reserved for who says that they have been reviewed.
                "annotations": { "api-approved.kubernetes.io": "unapproved, for tests" },
            },
            "spec": {
                "group": group,
                "scope": if *namespaced { "Namespaced" } else { "Cluster" },
                "names": { "plural": plural, "kind": kind },
                "versions": [{
                    "name": version, "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": anything },
                    "subresources": if *status { json!({ "status": {} }) } else { json!({}) },
                }],
            },
        });
        self.create(&definitions(), "", definition)?;
        let established = |definition: Option<&Value>| {
            let conditions = definition.and_then(|it| it.pointer("/status/conditions"));
            let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
            conditions.into_iter().any(|c| c["type"] == "Established" && c["status"] == "True")
        };
        self.wait_for(&definitions(), "", &name, established, SOON).context("a definition")?;
        // It says so before it serves the kind. What is waited for is a list that succeeds.
        let defined = GroupResource::new(group.clone(), plural.clone());
        self.wait_for(&defined, "", "", |_| true, SOON).context("a kind that was defined")?;
        Ok(())
    }

    /// Removes the definitions that tests brought along.
    pub(super) fn undefine(&self) -> Result<()> {
        for definition in self.list(&definitions(), "")? {
            if definition["metadata"]["labels"].get(OF_TESTS).is_none() {
                continue;
            }
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            self.delete(&definitions(), "", name)?;
            self.wait_for(&definitions(), "", name, |it| it.is_none(), SOON)?;
        }
        Ok(())
    }
}

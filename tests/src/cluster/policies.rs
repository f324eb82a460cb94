//! Custom resources: our policies, and the Gateway API's Gateways.

use announcer_apiserver::{CustomResource, GroupResource};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Cluster, SERVICES_IN};

/// L2AnnouncementPolicies; cluster-scoped.
pub fn policies() -> GroupResource {
    GroupResource::new("l2announcer.io", "l2announcementpolicies")
}

/// Gateways of the Gateway API.
pub fn gateways() -> GroupResource {
    GroupResource::new("gateway.networking.k8s.io", "gateways")
}

impl Cluster {
    /// Installs the CustomResourceDefinition of our policies, as `deploy/crds` does. A real
    /// control plane has it from the start.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn install_policies(&self) -> Result<()> {
        self.objects().register(CustomResource {
            group: "l2announcer.io".to_owned(),
            version: "v1alpha1".to_owned(),
            plural: "l2announcementpolicies".to_owned(),
            kind: "L2AnnouncementPolicy".to_owned(),
            namespaced: false,
            status: true,
        })
    }

    /// Installs the Gateway API, as far as Gateways go.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn install_gateways(&self) -> Result<()> {
        self.objects().register(CustomResource {
            group: "gateway.networking.k8s.io".to_owned(),
            version: "v1".to_owned(),
            plural: "gateways".to_owned(),
            kind: "Gateway".to_owned(),
            namespaced: true,
            status: true,
        })
    }

    /// Creates a policy that announces `status.loadBalancer.ingress`, or merges `spec`
    /// into the one that is there.
    ///
    /// # Errors
    /// Policies are not installed.
    pub fn set_policy(&self, name: &str, spec: Value) -> Result<()> {
        let mut policy = json!({ "metadata": { "name": name }, "spec": spec });
        policy["spec"]["loadBalancerIPs"] = json!(true);
        let written = self.objects().apply(&policies(), "", policy);
        written.with_context(|| format!("writing L2AnnouncementPolicy {name}"))?;
        Ok(())
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn delete_policy(&self, name: &str) -> Result<()> {
        let deleted = self.objects().delete(&policies(), "", name);
        deleted.with_context(|| format!("deleting L2AnnouncementPolicy {name}"))?;
        Ok(())
    }

    /// Creates a Gateway with these labels, or merges them into those that it has.
    ///
    /// # Errors
    /// Gateways are not installed.
    pub fn set_gateway(&self, name: &str, labels: Value) -> Result<()> {
        let gateway = json!({
            "metadata": { "name": name, "labels": labels },
            "spec": { "gatewayClassName": "lab" },
        });
        let written = self.objects().apply(&gateways(), SERVICES_IN, gateway);
        written.with_context(|| format!("writing Gateway {name}"))?;
        Ok(())
    }
}

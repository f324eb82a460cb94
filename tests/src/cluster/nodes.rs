//! The Node objects of a cluster, as kubelets, controllers and people write them.

use announcer_apiserver::NODES;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Cluster;

impl Cluster {
    /// What node `n` is called in the cluster: as its host, unless [`Self::rename`] said
    /// otherwise.
    ///
    /// # Panics
    /// There is no such node.
    pub fn name(&self, n: usize) -> &str {
        let name = n.checked_sub(1).and_then(|i| self.names.get(i));
        name.unwrap_or(&self.lab.node(n).name)
    }

    /// Gives node `n` another name, from the next start of its announcer on, and makes a
    /// Ready Node object of that name. The object of the old name stays.
    ///
    /// # Errors
    /// The API server refuses the name.
    pub fn rename(&mut self, n: usize, name: &str) -> Result<()> {
        if let Some(known) = n.checked_sub(1).and_then(|i| self.names.get_mut(i)) {
            name.clone_into(known);
        }
        self.set_node_ready(name, true)
    }

    /// Writes a Node object and its condition Ready, as a kubelet would.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_node_ready(&self, name: &str, ready: bool) -> Result<()> {
        self.set_node_conditions(name, &[("Ready", if ready { "True" } else { "False" })])
    }

    /// The uid of a Node object; `None` if there is none.
    pub fn node_uid(&self, name: &str) -> Option<String> {
        let node = self.objects().get(&NODES, "", name)?;
        Some(node.pointer("/metadata/uid")?.as_str()?.to_owned())
    }

    /// Writes a Node object and all its conditions.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_node_conditions(&self, name: &str, conditions: &[(&str, &str)]) -> Result<()> {
        let condition = |(kind, status): &(&str, &str)| json!({ "type": kind, "status": status });
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        let host = self.number_of(name).map(|n| self.lab.node(n).ip.to_string());
        let address = |ip| json!({ "type": "InternalIP", "address": ip });
        let addresses: Vec<_> = host.map(address).into_iter().collect();
        let node = json!({
            "metadata": { "name": name },
            "status": { "conditions": conditions, "addresses": addresses },
        });
        let written = self.objects().apply(&NODES, "", node);
        written.with_context(|| format!("writing Node {name}"))?;
        Ok(())
    }

    /// Sets or (`None`) removes a label of node `n`.
    ///
    /// # Errors
    /// There is no such Node object.
    pub fn set_node_label(&self, n: usize, key: &str, value: Option<&str>) -> Result<()> {
        self.patch_node(n, json!({ "metadata": { "labels": { key: value } } }))
    }

    /// Cordons or uncordons node `n`.
    ///
    /// # Errors
    /// There is no such Node object.
    pub fn set_cordoned(&self, n: usize, cordoned: bool) -> Result<()> {
        self.patch_node(n, json!({ "spec": { "unschedulable": cordoned } }))
    }

    /// Deletes a Node object.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn delete_node(&self, name: &str) -> Result<()> {
        let deleted = self.objects().delete(&NODES, "", name);
        deleted.with_context(|| format!("deleting Node {name}"))?;
        Ok(())
    }

    fn patch_node(&self, n: usize, patch: Value) -> Result<()> {
        let name = self.name(n);
        let written = self.objects().patch(&NODES, "", name, patch);
        written.with_context(|| format!("changing Node {name}"))?;
        Ok(())
    }
}

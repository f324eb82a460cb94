//! Who an announcer is: a Pod of the shipped DaemonSet, and its ServiceAccount's token
//! in a file, as the kubelet would put it there.

use std::path::Path;

use announcer_apiserver::GroupResource;
use anyhow::{Context, Result};
use serde_json::json;

use super::{ControlPlane, pki};
use crate::cluster::NAMESPACE;

/// The name of the shipped DaemonSet, and of its ServiceAccount.
const NAME: &str = "announcer";

impl ControlPlane {
    /// Makes the Pod that the DaemonSet's controller would for `node`, and writes a token
    /// for it into `token` and a kubeconfig that names this file into `kubeconfig`.
    ///
    /// # Errors
    /// The API server refuses the Pod, or a file cannot be written.
    pub fn introduce(&self, node: &str, token: &Path, kubeconfig: &Path) -> Result<()> {
        let (sets, pods) =
            (GroupResource::new("apps", "daemonsets"), GroupResource::new("", "pods"));
        let set = self.admin.get(&sets, NAMESPACE, NAME)?;
        let set = set.context("the manifests have no DaemonSet announcer")?;
        let mut spec = set["spec"]["template"]["spec"].clone();
        spec["nodeName"] = json!(node);
        let name = format!("{NAME}-{node}");
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        let pod = json!({ "metadata": { "name": name, "labels": labels }, "spec": spec });
        self.admin.create(&pods, NAMESPACE, pod).with_context(|| format!("creating Pod {name}"))?;
        pki::replace(token, &self.announcer_token(node)?)?;
        let config = self.pki.kubeconfig_of_token_file(&self.url(), token);
        pki::replace(kubeconfig, &config)
    }

    /// A further token for the announcer of `node`, which has been introduced.
    ///
    /// # Errors
    /// It has not been.
    pub fn announcer_token(&self, node: &str) -> Result<String> {
        self.admin.token(NAMESPACE, NAME, &format!("{NAME}-{node}"))
    }

    /// Puts another token into the place of one, as the kubelet does.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn replace_token(&self, file: &Path, token: &str) -> Result<()> {
        pki::replace(file, token)
    }
}

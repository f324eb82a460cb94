//! Which node answers with which MAC: the announcers write it into their Leases.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};

use crate::{
    client,
    conflict::Vendor,
    exit::Failure,
    ownership::store::{self, Known, LEASE_LABEL},
    types::{MacAddr, NodeName},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Nodes by MAC; empty without a kubeconfig.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<MacAddr, NodeName>);

impl Names {
    /// Reads the Leases once.
    pub(super) async fn read(kubeconfig: Option<&Path>, namespace: &str) -> Result<Self, Failure> {
        let Some(kubeconfig) = kubeconfig else { return Ok(Self::default()) };
        let (client, server) = client::connect(Some(kubeconfig), PATIENCE).await?;
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let nodes = ListParams::default().labels(&format!("{LEASE_LABEL}=node"));
        let listed = tokio::time::timeout(PATIENCE, leases.list(&nodes)).await;
        let failed = || {
            format!(
                "the Leases of {namespace}, which name nodes, cannot be read (leave out --kubeconfig to \
                 do without); {server}"
            )
        };
        let listed = listed.with_context(failed).map_err(Failure::unexpected)?;
        let listed = listed.with_context(failed).map_err(Failure::unexpected)?;
        let mut names = BTreeMap::new();
        for lease in &listed.items {
            if let Ok(Known::Node(node, _, macs)) = store::understand(lease) {
                names.extend(macs.into_iter().map(|mac| (mac, node.clone())));
            }
        }
        Ok(Self(names))
    }

    /// The node that announces with this MAC.
    pub(super) fn node(&self, mac: MacAddr) -> Option<&NodeName> {
        self.0.get(&mac)
    }

    /// For people: the MAC, and its node or its vendor's prefix.
    pub(super) fn describe(&self, mac: MacAddr) -> String {
        match self.node(mac) {
            Some(node) => format!("{mac} ({node})"),
            None => format!("{mac} ({})", Vendor(mac)),
        }
    }
}

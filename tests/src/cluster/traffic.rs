//! What is behind the VIPs: backends in pods, and how nodes forward to them.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use anyhow::Result;

use super::{Cluster, plane::Server};
use crate::{
    backend::{Backend, pod_backend},
    controlplane,
    daemon::Daemon,
    forward::forward,
};

/// The port of every Service.
const HTTP: u16 = 80;

impl Cluster {
    /// kube-proxy on every node, where the API server is a real one.
    pub(super) fn start_proxies(&self) -> Result<Vec<Daemon>> {
        let Server::Real(control) = &self.server else { return Ok(Vec::new()) };
        let start = |node| control.start_proxy(node, &node.name, self.kubeconfigs.path());
        self.lab.nodes().iter().map(start).collect()
    }

    /// Serves HTTP in the pod of node `n`.
    ///
    /// # Errors
    /// Another backend serves there.
    pub fn backend(&self, n: usize) -> Result<Backend> {
        let node = self.lab.node(n);
        pod_backend(&node.pod, node.pod_ip, &format!("pod on {}", node.name))
    }

    /// Serves HTTP in the last node's pod, as the one endpoint of `service`, to which each
    /// node forwards port 80 of `vip`: kube-proxy does, or with the embedded API server
    /// rules as it would write them. See [`Self::wait_forwarded`].
    ///
    /// # Errors
    /// nftables is missing, or another backend serves there.
    pub fn serve(&self, service: &str, vip: Ipv4Addr) -> Result<Backend> {
        let last = self.lab.nodes().len();
        let backend = self.backend(last)?;
        self.set_endpoints(service, &[last])?;
        if let Server::Embedded(_) = self.server {
            for node in self.lab.nodes() {
                forward(&node.ns, SocketAddrV4::new(vip, HTTP), backend.address())?;
            }
        }
        Ok(backend)
    }

    /// Waits until every node forwards port 80 of `vip` to some endpoint.
    ///
    /// # Errors
    /// One does not within `within`.
    pub fn wait_forwarded(&self, vip: Ipv4Addr, within: Duration) -> Result<()> {
        let Server::Real(_) = self.server else { return Ok(()) };
        let mut nodes = self.lab.nodes().iter();
        nodes.try_for_each(|node| controlplane::wait_forwarded(&node.ns, vip, HTTP, within))
    }
}

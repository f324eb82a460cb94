//! Services and their endpoints, as people and controllers write them.

use std::net::Ipv4Addr;

use announcer_apiserver::{ENDPOINT_SLICES, SERVICES};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{ANNOUNCE, Cluster, SERVICES_IN};
use crate::backend::POD_PORT;

impl Cluster {
    /// Creates a Service of type LoadBalancer with the label of [`ANNOUNCE`], and writes
    /// its address as a load balancer's controller would.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn create_service(&self, name: &str, vip: Ipv4Addr) -> Result<()> {
        let (key, value) = ANNOUNCE;
        self.create_service_without_address(name, json!({ key: value }))?;
        self.set_addresses(name, &[vip])
    }

    /// Creates a Service of type LoadBalancer with these labels that waits for its
    /// address.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn create_service_without_address(&self, name: &str, labels: Value) -> Result<()> {
        let service = json!({
            "metadata": { "name": name, "labels": labels },
            "spec": {
                "type": "LoadBalancer",
                // There are 2,768 of them, and nothing here uses any.
                "allocateLoadBalancerNodePorts": false,
                "selector": { "app": name },
                "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
            },
        });
        let created = self.objects().create(&SERVICES, SERVICES_IN, service);
        created.with_context(|| format!("creating Service {name}"))?;
        Ok(())
    }

    /// Writes the addresses of a Service's load balancer.
    ///
    /// # Errors
    /// There is no such Service.
    pub fn set_addresses(&self, name: &str, vips: &[Ipv4Addr]) -> Result<()> {
        let ingress: Vec<_> = vips.iter().map(|vip| json!({ "ip": vip.to_string() })).collect();
        let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let written = self.objects().patch_status(&SERVICES, SERVICES_IN, name, status);
        written.with_context(|| format!("writing the addresses of Service {name}"))?;
        Ok(())
    }

    /// Sets or (`None`) removes a label of a Service.
    ///
    /// # Errors
    /// There is no such Service.
    pub fn set_label(&self, service: &str, key: &str, value: Option<&str>) -> Result<()> {
        self.patch_service(service, json!({ "metadata": { "labels": { key: value } } }))
    }

    /// Merges `patch` into a Service, but for its status.
    ///
    /// # Errors
    /// There is no such Service, or it would be none any more.
    pub fn patch_service(&self, name: &str, patch: Value) -> Result<()> {
        let written = self.objects().patch(&SERVICES, SERVICES_IN, name, patch);
        written.with_context(|| format!("changing Service {name}"))?;
        Ok(())
    }

    /// Writes the EndpointSlice of a Service: a ready endpoint on each of these nodes.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_endpoints(&self, service: &str, nodes: &[usize]) -> Result<()> {
        self.set_endpoint_slice(service, 1, nodes)
    }

    /// The same as slice number `slice` of several; [`Self::set_endpoints`] writes the
    /// first.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_endpoint_slice(&self, service: &str, slice: u32, nodes: &[usize]) -> Result<()> {
        let endpoint = |&n: &usize| {
            let address = self.lab.node(n).pod_ip.to_string();
            json!({ "addresses": [address], "nodeName": self.name(n), "conditions": { "ready": true } })
        };
        let slice = json!({
            "metadata": {
                "name": format!("{service}-{slice}"),
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "endpoints": nodes.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [{ "name": "http", "port": POD_PORT }],
        });
        let written = self.objects().apply(&ENDPOINT_SLICES, SERVICES_IN, slice);
        written.with_context(|| format!("writing the endpoints of Service {service}"))?;
        Ok(())
    }

    /// Deletes one of a Service's EndpointSlices.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn delete_endpoint_slice(&self, service: &str, slice: u32) -> Result<()> {
        let name = format!("{service}-{slice}");
        let deleted = self.objects().delete(&ENDPOINT_SLICES, SERVICES_IN, &name);
        deleted.with_context(|| format!("deleting EndpointSlice {name}"))?;
        Ok(())
    }

    /// Deletes a Service.
    ///
    /// # Errors
    /// There is no such Service.
    pub fn delete_service(&self, name: &str) -> Result<()> {
        let deleted = self.objects().delete(&SERVICES, SERVICES_IN, name);
        deleted.with_context(|| format!("deleting Service {name}"))?;
        Ok(())
    }
}

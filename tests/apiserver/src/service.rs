//! Services: defaults, allocation of cluster addresses and node ports, and their validation.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use serde_json::{Value, json};

use crate::{object::remove, status::Cause};

const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;

fn text<'a>(spec: &'a Value, field: &str) -> &'a str {
    spec.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is_type(spec: &Value, types: &[&str]) -> bool {
    types.contains(&text(spec, "type"))
}

fn default_to(map: &mut Value, field: &str, value: Value) {
    let unset = map.get(field).is_none_or(|old| old.is_null() || *old == json!(""));
    if unset {
        map[field] = value;
    }
}

/// Defaults of core/v1 that need no cluster state.
pub(crate) fn default(service: &mut Value) {
    let spec = &mut service["spec"];
    default_to(spec, "type", json!("ClusterIP"));
    default_to(spec, "sessionAffinity", json!("None"));
    if text(spec, "sessionAffinity") == "ClientIP" {
        default_to(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}));
    } else {
        remove(spec, "sessionAffinityConfig");
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default_to(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        if port.get("targetPort").is_none_or(|target| *target == json!(0)) {
            port["targetPort"] = number;
        }
    }
    if externally_accessible(spec) {
        default_to(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if !is_type(spec, &["ExternalName"]) {
        default_to(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if is_type(spec, &["LoadBalancer"]) {
        default_to(spec, "allocateLoadBalancerNodePorts", json!(true));
        let ingress = service.pointer_mut("/status/loadBalancer/ingress");
        for address in ingress.and_then(Value::as_array_mut).into_iter().flatten() {
            if !text(address, "ip").is_empty() {
                default_to(address, "ipMode", json!("VIP"));
            }
        }
    }
    default_to(&mut service["status"], "loadBalancer", json!({}));
}

fn externally_accessible(spec: &Value) -> bool {
    let external_ips = spec.get("externalIPs").and_then(Value::as_array);
    is_type(spec, &["LoadBalancer", "NodePort"])
        || (is_type(spec, &["ClusterIP"]) && external_ips.is_some_and(|ips| !ips.is_empty()))
}

/// Values that the server allocated stay when an update leaves them out; what a new type has no
/// use for goes.
pub(crate) fn carry_over(service: &mut Value, old_service: &Value) {
    let old = &old_service["spec"];
    let spec = &mut service["spec"];
    let same = |spec: &Value, field: &str| {
        let kept = old.get(field).is_some();
        kept && spec.get(field).is_none_or(|now| Some(now) == old.get(field))
    };
    let was = |types: &[&str]| is_type(old, types);
    if !is_type(spec, &["ExternalName"]) && !was(&["ExternalName"]) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(kept) = old.get(field) {
                default_to(spec, field, kept.clone());
            }
        }
    }
    let ported = ["NodePort", "LoadBalancer"];
    if is_type(spec, &ported) && was(&ported) {
        keep_node_ports(spec, old);
    } else if was(&ported) {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            remove(port, "nodePort");
        }
    }
    let local = |spec: &Value| {
        is_type(spec, &["LoadBalancer"]) && text(spec, "externalTrafficPolicy") == "Local"
    };
    if local(spec) && local(old) {
        if let Some(port) = old.get("healthCheckNodePort") {
            default_to(spec, "healthCheckNodePort", port.clone());
        }
    } else if same(spec, "healthCheckNodePort") {
        remove(spec, "healthCheckNodePort");
    }
    if was(&["LoadBalancer"]) && !is_type(spec, &["LoadBalancer"]) {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, field) {
                remove(spec, field);
            }
        }
    }
    if externally_accessible(old)
        && !externally_accessible(spec)
        && same(spec, "externalTrafficPolicy")
    {
        remove(spec, "externalTrafficPolicy");
    }
    if !is_type(spec, &["LoadBalancer"]) {
        service["status"]["loadBalancer"] = json!({});
    }
}

fn keep_node_ports(spec: &mut Value, old: &Value) {
    let old_ports = old.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = |before: &&Value| {
            before["port"] == port["port"] && before["protocol"] == port["protocol"]
        };
        let kept = old_ports.iter().find(same).and_then(|before| before.get("nodePort"));
        if let Some(kept) = kept
            && port.get("nodePort").is_none()
        {
            port["nodePort"] = kept.clone();
        }
    }
}

/// The checks that a mistaken test or daemon is most likely to run into.
pub(crate) fn validate(service: &Value, old: Option<&Value>) -> Vec<Cause> {
    let spec = &service["spec"];
    let mut causes = Vec::new();
    let ports = spec.get("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let headless = text(spec, "clusterIP") == "None";
    if ports.is_empty() && !headless && !is_type(spec, &["ExternalName"]) {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        if !port["port"].as_u64().is_some_and(|number| (1..=65_535).contains(&number)) {
            let detail = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(&format!("{field}.port"), &port["port"], detail));
        }
        if ports.len() > 1 && text(port, "name").is_empty() {
            causes.push(Cause::required(&format!("{field}.name"), ""));
        }
    }
    if !is_type(spec, &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]) {
        causes.push(Cause {
            reason: "FieldValueNotSupported",
            field: "spec.type".to_owned(),
            message: format!("Unsupported value: {}", spec["type"]),
        });
    }
    for (field, address) in listed(spec, "externalIPs", "spec.externalIPs") {
        check_address(&mut causes, &field, address);
    }
    if !text(spec, "loadBalancerIP").is_empty() {
        check_address(&mut causes, "spec.loadBalancerIP", text(spec, "loadBalancerIP"));
    }
    if spec.get("loadBalancerClass").is_some() && !is_type(spec, &["LoadBalancer"]) {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        causes.push(Cause::forbidden("spec.loadBalancerClass", detail));
    }
    if let Some(old) = old {
        let old = &old["spec"];
        let (before, now) = (text(old, "clusterIP"), text(spec, "clusterIP"));
        if !before.is_empty() && before != now && !is_type(spec, &["ExternalName"]) {
            let field = "spec.clusterIPs[0]";
            causes.push(Cause::invalid(field, json!([now]), "may not change once set"));
        }
        if is_type(spec, &["LoadBalancer"])
            && is_type(old, &["LoadBalancer"])
            && spec.get("loadBalancerClass") != old.get("loadBalancerClass")
        {
            let value = spec.get("loadBalancerClass").unwrap_or(&Value::Null);
            let detail = "may not change once set";
            causes.push(Cause::invalid("spec.loadBalancerClass", value, detail));
        }
    }
    validate_ingress(service, &mut causes);
    causes
}

fn validate_ingress(service: &Value, causes: &mut Vec<Cause>) {
    let path = "status.loadBalancer.ingress";
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let ingress = ingress.map(Vec::as_slice).unwrap_or_default();
    if !ingress.is_empty() && !is_type(&service["spec"], &["LoadBalancer"]) {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        causes.push(Cause::forbidden(path, detail));
        return;
    }
    for (at, address) in ingress.iter().enumerate() {
        if !text(address, "ip").is_empty() {
            check_address(causes, &format!("{path}[{at}].ip"), text(address, "ip"));
        }
    }
}

fn listed<'a>(
    spec: &'a Value,
    field: &str,
    path: &'a str,
) -> impl Iterator<Item = (String, &'a str)> {
    let list = spec.get(field).and_then(Value::as_array).into_iter().flatten();
    list.enumerate()
        .map(move |(at, value)| (format!("{path}[{at}]"), value.as_str().unwrap_or_default()))
}

fn check_address(causes: &mut Vec<Cause>, field: &str, address: &str) {
    if address.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        causes.push(Cause::invalid(field, json!(address), detail));
    }
}

/// Cluster addresses (10.96.0.0/16) and node ports that Services hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceRanges {
    addresses: BTreeSet<u16>,
    /// Where the search for the next free one begins.
    last_address: u16,
    ports: BTreeSet<u64>,
}

impl ServiceRanges {
    /// Gives a Service the cluster address and the ports that it needs and lacks, and takes back
    /// what its old version (`Null`: there is none) held and it has no more. When it fails,
    /// nothing has changed.
    pub(crate) fn allocate(
        &mut self,
        service: &mut Value,
        old: &Value,
    ) -> Result<(), AllocationError> {
        let spec = &mut service["spec"];
        let (wanted, held) = (node_ports(spec), node_ports(&old["spec"]));
        if let Some(taken) = wanted.difference(&held).find(|port| self.ports.contains(port)) {
            let (field, detail) = ("spec.ports[0].nodePort", "provided port is already allocated");
            return Err(AllocationError::Taken(Cause::invalid(field, taken, detail)));
        }
        let (address, old_address) = (cluster_address(spec), cluster_address(&old["spec"]));
        if address != old_address && address.is_some_and(|a| self.addresses.contains(&a)) {
            let detail = "failed to allocate IP: provided IP is already allocated";
            let cause = Cause::invalid("spec.clusterIPs", &spec["clusterIPs"], detail);
            return Err(AllocationError::Taken(cause));
        }
        let capacity = usize::try_from(NODE_PORTS.end() - NODE_PORTS.start() + 1).unwrap_or(0);
        let lacking = lacking_ports(spec).len() + usize::from(lacks_health_check(spec));
        if self.ports.len() + wanted.len() - held.len().min(self.ports.len()) + lacking > capacity {
            return Err(AllocationError::Full("failed to allocate a nodePort: range is full"));
        }
        self.release(old);
        self.addresses.extend(address);
        self.ports.extend(wanted);
        for at in lacking_ports(spec) {
            spec["ports"][at]["nodePort"] = json!(self.free_port());
        }
        if lacks_health_check(spec) {
            spec["healthCheckNodePort"] = json!(self.free_port());
        }
        self.allocate_address(spec);
        Ok(())
    }

    fn allocate_address(&mut self, spec: &mut Value) {
        if is_type(spec, &["ExternalName"]) {
            return;
        }
        if text(spec, "clusterIP").is_empty() {
            let next = self.last_address.wrapping_add(1);
            let free = (next..u16::MAX).chain(1..next).find(|a| !self.addresses.contains(a));
            let Some(free) = free else { return };
            self.addresses.insert(free);
            self.last_address = free;
            let [high, low] = free.to_be_bytes();
            spec["clusterIP"] = json!(Ipv4Addr::new(10, 96, high, low));
        }
        let address = spec["clusterIP"].clone();
        default_to(spec, "clusterIPs", json!([address]));
        default_to(spec, "ipFamilies", json!(["IPv4"]));
        default_to(spec, "ipFamilyPolicy", json!("SingleStack"));
    }

    fn free_port(&mut self) -> Option<u64> {
        let free = NODE_PORTS.into_iter().find(|port| !self.ports.contains(port))?;
        self.ports.insert(free);
        Some(free)
    }

    /// Takes back what a Service held.
    pub(crate) fn release(&mut self, service: &Value) {
        if let Some(address) = cluster_address(&service["spec"]) {
            self.addresses.remove(&address);
        }
        for port in node_ports(&service["spec"]) {
            self.ports.remove(&port);
        }
    }
}

/// Why a Service did not get what it needs.
#[derive(Debug)]
pub(crate) enum AllocationError {
    /// What it asks for belongs to another Service.
    Taken(Cause),
    /// Nothing is left.
    Full(&'static str),
}

/// Positions of the ports that need a node port and have none.
fn lacking_ports(spec: &Value) -> Vec<usize> {
    let wants = is_type(spec, &["NodePort"])
        || (is_type(spec, &["LoadBalancer"])
            && spec["allocateLoadBalancerNodePorts"] != json!(false));
    let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
    let lacking = ports.enumerate().filter(|(_, port)| wants && lacks(port, "nodePort"));
    lacking.map(|(at, _)| at).collect()
}

fn lacks_health_check(spec: &Value) -> bool {
    is_type(spec, &["LoadBalancer"])
        && text(spec, "externalTrafficPolicy") == "Local"
        && lacks(spec, "healthCheckNodePort")
}

fn lacks(map: &Value, number: &str) -> bool {
    map.get(number).is_none_or(|value| value.is_null() || *value == json!(0))
}

fn cluster_address(spec: &Value) -> Option<u16> {
    let address: Ipv4Addr = text(spec, "clusterIP").parse().ok()?;
    match address.octets() {
        [10, 96, high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

fn node_ports(spec: &Value) -> BTreeSet<u64> {
    let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
    let numbers = ports.filter_map(|port| port.get("nodePort"));
    numbers
        .chain(spec.get("healthCheckNodePort"))
        .filter_map(Value::as_u64)
        .filter(|number| *number != 0)
        .collect()
}

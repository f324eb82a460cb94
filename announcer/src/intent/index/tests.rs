//! Literal objects in, intent out.

use serde_json::{Value, json};

use super::*;

mod eligibility;
mod order;
mod policies;
mod services;

fn index() -> Index {
    Index::new(node_name("n1"), selection())
}

fn selection() -> Selection {
    Selection {
        services: "announce=true".parse().expect("a selector"),
        class: "l2announcer.io/l2".to_owned(),
        classless: true,
        external_ips: false,
        exclude_cordoned: false,
    }
}

fn node_name(name: &str) -> NodeName {
    name.parse().expect("a node name")
}

fn vip(address: &str) -> Vip {
    address.parse().expect("a VIP")
}

/// A Service with 192.0.2.10 that the flags select.
fn service(name: &str, patch: Value) -> Object {
    let object = json!({
        "metadata": {"namespace": "default", "name": name, "labels": {"announce": "true"}},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
    });
    Object::Service(Box::new(merged(object, patch)))
}

/// A Node that is ready.
fn node(name: &str, patch: Value) -> Object {
    let object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    Object::Node(Box::new(merged(object, patch)))
}

/// A policy for everything on every node.
fn policy(name: &str, spec: Value) -> Object {
    let object = json!({
        "apiVersion": "l2announcer.io/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": {"name": name, "resourceVersion": "7", "generation": 2},
        "spec": {"loadBalancerIPs": true},
    });
    Object::Policy(Box::new(merged(object, json!({"spec": spec}))))
}

/// A slice of Service `of` with these endpoints.
fn slice(name: &str, of: &str, endpoints: Value) -> Object {
    let object = json!({
        "metadata": {
            "namespace": "default",
            "name": name,
            "labels": {"kubernetes.io/service-name": of},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
    });
    Object::EndpointSlice(Box::new(merged(object, json!({}))))
}

/// An endpoint on a node.
fn on(node: &str, conditions: Value) -> Value {
    json!({"addresses": ["10.0.0.1"], "nodeName": node, "conditions": conditions})
}

fn gateway(name: &str, labels: Value) -> Object {
    let metadata = json!({"namespace": "default", "name": name, "labels": labels});
    Object::Gateway(Box::new(serde_json::from_value(metadata).expect("metadata")))
}

fn ingress(name: &str, labels: Value) -> Object {
    let metadata = json!({"namespace": "default", "name": name, "labels": labels});
    Object::Ingress(Box::new(serde_json::from_value(metadata).expect("metadata")))
}

fn merged<K: serde::de::DeserializeOwned>(mut object: Value, patch: Value) -> K {
    merge(&mut object, patch);
    serde_json::from_value(object).expect("an object")
}

fn merge(to: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            for (key, value) in fields {
                merge(&mut to[key], value);
            }
        }
        value => *to = value,
    }
}

fn local() -> Value {
    json!({"spec": {"externalTrafficPolicy": "Local"}})
}

fn address(ip: &str) -> Value {
    json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}})
}

impl Index {
    fn with(mut self, objects: impl IntoIterator<Item = Object>) -> Self {
        objects.into_iter().for_each(|object| self.apply(&object));
        self
    }

    fn vips(&mut self) -> Vec<String> {
        self.intent().vips.keys().map(Vip::to_string).collect()
    }

    /// The eligible nodes of 192.0.2.10.
    fn eligible(&mut self) -> Vec<String> {
        self.eligible_for("192.0.2.10")
    }

    fn eligible_for(&mut self, address: &str) -> Vec<String> {
        let intent = self.intent();
        let vip = intent.vips.get(&vip(address)).expect("a VIP that is announced");
        vip.eligible.iter().map(NodeName::to_string).collect()
    }
}

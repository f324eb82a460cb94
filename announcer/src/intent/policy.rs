//! The L2AnnouncementPolicy resource: its types, and with that its schema.
//!
//! `cargo xtask crds` writes deploy/crds from here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which Services are announced, by which nodes, on which interfaces.
///
/// Several policies that select one Service unite: each announces as if it were
/// alone. As soon as there is one policy in the cluster, the announcer's flags
/// `--service-selector` and `--external-ips` have no say any more.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "l2announcer.io",
    version = "v1alpha1",
    kind = "L2AnnouncementPolicy",
    plural = "l2announcementpolicies",
    shortname = "l2ap",
    status = "L2AnnouncementPolicyStatus",
    derive = "PartialEq",
    doc = "Which Services are announced on layer 2, by which nodes, on which interfaces.",
    printcolumn = r#"{"name": "LoadBalancer IPs", "type": "boolean", "jsonPath": ".spec.loadBalancerIPs"}"#,
    printcolumn = r#"{"name": "External IPs", "type": "boolean", "jsonPath": ".spec.externalIPs"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "priority": 1, "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].message"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = announces()))]
pub struct L2AnnouncementPolicySpec {
    /// Services whose labels match; none given: all Services. A Service made for a
    /// Gateway or an Ingress has that object's labels too, its own going first. Besides,
    /// io.kubernetes.service.namespace and io.kubernetes.service.name can be selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub service_selector: Option<LabelSelector>,
    /// Nodes that may announce; none given: all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub node_selector: Option<LabelSelector>,
    /// Of those nodes, the ones that go first while they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub preferred_nodes: Option<LabelSelector>,
    /// Regular expressions for the interfaces to answer on, out of those that the
    /// announcer is attached to; none given: all of these. They match anywhere in the
    /// name: write ^eth0$ for one interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "expressions")]
    pub interfaces: Vec<String>,
    /// Announce the addresses in status.loadBalancer.ingress.
    #[serde(default, rename = "loadBalancerIPs")]
    pub load_balancer_ips: bool,
    /// Announce the addresses in spec.externalIPs, of Services of any type.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: bool,
}

/// What the announcers make of a policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct L2AnnouncementPolicyStatus {
    /// Accepted is True, or False with what is wrong; a policy that is not accepted has
    /// no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A label key: an optional DNS name and `/`, and a name of up to 63 characters.
const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
                         [A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// A label value: empty, or up to 63 characters.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";

/// A policy that would announce nothing is a mistake.
fn announces() -> Value {
    json!([{
        "rule": "self.loadBalancerIPs || self.externalIPs",
        "message": "neither loadBalancerIPs nor externalIPs is true: nothing would be announced",
    }])
}

/// Go's syntax, as the API server can check it, is ours for all that occurs in the names
/// of interfaces.
fn expressions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "set",
        "maxItems": 64,
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "x-kubernetes-validations": [{
                // Not whether it matches: an expression that is none is an error.
                "rule": "''.matches(self) in [true, false]",
                "message": "not a regular expression",
            }],
        },
    })
}

/// As the API server's own label selectors, with what it checks of them.
fn selector(_: &mut SchemaGenerator) -> Schema {
    let value = json!({"type": "string", "maxLength": 63, "pattern": LABEL_VALUE});
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that must have these values.",
                "type": "object",
                "maxProperties": 64,
                "additionalProperties": value,
                "x-kubernetes-validations": [{
                    "rule": format!("self.all(key, key.matches('{LABEL_KEY}'))"),
                    "message": "the keys must be label keys: a name, or a DNS name, / and a name",
                }],
            },
            "matchExpressions": {
                "description": "Further requirements; all must hold.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "maxItems": 64,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label.",
                            "type": "string",
                            "maxLength": 317,
                            "pattern": LABEL_KEY,
                        },
                        "operator": {
                            "description": "What must hold for the label's value.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "Values for In and NotIn.",
                            "type": "array",
                            "x-kubernetes-list-type": "atomic",
                            "maxItems": 256,
                            "items": value,
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == \
                                 (has(self.values) && size(self.values) > 0)",
                        "message": "In and NotIn need values, Exists and DoesNotExist have none",
                    }],
                },
            },
        },
    })
}

fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "Accepted, or the condition of somebody else.",
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "Whether it is so.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "description": "The metadata.generation that this is about.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "Since when the status has been this.",
                    "type": "string",
                    "format": "date-time",
                },
                "reason": {
                    "description": "Why, in one word.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                },
                "message": {
                    "description": "Why, for people: what is wrong, and where.",
                    "type": "string",
                    "maxLength": 32768,
                },
            },
        },
    })
}

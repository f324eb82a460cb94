//! Which VIPs should be announced, and which nodes are eligible for each.
//!
//! [`index`] is a pure, synchronous index with apply, delete and retain: Services,
//! Nodes, EndpointSlices, policies and the labels of Gateways and Ingresses in,
//! one [`desired::Intent`] out. [`watch`] feeds it from the API server.

pub mod desired;
pub mod eligibility;
pub mod index;
pub mod policy;
pub mod rules;
pub mod selector;
pub mod watch;

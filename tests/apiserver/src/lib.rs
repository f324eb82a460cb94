//! A small in-memory Kubernetes API server, with faults to inject: the default of labs and tests.
//!
//! It serves the resources that the announcer needs, as kube-apiserver would (its reference is
//! v1.36), to real clients: kube, client-go, kubectl. Known differences are listed below; tests
//! that pass here are meant to pass against the real server too.
//!
//! - Plain HTTP/1.1 and JSON, no protobuf (which `kubectl create namespace` sends: use
//!   `kubectl apply -f`); any bearer token is accepted and names the client.
//! - No `managedFields`; server-side apply sees conflicts between appliers only (see `apply`).
//! - Custom resources are not checked against a schema.
//! - No controllers: no garbage collection, and a deleted namespace stays Terminating, as beside
//!   a bare kube-apiserver.
//! - A watch that falls behind is never cut off.
//! - A list of a resourceVersion in the future is refused at once instead of after 3 s.
//!
//! ```
//! use std::net::TcpListener;
//!
//! use announcer_apiserver::{ApiServer, Fault, LEASES, Match, Refusal, Verb};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::start(TcpListener::bind("127.0.0.1:0")?)?;
//! let lease = json!({"metadata": {"name": "announcer-node-a"}, "spec": {"holderIdentity": "a"}});
//! server.objects().create(&LEASES, "kube-system", lease)?;
//!
//! let renewals = Match::any().client("node-a").verb(Verb::Update).resource(LEASES);
//! let fault = server.faults().inject_times(1, renewals, Fault::Refuse(Refusal::Server(503)));
//! // … the client of the token "node-a" fails to renew once …
//! drop(fault);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod apply;
mod audit;
mod discovery;
mod event;
mod faults;
mod gate;
mod handler;
mod http;
mod list;
mod object;
mod objects;
mod patch;
mod registry;
mod request;
mod route;
mod selector;
mod server;
mod service;
mod signal;
mod status;
mod store;
mod strategy;
mod stream;
mod table;
mod verbs;
mod watch;

pub use audit::{Audit, Audited};
pub use faults::{Fault, Faults, Injected, Refusal};
pub use gate::{Outage, OutageGuard};
pub use objects::{Objects, Unmet};
pub use registry::{
    CustomResource, ENDPOINT_SLICES, ENDPOINTS, EVENTS, EVENTS_V1, GroupResource, LEASES,
    NAMESPACES, NODES, SERVICES,
};
pub use request::{Match, RequestInfo, Verb};
pub use selector::{LabelSelector, SelectorError};
pub use server::{ApiServer, Options};
pub use status::{ApiStatus, Cause};
pub use stream::Watches;

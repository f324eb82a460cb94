//! Layer-2 announcement of Kubernetes service addresses.
//!
//! One way, stage by stage: [`intent`] says which VIPs should be announced,
//! [`ownership`] which of them this node holds and until when, [`conflict`] which
//! of those may be used beside strangers, [`responder`] writes that into the BPF
//! maps of [`datapath`] and sends the gratuitous ARP of [`announce`]. Each stage hands the next a whole desired state.

pub mod announce;
pub mod backoff;
pub mod causes;
pub mod cli;
pub mod client;
pub mod condition;
pub mod config;
pub mod conflict;
pub mod daemon;
pub mod datapath;
pub mod detach;
pub mod doctor;
pub mod events;
pub mod exit;
pub mod explain;
pub mod intent;
pub mod observe;
pub mod output;
pub mod ownership;
pub mod phrase;
pub mod probe;
pub mod responder;
pub mod settings;
pub mod status;
pub mod types;
pub mod uplink;
pub mod wire_state;

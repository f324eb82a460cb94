//! What the doctor found out: plain values, which can be written down on one machine and
//! judged on another.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use crate::{
    datapath::{
        namespace::Holder,
        netlink::Snapshot,
        survey::{BpfFs, Features, Found, Hooks},
    },
    types::IfIndex,
};

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The version of the announcer that found it out.
    pub version: String,
    /// What was asked for.
    pub settings: Settings,
    /// The kernel.
    pub kernel: Kernel,
    /// What this process may do.
    pub process: Process,
    /// Where the announcer pins.
    pub bpffs: BpfFs,
    /// The network namespace.
    pub network: Found<Network>,
    /// The daemon that runs in this network namespace, if any.
    pub daemon: Found<Option<Daemon>>,
    /// The machine itself.
    pub machine: Machine,
    /// Its clocks.
    pub clock: Clock,
    /// The cluster; `None`: not to be looked at.
    pub cluster: Option<Cluster>,
}

/// A daemon that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its process.
    pub holder: Holder,
    /// Whether it does its work.
    pub pulse: Pulse,
}

/// What a daemon says when it is asked whether its loops turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pulse {
    /// They turn.
    Turns,
    /// They do not, or it says nothing at all: what is known of that.
    Hangs(String),
    /// It cannot be asked, for this reason.
    Unknown(String),
}

/// What was asked for, as flags are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `--interface`; empty: the default route's.
    pub interfaces: Vec<String>,
    /// `--hook`.
    pub hook: String,
    /// `--static-vip`.
    pub static_vips: Vec<String>,
    /// `--lease-duration`, in milliseconds.
    pub lease_duration_ms: u64,
    /// `--renew-interval`, in milliseconds.
    pub renew_interval_ms: u64,
}

/// The kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: String,
    /// Version, patch level, sublevel.
    pub version: Found<[u32; 3]>,
    /// What it does when it is tried.
    pub features: Features,
    /// It describes its own types (/sys/kernel/btf/vmlinux).
    pub has_btf: bool,
    /// /sys/kernel/security/lockdown, if it can be read.
    pub lockdown: Option<String>,
    /// Settings of BPF, by path below /proc/sys.
    pub sysctls: BTreeMap<String, String>,
}

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities, by the names of capabilities(7).
    pub capabilities: Found<BTreeSet<String>>,
    /// RLIMIT_MEMLOCK in octets; `None`: no limit.
    pub memlock: Option<u64>,
    /// A seccomp filter is in force.
    pub has_seccomp: bool,
}

/// The network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// All interfaces and routes.
    pub snapshot: Snapshot,
    /// IPv4 addresses by interface.
    pub addresses: BTreeMap<IfIndex, BTreeSet<Ipv4Addr>>,
    /// The hooks of the interfaces that are meant.
    pub hooks: BTreeMap<IfIndex, Hooks>,
    /// Settings below /proc/sys/net/ipv4/conf, by interface (or `all`) and name.
    pub sysctls: BTreeMap<String, BTreeMap<String, String>>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// DMI: who made it (`QEMU`).
    pub vendor: Option<String>,
    /// DMI: what it is (`Standard PC (i440FX + PIIX, 1996)`).
    pub product: Option<String>,
    /// The processor says that it is a virtual one.
    pub is_virtual: bool,
}

/// Clocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// By how much CLOCK_BOOTTIME was faster than CLOCK_MONOTONIC_RAW, in parts per million,
    /// while the facts were gathered.
    pub measured_ppm: f64,
    /// For how long that was, in milliseconds.
    pub measured_for_ms: u64,
    /// What is set for the kernel to correct (tick and frequency of adjtimex(2)), in parts
    /// per million.
    pub set_ppm: Found<f64>,
    /// The clock source in use.
    pub source: Option<String>,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Where Leases are looked for.
    pub namespace: String,
    /// This node's name.
    pub node: Found<String>,
    /// It was given by `--node-name`; else it is the host name.
    pub is_node_given: bool,
    /// Whether there are credentials.
    pub credentials: Found<()>,
    /// How long the API server took to answer, in milliseconds, once for each question.
    pub latencies_ms: Found<Vec<f64>>,
    /// Its version.
    pub version: Option<String>,
    /// Whether each of [`rights`](super::rights) is given.
    pub rights: Vec<Right>,
    /// The Node object; `Ok(None)`: there is none. `None`: it may not be read.
    pub node_object: Option<Found<Option<NodeObject>>>,
    /// Whether L2AnnouncementPolicies are served.
    pub serves_policies: Found<bool>,
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Right {
    /// The API group; empty for the core.
    pub group: String,
    /// The resource, with a subresource after a slash.
    pub resource: String,
    /// What is done with it.
    pub verb: String,
    /// Whether it is given.
    pub is_allowed: Found<bool>,
}

/// This node's Node object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObject {
    /// Condition Ready.
    pub is_ready: bool,
    /// It is excluded from load balancers by its label.
    pub is_excluded: bool,
}

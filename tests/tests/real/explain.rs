//! `announcer explain`, run as an administrator would: one test for each way of being wrong,
//! on the API server as Kubernetes builds it. What can be mended is, by typing what it says.

mod leases;
mod live;
mod nodes;
mod services;

use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use announcer_apiserver::{ENDPOINT_SLICES, GroupResource, LEASES, NODES, SERVICES};
use announcer_tests::{
    cluster::{ANNOUNCE, NAMESPACE, NodeLease, SERVICES_IN, VipLease, policies},
    controlplane::Pooled,
    daemon,
    netns::NetNs,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::VIP;

/// What `announcer explain` printed, and its exit code.
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) json: Value,
}

const ANNOUNCED: i32 = 0;
/// For want of a right, or of the right namespace.
const UNKNOWN: i32 = 3;
const NOT_ANNOUNCED: i32 = 6;

impl Said {
    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }

    /// It is not announced because of `finding`; the one sentence has all of `parts`, and
    /// ends with what to type, which has all of `typed`.
    fn blames(&self, finding: &str, parts: &[&str], typed: &[&str]) {
        let (conclusion, remedy) = (self.text("conclusion"), self.text("remedy"));
        assert_eq!(self.text("finding"), finding, "{:#}", self.json);
        assert_eq!(self.code, NOT_ANNOUNCED, "{conclusion}");
        for part in parts {
            assert!(conclusion.contains(part), "{part:?} is not in {conclusion:?}");
        }
        assert!(!remedy.is_empty() && conclusion.ends_with(remedy), "{conclusion}");
        for part in typed {
            assert!(remedy.contains(part), "{part:?} is not in {remedy:?}");
        }
    }

    /// Whether a link of the chain has this finding, be it a problem or not.
    fn mentions(&self, finding: &str) -> bool {
        self.json["chain"].as_array().unwrap().iter().any(|link| link["finding"] == finding)
    }

    /// All that is said of the link called `name`.
    fn link(&self, name: &str) -> String {
        let links = self.json["chain"].as_array().unwrap().iter();
        links.filter(|link| link["link"] == name).map(Value::to_string).collect()
    }
}

/// An administrator's desk: a control plane without announcers.
struct Desk {
    control: Pooled,
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { control: Pooled::take().unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    /// With a Ready node, and a Service with an address that would be announced.
    fn with_service() -> Self {
        let desk = Self::new();
        desk.node("node-1", json!({}));
        desk.service("web", json!({}));
        desk
    }

    fn explain(&self, args: &[&str]) -> Said {
        explain(self.control.ns(), &self.control.admin_kubeconfig(), args)
    }

    fn web(&self) -> Said {
        self.explain(&["default/web"])
    }

    /// A kubeconfig of an administrator who acts as somebody else.
    fn kubeconfig_as(&self, user: &str) -> PathBuf {
        let text = fs::read_to_string(self.control.admin_kubeconfig()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"]["as"] = json!(user);
        let path = self.directory.path().join("as.kubeconfig");
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn create(&self, of: &GroupResource, namespace: &str, body: Value) -> Value {
        self.control.admin().apply(of, namespace, body).unwrap()
    }

    /// A Service of type LoadBalancer with the label and an address, and what `patch` says.
    fn service(&self, name: &str, patch: Value) {
        let (key, value) = ANNOUNCE;
        let mut service = json!({
            "metadata": { "name": name, "labels": { key: value } },
            "spec": {
                "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                "selector": { "app": name }, "ports": [{ "port": 80 }],
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": VIP }] } },
        });
        merge(&mut service, patch);
        self.create(&SERVICES, SERVICES_IN, service);
    }

    /// A Ready Node, and what `patch` says.
    fn node(&self, name: &str, patch: Value) {
        let mut node = json!({
            "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        merge(&mut node, patch);
        self.create(&NODES, "", node);
    }

    fn policy(&self, name: &str, spec: Value) {
        let mut policy =
            json!({ "metadata": { "name": name }, "spec": { "loadBalancerIPs": true } });
        merge(&mut policy["spec"], spec);
        self.create(&policies(), "", policy);
    }

    fn endpoints(&self, service: &str, nodes: &[&str]) {
        let endpoint = |node: &&str| json!({ "addresses": ["10.244.1.2"], "nodeName": node });
        let slice = json!({
            "metadata": {
                "name": format!("{service}-1"),
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "endpoints": nodes.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [{ "port": 80 }],
        });
        self.create(&ENDPOINT_SLICES, SERVICES_IN, slice);
    }

    /// A node lease as a daemon leaves it; returns its session.
    fn node_lease(&self, node: &str, open: bool, patch: Value) -> String {
        let settings = json!({
            "version": "0.1.0", "serviceSelector": "l2announcer.io/announce=true",
            "loadBalancerClass": "l2announcer.io/l2", "requireClass": false,
            "externalIPs": false, "excludeCordoned": false,
        });
        let mac = "02:00:00:00:00:01";
        let interfaces = json!({ "ens18": { "link": "up", "hook": "tcx", "mac": mac } });
        let mut lease = json!({
            "metadata": {
                "name": NodeLease::name(node),
                "labels": {
                    "l2announcer.io/lease": "node",
                    "l2announcer.io/session": if open { "open" } else { "over" },
                },
                "annotations": {
                    "l2announcer.io/macs": mac,
                    "l2announcer.io/settings": settings.to_string(),
                    "l2announcer.io/interfaces": interfaces.to_string(),
                },
            },
            "spec": { "leaseDurationSeconds": 1, "leaseTransitions": 4 },
        });
        merge(&mut lease, patch);
        let lease = self.create(&LEASES, NAMESPACE, lease);
        format!("{}/{}", lease["metadata"]["uid"].as_str().unwrap(), 4)
    }

    /// The same, with other interfaces or settings: `l2announcer.io/<key>`.
    fn says(&self, node: &str, open: bool, key: &str, what: &Value) -> String {
        let key = format!("l2announcer.io/{key}");
        self.node_lease(
            node,
            open,
            json!({ "metadata": { "annotations": { key: what.to_string() } } }),
        )
    }

    /// A VIP lease; an empty holder is nobody.
    fn vip_lease(&self, vip: Ipv4Addr, holder: &str, session: Option<&str>) {
        let lease = json!({
            "metadata": {
                "name": VipLease::name(vip),
                "labels": { "l2announcer.io/lease": "vip" },
                "annotations": session.map(|session| json!({ "l2announcer.io/session": session })),
            },
            "spec": if holder.is_empty() { json!({}) } else { json!({ "holderIdentity": holder }) },
        });
        self.create(&LEASES, NAMESPACE, lease);
    }

    /// Renews a node's lease while `work` is done.
    fn renewing<T>(&self, node: &str, work: impl FnOnce() -> T) -> T {
        let admin = self.control.admin();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let pause = std::time::Duration::from_millis(200);
                let mut beat = 0;
                while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    beat += 1;
                    let patch =
                        json!({ "metadata": { "annotations": { "beat": beat.to_string() } } });
                    admin.patch(&LEASES, NAMESPACE, &NodeLease::name(node), patch).unwrap();
                }
            });
            // Dropped by a panic, too.
            let _stop = stop;
            work()
        })
    }

    /// Types what the explanation says.
    fn mend(&self, said: &Said) {
        let kubectl = self.directory.path().join("kubectl");
        let line = self.control.kubectl_command_line().unwrap();
        fs::write(&kubectl, format!("#!/bin/sh\nexec {line} \"$@\"\n")).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        shell.arg("-c").arg(said.text("remedy"));
        shell.env("PATH", format!("{}:{path}", self.directory.path().display()));
        self.control.ns().output(shell, "").unwrap();
    }

    /// Types what it says against `finding`, after which that is found no more.
    fn mends(&self, finding: &str) -> Said {
        let said = self.web();
        assert_eq!(said.text("finding"), finding, "{:#}", said.json);
        self.mend(&said);
        let after = self.web();
        assert!(!after.mentions(finding), "{:#}", after.json);
        after
    }
}

/// Runs `announcer explain` inside `ns`.
fn explain(ns: &NetNs, kubeconfig: &std::path::Path, args: &[&str]) -> Said {
    let output = run(ns, kubeconfig, &[&["explain", "-o", "json"], args].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    Said { code: output.status.code().unwrap(), json }
}

fn run(ns: &NetNs, kubeconfig: &std::path::Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(daemon::binary().unwrap());
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("ANNOUNCER_") {
            command.env_remove(key);
        }
    }
    command.args(args).arg("--kubeconfig").arg(kubeconfig);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    ns.spawn(command).unwrap().wait_with_output().unwrap()
}

/// A merge patch (RFC 7386).
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

//! kube-proxy on a node, in nftables mode.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{ControlPlane, Program, pki, programs};
use crate::{daemon::Daemon, lab::Node, netns::NetNs};

/// All pods of a lab.
const PODS: &str = "10.244.0.0/16";
/// Between two looks at the rules, if nothing tells of a change.
const LOOK: Duration = Duration::from_millis(500);

impl ControlPlane {
    /// Starts kube-proxy on `node`, for the Node object called `name`, with its files in
    /// `directory`.
    ///
    /// # Errors
    /// nft or kube-proxy is missing.
    pub fn start_proxy(&self, node: &Node, name: &str, directory: &Path) -> Result<Daemon> {
        let file = |suffix: &str| directory.join(format!("{name}.proxy.{suffix}"));
        let (kubeconfig, config, tools) = (file("kubeconfig"), file("json"), file("bin"));
        pki::replace(&kubeconfig, &self.pki.proxy_kubeconfig(&self.url()))?;
        let ip = node.management_ip;
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": name,
            "clientConnection": { "kubeconfig": kubeconfig },
            "detectLocalMode": "ClusterCIDR",
            "clusterCIDR": PODS,
            "nodePortAddresses": ["primary"],
            "healthzBindAddress": format!("{ip}:10256"),
            "metricsBindAddress": format!("{ip}:10249"),
            "bindAddressHardFail": true,
            "oomScoreAdj": 0,
            // 0 would be the default, one second.
            "nftables": { "minSyncPeriod": "1ms", "syncPeriod": "1s" },
            // The size of the table is the machine's, and not a namespace's to set.
            "conntrack":
                { "maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        });
        fs::write(&config, settings.to_string())?;
        // It looks for other tools to tidy up after other modes, and would load kernel
        // modules: it finds nft alone.
        fs::create_dir(&tools)?;
        let nft = programs::find("nft").context("`nft` is missing: run `cargo xtask setup`")?;
        symlink(nft, tools.join("nft"))?;
        let mut command = Program::KubeProxy.command()?;
        command.arg("--config").arg(&config).env("PATH", &tools);
        Daemon::start(command, format!("kube-proxy of {name}"), &node.ns)
    }
}

/// Waits until kube-proxy forwards TCP connections for `vip` and `port` that reach this
/// node to some endpoint.
///
/// # Errors
/// It does not within `within`.
pub fn wait_forwarded(node: &NetNs, vip: Ipv4Addr, port: u16, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    let mut monitor = Command::new("nft");
    monitor.args(["monitor", "elements"]);
    let mut monitor = Daemon::start(monitor, "nft monitor", node)?;
    let element = format!("{{ {vip} . tcp . {port} }}");
    let has = |set| {
        let args = ["get", "element", "ip", "kube-proxy", set, &element];
        match node.tool("nft", &args, "") {
            Ok(_) => Ok(true),
            // ENOENT: the table, the set, or the element.
            Err(error) if error.to_string().contains("No such file or directory") => Ok(false),
            Err(error) => Err(error),
        }
    };
    loop {
        let looked = Instant::now();
        if has("service-ips")? && !has("no-endpoint-services")? {
            return Ok(());
        }
        if looked > deadline {
            bail!("kube-proxy does not forward {vip}:{port} on {node:?} after {within:?}");
        }
        // The monitor may have begun to listen after the change: then this ends by itself.
        let told = monitor.wait_for_line(LOOK, |line| line.at >= looked);
        if told.is_err() && monitor.wait_exit(Duration::ZERO).is_ok() {
            bail!("nft monitor has ended:\n{}", monitor.print());
        }
    }
}

//! A real control plane in a namespace: etcd, kube-apiserver and kubectl, with this
//! project's own manifests applied.
//!
//! The API server's log of requests (its audit log) becomes an
//! [`announcer_apiserver::Audit`] of what announcers asked for, so that a test reads
//! the same of the real server and of the embedded one.

mod admin;
mod audit;
mod define;
mod etcd;
mod identity;
mod kind;
mod pki;
mod pool;
mod programs;
mod proxy;

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use announcer_apiserver::{Audit, Audited, CustomResource, Match};
use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub use self::{admin::Admin, pki::Pki, pool::Pooled, programs::Program, proxy::wait_forwarded};
use crate::{
    daemon::{Daemon, Signal},
    lab::CONTROL_IP,
    netns::NetNs,
    scratch,
};

/// Where the API server listens, on every address of the control host.
const PORT: u16 = 6443;
/// A start takes some seconds, on a machine that does nothing else.
const START: Duration = Duration::from_secs(120);
/// Between two looks at one that starts.
const READY_POLL: Duration = Duration::from_millis(50);
/// The manifests that users apply.
pub const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kustomize/base");

/// etcd and kube-apiserver in a namespace of their own.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they have to go.
    apiserver: Option<Daemon>,
    etcd: Daemon,
    admin: Admin,
    audit: Audit,
    /// From the beginning of each start to its end.
    starts: Vec<Range<Instant>>,
    pki: Pki,
    directory: TempDir,
    ns: NetNs,
}

impl ControlPlane {
    /// Starts one, and applies the manifests of `deploy/kustomize/base` with kubectl, as
    /// a user would, with every unknown field an error.
    ///
    /// # Errors
    /// The programs are missing (the error says what builds them), or do not start.
    pub fn start() -> Result<Self> {
        let ns = NetNs::new("control")?;
        let directory = scratch::directory("control")?;
        let pki = Pki::new(directory.path())?;
        let etcd = etcd::start(directory.path(), &ns)?;
        let audit = Audit::default();
        let admin = Admin::new(&ns, &pki, SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT))?;
        let mut plane =
            Self { apiserver: None, etcd, admin, audit, starts: Vec::new(), pki, directory, ns };
        plane.start_apiserver()?;
        fs::write(plane.admin_kubeconfig(), plane.pki.admin_kubeconfig(&plane.local_url()))?;
        plane.kubectl(&["apply", "--validate=strict", "-k", MANIFESTS])?;
        let crds = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        plane.kubectl(&crds)?;
        Ok(plane)
    }

    /// The control host: attach it to a lab's management network.
    pub fn ns(&self) -> &NetNs {
        &self.ns
    }

    /// The objects, as an administrator reads and writes them.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// What announcers asked for. Who asks, a request's address says: the audit knows
    /// the announcer of host `node-1` as `node-1`.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Where nodes find the API server.
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddrV4::new(CONTROL_IP, PORT))
    }

    fn local_url(&self) -> String {
        format!("https://{}", SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT))
    }

    /// The administrator's kubeconfig file, for use inside [`Self::ns`].
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.directory.path().join("admin.kubeconfig")
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its programs that run, and their process ids.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let apiserver = self.apiserver.as_ref().map(|it| (Program::KubeApiserver.name(), it.pid()));
        [(Program::Etcd.name(), self.etcd.pid())].into_iter().chain(apiserver).collect()
    }

    /// How a person starts kubectl as administrator, on the control host.
    ///
    /// # Errors
    /// There is no kubectl.
    pub fn kubectl_command_line(&self) -> Result<String> {
        let kubectl = Program::Kubectl.command()?;
        let words = [kubectl.get_program()].into_iter().chain(kubectl.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        Ok(format!("{} --kubeconfig {}", words.join(" "), self.admin_kubeconfig().display()))
    }

    /// Runs kubectl as administrator, on the control host, and returns what it printed.
    ///
    /// # Errors
    /// kubectl fails; the error carries what it said.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with_input(args, "")
    }

    /// The same with `input` on its standard input, for `-f -`.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let mut kubectl = Program::Kubectl.command()?;
        kubectl.arg("--kubeconfig").arg(self.admin_kubeconfig());
        kubectl.arg("--cache-dir").arg(self.directory.path().join("kubectl")).args(args);
        // Where `kubectl diff` finds diff.
        kubectl.envs(env::var_os("PATH").map(|path| ("PATH", path)));
        self.ns.output(kubectl, input)
    }

    /// SIGSTOP to etcd: the API server answers nothing that needs it, until it times out.
    ///
    /// # Errors
    /// etcd has ended.
    pub fn freeze_etcd(&self) -> Result<()> {
        self.etcd.signal(Signal::Stop)
    }

    /// SIGCONT after [`Self::freeze_etcd`].
    ///
    /// # Errors
    /// etcd has ended.
    pub fn thaw_etcd(&self) -> Result<()> {
        self.etcd.signal(Signal::Cont)
    }

    /// Forgets all history in etcd up to now.
    ///
    /// # Errors
    /// etcd refuses.
    pub fn compact(&self) -> Result<()> {
        etcd::compact(&self.ns)
    }

    /// Sends a signal to the API server.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal_apiserver(&self, signal: Signal) -> Result<()> {
        self.apiserver.as_ref().context("no API server runs")?.signal(signal)
    }

    /// SIGKILL to the API server: connections break, and further ones are refused.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_apiserver(&mut self) -> Result<()> {
        self.apiserver.take().context("no API server runs")?.kill()
    }

    /// Starts the API server, and waits until it is ready.
    ///
    /// # Errors
    /// It runs already, or is not ready in time; the error carries its log.
    pub fn start_apiserver(&mut self) -> Result<()> {
        let began = Instant::now();
        self.launch_apiserver()?;
        let deadline = began + START;
        while !self.admin.is_ready() {
            // It tells nobody when it is ready; its own end is an event.
            let apiserver = self.apiserver.as_mut().context("it was launched")?;
            if apiserver.wait_exit(READY_POLL).is_ok() || Instant::now() > deadline {
                bail!("kube-apiserver is not ready:\n{}", apiserver.print());
            }
        }
        self.starts.push(began..Instant::now());
        Ok(())
    }

    /// Starts the API server, and does not wait: nobody gets through to one whose
    /// certificate has expired.
    ///
    /// # Errors
    /// It runs already.
    pub fn launch_apiserver(&mut self) -> Result<()> {
        if self.apiserver.is_some() {
            bail!("the API server runs already");
        }
        let audit = audit::Recorder::new(self.audit.clone());
        let tap = Arc::new(move |line: &str| audit.record(line));
        let command = self.apiserver_command()?;
        self.apiserver = Some(Daemon::start_tapped(command, "kube-apiserver", &self.ns, tap)?);
        Ok(())
    }

    /// Gives the API server another certificate, of the same authority, that expires
    /// `valid` from now, and waits until it has taken it up. Connections go on.
    ///
    /// # Errors
    /// It does not run, or did not take it up.
    pub fn renew_certificate(&self, valid: Duration) -> Result<()> {
        let apiserver = self.apiserver.as_ref().context("no API server runs")?;
        let before = Instant::now();
        self.pki.renew_serving_certificate(valid)?;
        apiserver.wait_for_line(START, |line| {
            line.at > before && line.text.contains("Loaded serving cert")
        })?;
        Ok(())
    }

    fn apiserver_command(&self) -> Result<Command> {
        let pki = &self.pki;
        let mut command = Program::KubeApiserver.command()?;
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            // The Service `kubernetes` needs endpoints that no lab has.
            "--endpoint-reconciler-type=none",
            "--audit-log-path=-",
            "--audit-log-mode=blocking",
            // Tells when it has taken up another certificate.
            "--vmodule=tlsconfig=2",
        ]);
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command.args([
            format!("--secure-port={PORT}"),
            format!("--advertise-address={CONTROL_IP}"),
            flag("tls-cert-file", pki.serving_certificate()),
            flag("tls-private-key-file", pki.serving_key()),
            flag("service-account-key-file", pki.token_public_key()),
            flag("service-account-signing-key-file", pki.token_key()),
            flag("token-auth-file", pki.static_tokens()),
            flag("audit-policy-file", &audit::policy(self.directory.path())?),
            flag("cert-dir", self.directory.path()),
        ]);
        Ok(command)
    }

    /// Defines a custom resource of any shape, until this control plane is cleared; does
    /// nothing where it is defined already.
    ///
    /// # Errors
    /// The API server refuses the definition.
    pub fn define(&self, custom: &CustomResource) -> Result<()> {
        self.admin.define(custom)
    }

    /// What announcers asked for and may not: a hole in the shipped RBAC rules. A server
    /// that starts denies everything until it has read the rules, which does not count.
    pub fn denied(&self) -> Vec<Audited> {
        let mut denied = self.audit.recent(&Match::any());
        let starting = |at| self.starts.iter().any(|start| start.contains(&at));
        denied.retain(|entry| entry.code == Some(403) && !starting(entry.at));
        denied
    }

    /// Makes it as new: nothing of what a test wrote is left.
    ///
    /// # Errors
    /// The API server does not run, or refuses.
    fn reset(&mut self) -> Result<()> {
        // Absent unless the last lab still stands.
        let _ = self.ns.ip("link delete eth0");
        self.admin.clear()?;
        self.admin.undefine()?;
        self.audit.clear();
        Ok(())
    }
}

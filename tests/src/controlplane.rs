//! A real control plane in a namespace: etcd, kube-apiserver and kubectl, with this
//! project's own manifests applied.
//!
//! The API server's log of requests (its audit log) becomes an
//! [`announcer_apiserver::Audit`] of what announcers asked for, so that a test reads
//! the same of the real server and of the embedded one.

mod admin;
mod apiserver;
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
    sync::Arc,
    time::{Duration, Instant},
};

use announcer_apiserver::{Audit, Audited, CustomResource};
use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub use self::{
    admin::Admin,
    pki::Pki,
    pool::{Pooled, without_tests},
    programs::Program,
    proxy::wait_forwarded,
};
use crate::{
    daemon::{Daemon, Signal},
    lab::CONTROL_IP,
    netns::NetNs,
    scratch,
};

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
    recorder: audit::Recorder,
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
        let admin = Admin::new(&ns, &pki, SocketAddrV4::new(Ipv4Addr::LOCALHOST, apiserver::PORT))?;
        let (recorder, starts) = (audit::Recorder::default(), Vec::new());
        let mut plane = Self { apiserver: None, etcd, admin, recorder, starts, pki, directory, ns };
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
        self.recorder.audit()
    }

    /// Keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Where nodes find the API server.
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddrV4::new(CONTROL_IP, apiserver::PORT))
    }

    fn local_url(&self) -> String {
        format!("https://{}", SocketAddrV4::new(Ipv4Addr::LOCALHOST, apiserver::PORT))
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
        let mut kubectl = Program::Kubectl.command_at_home(self.directory())?;
        kubectl.arg("--kubeconfig").arg(self.admin_kubeconfig()).args(args);
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
            let ended = [&mut self.etcd, apiserver].map(|it| it.wait_exit(READY_POLL).is_ok());
            if ended.contains(&true) || Instant::now() > deadline {
                let (etcd, apiserver) = (self.etcd.print(), apiserver.print());
                bail!("kube-apiserver is not ready:\n{apiserver}\nand etcd:\n{etcd}");
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
        let recorder = self.recorder.clone();
        let tap = Arc::new(move |line: &str| recorder.record(line));
        let command = apiserver::command(&self.pki, self.directory.path())?;
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
    /// [`Audit::clear`] clears none of it.
    ///
    /// # Errors
    /// The audit log cannot be read to its end, or not be understood.
    pub fn denied(&self) -> Result<Vec<Audited>> {
        // All that another one wrote was read before its end was.
        if self.apiserver.is_some() {
            self.recorder.catch_up(|path| self.admin.ask_in_vain(&path))?;
        }
        let mut denied = self.recorder.denied()?;
        let starting = |at| self.starts.iter().any(|start| start.contains(&at));
        denied.retain(|entry| !starting(entry.at));
        Ok(denied)
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
        self.recorder.clear();
        Ok(())
    }
}

//! The programs of a control plane, out of one binary or a directory.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Names the binary that is all programs, or a directory with one for each.
const CONTROLPLANE_BIN: &str = "CONTROLPLANE_BIN";

/// A program of Kubernetes, or about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `etcd`.
    Etcd,
    /// `kube-apiserver`.
    KubeApiserver,
    /// `kube-proxy`.
    KubeProxy,
    /// `kubectl`.
    Kubectl,
    /// `helm`.
    Helm,
}

impl Program {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    /// How to start it, without arguments.
    ///
    /// # Errors
    /// It is not there; the error says what builds it.
    pub fn command(self) -> Result<Command> {
        let place = place()?;
        let mut command = if place.is_dir() {
            Command::new(place.join(self.name()))
        } else {
            let mut command = Command::new(place);
            command.arg(self.name());
            command
        };
        // Nobody's HTTP proxies or credentials.
        command.env_clear();
        Ok(command)
    }

    /// The same with a home directory: without one, kubectl and helm would keep what they
    /// learn of an API server below the directory in which they are started.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub fn command_at_home(self, home: &Path) -> Result<Command> {
        let mut command = self.command()?;
        command.env("HOME", home).env("KUBECACHEDIR", home.join("kubectl"));
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), home.join("helm").join(kind));
        }
        Ok(command)
    }
}

/// Where a tool of this machine is.
pub(super) fn find(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(tool)).find(|file| file.is_file())
}

/// `CONTROLPLANE_BIN`, else where `cargo xtask test` builds it: beside the profile in
/// whose directory this program is.
fn place() -> Result<PathBuf> {
    if let Some(place) = env::var_os(CONTROLPLANE_BIN).map(PathBuf::from) {
        if !place.exists() {
            bail!("{CONTROLPLANE_BIN} is {}, which does not exist", place.display());
        }
        return Ok(place);
    }
    let own = env::current_exe().context("looking for the control plane beside this program")?;
    // One for each content that was built.
    let built = own.ancestors().skip(2).take(2).flat_map(|dir| dir.join("controlplane").read_dir());
    let binaries = built.flatten().flatten().map(|entry| entry.path().join("controlplane"));
    let newest = binaries.max_by_key(|path| path.metadata().and_then(|it| it.modified()).ok());
    let newest = newest.filter(|path| path.is_file());
    newest.context("there is no control plane to test against: `cargo xtask test` builds it")
}

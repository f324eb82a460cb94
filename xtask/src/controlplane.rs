//! The real control plane that tests run against: etcd, kube-apiserver, kube-proxy, kubectl
//! and helm in one binary, out of the Go module `tests/controlplane`. Built once for
//! each content of that module, into a directory of its own.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{aside::Aside, process, workspace::Workspace};

/// Tests and labs find the binary in this variable.
pub(crate) const CONTROLPLANE_BIN: &str = "CONTROLPLANE_BIN";

/// A directory with binaries of the same programs, as envtest's (which lacks kube-proxy and helm).
const ASSETS: &str = "KUBEBUILDER_ASSETS";
const PROGRAMS: [&str; 5] = ["etcd", "kube-apiserver", "kube-proxy", "kubectl", "helm"];

/// What the module consists of.
const SOURCES: [&str; 3] = ["main.go", "go.mod", "go.sum"];

/// Where the programs are, or will be.
pub(crate) enum ControlPlane {
    /// A directory with a binary for each, or the one binary that is all of them.
    Ready(PathBuf),
    /// The binary is being built.
    Building { binary: PathBuf, unfinished: PathBuf, build: Aside },
}

impl ControlPlane {
    /// Begins to build, where nothing is there that serves.
    pub(crate) fn prepare(workspace: &Workspace) -> Result<Self> {
        if let Some(assets) = env::var_os(ASSETS).map(PathBuf::from) {
            let missing = missing(|program| assets.join(program).is_file());
            if !missing.is_empty() {
                let (assets, missing) = (assets.display(), missing.join(", "));
                bail!("{ASSETS} is {assets}, which lacks {missing}: add them, or unset it");
            }
            return Ok(Self::Ready(assets));
        }
        let sources = workspace.root.join("tests/controlplane");
        let version = kubernetes_version(&sources.join("go.mod"))?;
        let flags = linker_flags(&version)?;
        let directory = workspace.controlplane().join(fingerprint(&sources, &flags)?);
        let binary = directory.join("controlplane");
        if binary.is_file() {
            return Ok(Self::Ready(binary));
        }
        if process::find_in_path("go").is_none() {
            bail!(
                "there is no Go, which builds the control plane that tests run against: install \
                 Go 1.21 or later (https://go.dev/dl), or set {ASSETS} to a directory with {}",
                PROGRAMS.join(", ")
            );
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        println!("building the control plane of Kubernetes {version} (once, some minutes)");
        // Nobody takes half a binary for a whole one, or another's half for its own.
        let unfinished = binary.with_extension(std::process::id().to_string());
        let mut go = Command::new("go");
        // No version from git, which tells root nothing of another user's checkout.
        go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &flags, "-o"]);
        go.arg(&unfinished);
        // The module's toolchain is fetched where an older Go is installed.
        go.arg(".").current_dir(&sources).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly");
        let build = Aside::start("building the control plane", go)?;
        Ok(Self::Building { binary, unfinished, build })
    }

    /// Waits until it is built.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        match self {
            Self::Ready(path) => Ok(path),
            Self::Building { binary, unfinished, build } => {
                build.finish()?;
                fs::rename(&unfinished, &binary)
                    .with_context(|| format!("making {}", binary.display()))?;
                Ok(binary)
            }
        }
    }
}

/// Which programs are not there.
fn missing(there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PROGRAMS.into_iter().filter(|program| !there(program)).collect()
}

/// Equal for equal sources and flags.
fn fingerprint(sources: &Path, flags: &str) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    flags.hash(&mut hasher);
    for name in SOURCES {
        let path = sources.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// The version of k8s.io/kubernetes that go.mod requires.
fn kubernetes_version(go_mod: &Path) -> Result<String> {
    let text =
        fs::read_to_string(go_mod).with_context(|| format!("reading {}", go_mod.display()))?;
    let required = |line: &str| Some(line.trim().strip_prefix("k8s.io/kubernetes ")?.to_owned());
    let version = text.lines().find_map(required);
    version.with_context(|| format!("{} requires no k8s.io/kubernetes", go_mod.display()))
}

/// What Kubernetes' own build writes into its programs; kubectl refuses to compare
/// versions without it.
fn linker_flags(version: &str) -> Result<String> {
    let mut parts = version.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else {
        bail!("{version} is no version of Kubernetes");
    };
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_missing_are_named() {
        assert_eq!(missing(|program| program != "kube-proxy"), ["kube-proxy"]);
        assert!(missing(|_| true).is_empty());
    }

    #[test]
    fn other_flags_are_another_build() {
        let workspace = Workspace::load().expect("a workspace");
        let sources = workspace.root.join("tests/controlplane");
        let of = |flags| fingerprint(&sources, flags).expect("a fingerprint");
        assert_eq!(of("-s"), of("-s"));
        assert_ne!(of("-s"), of("-w"));
    }

    #[test]
    fn the_version_that_is_required_is_the_one_that_is_told() {
        let workspace = Workspace::load().expect("a workspace");
        let go_mod = workspace.root.join("tests/controlplane/go.mod");
        let version = kubernetes_version(&go_mod).expect("a version");
        let flags = linker_flags(&version).expect("flags");
        assert!(flags.contains(&format!("component-base/version.gitVersion={version}")), "{flags}");
        assert!(flags.contains("gitMajor=1 ") && flags.contains("gitMinor="), "{flags}");
        assert!(linker_flags("main").is_err());
    }
}

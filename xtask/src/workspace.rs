//! The workspace as cargo sees it: where it is, where it builds, what it pins.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// Where things are, and the pins of `[workspace.metadata.toolchain]`.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of the root Cargo.toml.
    pub(crate) root: PathBuf,
    /// Where artefacts are, CARGO_TARGET_DIR and configuration considered.
    target: PathBuf,
    pub(crate) pins: Pins,
}

/// Exact versions: a toolchain that was tried, not the newest there is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    /// The rustup toolchain of everything but the BPF program (and xtask).
    pub(crate) host: String,
    /// The nightly that builds the BPF program.
    pub(crate) bpf: String,
    /// The version of bpf-linker, whose LLVM is that of the nightly.
    pub(crate) bpf_linker: String,
    /// The version of cargo-fuzz.
    pub(crate) cargo_fuzz: String,
}

impl Workspace {
    /// Asks cargo, which reads Cargo.toml anyway.
    pub(crate) fn load() -> Result<Self> {
        // The cargo that runs us: the pinned one may not be installed yet.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .context("running cargo metadata")?;
        process::check("cargo metadata", output.status)?;
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
        Self::from_metadata(&metadata)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let text = |pointer: &str| match metadata.pointer(pointer).and_then(Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => bail!("the root Cargo.toml has no string at {pointer} of cargo metadata"),
        };
        Ok(Self {
            root: text("/workspace_root")?.into(),
            target: text("/target_directory")?.into(),
            pins: Pins {
                host: text("/metadata/toolchain/host")?,
                bpf: text("/metadata/toolchain/bpf")?,
                bpf_linker: text("/metadata/toolchain/bpf-linker")?,
                cargo_fuzz: text("/metadata/toolchain/cargo-fuzz")?,
            },
        })
    }

    /// `cargo` of the pinned host toolchain, in the root of the workspace.
    pub(crate) fn cargo<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = process::rustup();
        command.args(["run", &self.pins.host, "cargo"]).args(args).current_dir(&self.root);
        command
    }

    /// `cargo` of the pinned nightly, in the root of the workspace.
    pub(crate) fn nightly_cargo(&self) -> Command {
        let mut command = process::rustup();
        command.args(["run", &self.pins.bpf, "cargo"]).current_dir(&self.root);
        command
    }

    /// The path of a binary that `cargo build` (dev profile) has made.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// The same of the release profile.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where the protocol is built by itself.
    pub(crate) fn protocol(&self) -> PathBuf {
        self.target.join("protocol")
    }

    /// Where the control plane that tests run against is built.
    pub(crate) fn controlplane(&self) -> PathBuf {
        self.target.join("controlplane")
    }

    /// Where Debian packages are unpacked that cannot be installed.
    pub(crate) fn debian(&self) -> PathBuf {
        self.target.join("debian")
    }

    /// The arping of Thomas Habets, if it could be had.
    pub(crate) fn other_arping(&self) -> PathBuf {
        self.debian().join("usr/sbin/arping")
    }

    /// promtool, where it was unpacked.
    pub(crate) fn promtool(&self) -> PathBuf {
        self.debian().join("usr/bin/promtool")
    }

    /// Where the binary is built that is released.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// Where images are made.
    pub(crate) fn image(&self) -> PathBuf {
        self.target.join("image")
    }

    /// Where fuzz targets are built, and the inputs are that they have found.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// Where benchmarks leave their figures.
    pub(crate) fn bench_figures(&self) -> PathBuf {
        self.target.join("bench")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_pin_is_named() {
        let metadata = json!({
            "workspace_root": "/w", "target_directory": "/t",
            "metadata": { "toolchain": { "host": "1.98.0", "bpf-linker": "0.10.3" } },
        });
        let error = Workspace::from_metadata(&metadata).expect_err("no BPF toolchain");
        assert!(error.to_string().contains("/metadata/toolchain/bpf "), "{error}");
    }

    #[test]
    fn this_workspace_pins_what_is_needed() {
        let workspace = Workspace::load().expect("a workspace");
        assert!(workspace.root.join("xtask/Cargo.toml").exists());
        assert!(workspace.pins.bpf.starts_with("nightly-"));
    }
}

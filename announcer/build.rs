//! Builds the BPF object (`OUT_DIR/announcer-xdp`) with the pinned toolchain.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

fn main() {
    // aya-build makes a warning of each line that cargo prints, progress included.
    // SAFETY: nothing else runs in this process yet.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    // The object is the same wherever it is built: no path of this machine is in it. The
    // nightly's cargo can see to that by itself.
    for (name, value) in
        [("CARGO_UNSTABLE_TRIM_PATHS", "true"), ("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all")]
    {
        // SAFETY: as above.
        unsafe { env::set_var(name, value) };
    }
    if let Err(error) = build() {
        println!("cargo::error={error:#}");
    }
}

fn build() -> Result<()> {
    let announcer = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = announcer.parent().context("announcer/ has no parent directory")?;
    let pins = Pins::read(&root.join("Cargo.toml"))?;
    pins.check()?;

    let ebpf = root.join("announcer-ebpf");
    let ebpf = ebpf.to_str().context("the path of the workspace is not UTF-8")?;
    let package = Package { name: "announcer-ebpf", root_dir: ebpf, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&pins.bpf))
        .context("building the BPF object; the compiler's messages are above")
}

/// `[workspace.metadata.toolchain]`: the one place for versions.
struct Pins {
    bpf: String,
    bpf_linker: String,
}

impl Pins {
    fn read(manifest: &Path) -> Result<Self> {
        println!("cargo::rerun-if-changed={}", manifest.display());
        let text = std::fs::read_to_string(manifest)
            .with_context(|| format!("reading {}", manifest.display()))?;
        let pin = |key: &str| {
            text.lines()
                .skip_while(|line| line.trim() != "[workspace.metadata.toolchain]")
                .skip(1)
                .take_while(|line| !line.starts_with('['))
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().trim_matches('"').to_owned())
                .with_context(|| {
                    format!("{}: [workspace.metadata.toolchain] has no {key}", manifest.display())
                })
        };
        Ok(Self { bpf: pin("bpf")?, bpf_linker: pin("bpf-linker")? })
    }

    /// Missing tools make errors far from their cause; this names the cure.
    fn check(&self) -> Result<()> {
        let mut toolchain = Command::new("rustup");
        toolchain.args(["run", &self.bpf, "rustc", "--version"]);
        if !succeeds(&mut toolchain) {
            bail!("toolchain {} is missing: run `cargo xtask setup`", self.bpf);
        }
        if !succeeds(Command::new("bpf-linker").arg("--version")) {
            bail!("bpf-linker {} is missing: run `cargo xtask setup`", self.bpf_linker);
        }
        Ok(())
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

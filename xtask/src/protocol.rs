//! The ownership protocol's pure code and its simulation as a crate of their own,
//! in the target directory: it needs a handful of dependencies and builds in
//! seconds, optimised or changed on purpose, while the daemon takes minutes.
//!
//! Such a crate holds one test binary for each *variant* of the code. Its root is
//! the simulation's, with the daemon's modules beside the simulation's own, under
//! the paths that both use.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, workspace::Workspace};

/// The variant that nobody changed.
pub(crate) const ORIGINAL: &str = "original";

/// Where the tests are, and the pure code.
const SIMULATION: &str = "announcer/tests/simulation";
const SOURCES: &str = "announcer/src";

/// What of the pure code is outside `ownership/`.
const BESIDES: [&str; 4] = ["types.rs", "wire_state.rs", "conflict.rs", "intent/desired.rs"];

/// Modules of `ownership/` that do I/O, or serve what does, and that nothing pure depends on.
const WITH_IO: [&str; 4] = ["driver", "profile", "store", "watch"];

const DEPENDENCIES: [&str; 8] =
    ["clap", "fastrand", "libc", "regex", "serde", "siphasher", "thiserror", "tracing"];

/// The files of one variant: paths from its root, and texts.
#[derive(Clone)]
pub(crate) struct Sources(BTreeMap<String, String>);

/// The crate, written down.
pub(crate) struct Crate<'a> {
    workspace: &'a Workspace,
    directory: PathBuf,
}

impl Sources {
    /// As they are in the workspace.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let mut sources = Self(BTreeMap::new());
        let from = workspace.root.join(SOURCES);
        sources.collect(&workspace.root.join(SIMULATION), "")?;
        for file in BESIDES {
            sources.add(&from.join(file), file)?;
        }
        sources.0.insert("intent.rs".to_owned(), "pub mod desired;\n".to_owned());
        sources.collect(&from.join("conflict"), "conflict/")?;
        sources.collect(&from.join("ownership"), "ownership/")?;
        for module in WITH_IO {
            let own = [format!("ownership/{module}.rs"), format!("ownership/{module}/")];
            sources.0.retain(|path, _| own.iter().all(|own| !path.starts_with(own)));
            sources.replace_once("ownership/mod.rs", &format!("pub mod {module};\n"), "")?;
        }
        let root = sources.text_mut("main.rs")?;
        root.push_str("\nextern crate self as announcer;\n");
        for module in ["conflict", "intent", "ownership", "types", "wire_state"] {
            root.push_str(&format!("pub mod {module};\n"));
        }
        Ok(sources)
    }

    /// Puts another text in the place of one that must be there exactly once.
    pub(crate) fn replace_once(&mut self, file: &str, find: &str, replacement: &str) -> Result<()> {
        let text = self.text_mut(file)?;
        match text.matches(find).count() {
            1 => *text = text.replacen(find, replacement, 1),
            0 => bail!("{file} does not contain:\n{find}"),
            n => bail!("{file} contains this {n} times, not once:\n{find}"),
        }
        Ok(())
    }

    /// Equal for equal sources.
    pub(crate) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn text_mut(&mut self, file: &str) -> Result<&mut String> {
        self.0.get_mut(file).with_context(|| format!("the protocol has no file {file}"))
    }

    fn collect(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        let reading = || format!("reading {}", directory.display());
        for entry in fs::read_dir(directory).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().with_context(reading)?.is_dir() {
                self.collect(&entry.path(), &format!("{prefix}{name}/"))?;
            } else if name.ends_with(".rs") {
                self.add(&entry.path(), &format!("{prefix}{name}"))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, file: &Path, name: &str) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        // Unit tests have their own place, and dependencies of their own.
        let text = text.replace("#[cfg(test)]", "#[cfg(any())]");
        self.0.insert(name.to_owned(), text);
        Ok(())
    }
}

impl<'a> Crate<'a> {
    /// Writes down what has changed since the last time.
    pub(crate) fn write<'v>(
        workspace: &'a Workspace,
        variants: impl Iterator<Item = (&'v str, &'v Sources)> + Clone,
    ) -> Result<Self> {
        let directory = workspace.protocol();
        for (name, sources) in variants.clone() {
            for (path, text) in &sources.0 {
                write_if_changed(&directory.join(name).join(path), text)?;
            }
        }
        let names = variants.map(|(name, _)| name);
        write_if_changed(&directory.join("Cargo.toml"), &manifest(workspace, names)?)?;
        // The workspace's versions; cargo drops what is not needed.
        let lock = workspace.root.join("Cargo.lock");
        fs::copy(&lock, directory.join("Cargo.lock"))
            .with_context(|| format!("copying {}", lock.display()))?;
        Ok(Self { workspace, directory })
    }

    /// Builds the test binaries; returns those that could be built, by variant.
    pub(crate) fn build(&self, optimised: bool) -> Result<BTreeMap<String, PathBuf>> {
        let mut cargo = self.workspace.cargo(["build", "--tests", "--keep-going", "--quiet"]);
        cargo.arg("--manifest-path").arg(self.directory.join("Cargo.toml"));
        cargo.arg("--target-dir").arg(self.directory.join("target"));
        cargo.arg("--message-format=json-render-diagnostics");
        if optimised {
            cargo.arg("--release");
        }
        let output = cargo.stderr(Stdio::inherit()).output().context("building the simulation")?;
        let mut built = BTreeMap::new();
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let message: Value =
                serde_json::from_slice(line).context("reading from cargo build")?;
            let name = message.pointer("/target/name").and_then(Value::as_str);
            let executable = message.get("executable").and_then(Value::as_str);
            if let (Some(name), Some(executable)) = (name, executable) {
                built.insert(name.to_owned(), executable.into());
            }
        }
        if built.is_empty() {
            process::check("building the simulation", output.status)?;
        }
        Ok(built)
    }
}

/// A test binary that runs one scenario after the other, each on all CPUs.
pub(crate) fn simulation(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--test-threads=1").env("RUST_BACKTRACE", "0");
    command
}

fn manifest<'v>(workspace: &Workspace, variants: impl Iterator<Item = &'v str>) -> Result<String> {
    let root = workspace.root.join("Cargo.toml");
    let text = fs::read_to_string(&root).with_context(|| format!("reading {}", root.display()))?;
    let pins = text.split_once("[workspace.dependencies]\n").map(|(_, rest)| rest);
    let pins = pins.and_then(|rest| rest.split("\n[").next());
    let pins = pins.with_context(|| format!("{} has no dependencies", root.display()))?;
    let mut manifest = format!(
        r#"# Written by xtask.
[package]
name = "announcer-protocol"
version = "0.0.0"
edition = "2024"
autobins = false

[workspace]

[workspace.dependencies]
{pins}
[profile.test]
opt-level = 1
debug = false
incremental = false

[profile.release]
debug-assertions = true

[lints.rust]
warnings = "allow"

[dependencies]
"#
    );
    for dependency in DEPENDENCIES {
        manifest.push_str(&format!("{dependency} = {{ workspace = true }}\n"));
    }
    for variant in variants {
        let target = format!("\n[[test]]\nname = \"{variant}\"\npath = \"{variant}/main.rs\"\n");
        manifest.push_str(&target);
    }
    Ok(manifest)
}

/// What has not changed is not built again.
fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let writing = || format!("writing {}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(writing)?;
    }
    fs::write(path, text).with_context(writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_replaced_only_if_it_is_there_once() {
        let mut sources = Sources(BTreeMap::from([("a.rs".to_owned(), "x y y".to_owned())]));
        sources.replace_once("a.rs", "x", "z").expect("there is one");
        assert_eq!(sources.0["a.rs"], "z y y");
        for missing in ["x", "y"] {
            assert!(sources.replace_once("a.rs", missing, "z").is_err(), "{missing}");
        }
        assert!(sources.replace_once("b.rs", "x", "z").is_err());
    }

    #[test]
    fn the_protocol_has_no_module_with_io() {
        let workspace = Workspace::load().expect("a workspace");
        let sources = Sources::read(&workspace).expect("its sources");
        for path in sources.0.keys() {
            let module = path.trim_start_matches("ownership/").split(['/', '.']).next();
            assert!(!path.starts_with("ownership/") || !WITH_IO.contains(&module.unwrap_or("")));
        }
        assert!(sources.0.contains_key("ownership/machine/rules.rs"));
    }
}

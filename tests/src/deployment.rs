//! What lies in `deploy/`, and the tools of those who install it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    controlplane::{ControlPlane, MANIFESTS, Program},
    scratch,
};

/// The chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm/announcer");
/// Names promtool, where the PATH has none.
const PROMTOOL: &str = "PROMTOOL";

/// The path of a file below `deploy/`.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// The content of a file below `deploy/`.
///
/// # Errors
/// It cannot be read.
pub fn read(name: &str) -> Result<String> {
    let path = path(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// The documents of a YAML file.
///
/// # Errors
/// It is no YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).context("reading YAML")?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

/// Runs helm on the chart: `helm <args> … --values <values>`.
///
/// # Errors
/// There is no helm, or it fails; the error carries what it said.
pub fn helm(args: &[&str], values: &Value) -> Result<String> {
    let directory = scratch::directory("helm")?;
    said(helm_command(args, values, directory.path(), directory.path())?)
}

/// The same as administrator of `control`, on the control host.
///
/// # Errors
/// As [`helm`].
pub fn helm_at(control: &ControlPlane, args: &[&str], values: &Value) -> Result<String> {
    let directory = scratch::directory("helm")?;
    let mut helm = helm_command(args, values, directory.path(), control.directory())?;
    helm.arg("--kubeconfig").arg(control.admin_kubeconfig());
    control.ns().output(helm, "")
}

fn helm_command(args: &[&str], values: &Value, directory: &Path, home: &Path) -> Result<Command> {
    let file = directory.join("values.json");
    fs::write(&file, values.to_string())?;
    let mut helm = Program::Helm.command_at_home(home)?;
    helm.args(args);
    if ["install", "lint", "template", "upgrade"].contains(&args.first().copied().unwrap_or("")) {
        helm.arg("--values").arg(file);
    }
    Ok(helm)
}

/// What a release `announcer` in `namespace` consists of.
///
/// # Errors
/// As [`helm`].
pub fn template(namespace: &str, values: &Value) -> Result<String> {
    helm(&["template", "announcer", CHART, "--namespace", namespace], values)
}

/// What `kubectl apply -k` applies.
///
/// # Errors
/// There is no kubectl, or it fails.
pub fn kustomize() -> Result<String> {
    let home = scratch::directory("kubectl")?;
    let mut kubectl = Program::Kubectl.command_at_home(home.path())?;
    kubectl.args(["kustomize", MANIFESTS]);
    said(kubectl)
}

/// The same of an overlay with components, by their names below `deploy/kustomize/components`.
///
/// # Errors
/// As [`kustomize`], and those of a temporary directory.
pub fn kustomize_with(components: &[&str]) -> Result<String> {
    let directory = scratch::directory("kustomize")?;
    let at = directory.path().canonicalize()?;
    // It takes relative paths only.
    let root = "../".repeat(at.components().count() - 1);
    let below_root = |name: &str| -> Result<String> {
        let path = path(name).canonicalize()?;
        Ok(format!("{root}{}", path.strip_prefix("/")?.display()))
    };
    let paths = components.iter().map(|name| below_root(&format!("kustomize/components/{name}")));
    let overlay = json!({
        "resources": [below_root("kustomize/base")?],
        "components": paths.collect::<Result<Vec<_>>>()?,
    });
    fs::write(at.join("kustomization.yaml"), overlay.to_string())?;
    let mut kubectl = Program::Kubectl.command()?;
    kubectl.arg("kustomize").arg(at);
    said(kubectl)
}

/// Runs promtool.
///
/// # Errors
/// There is none, or it fails; the error carries what it said.
pub fn promtool(args: &[&str], directory: &Path) -> Result<String> {
    let beside = || {
        let own = env::current_exe().ok()?;
        let places = own.ancestors().skip(2).take(2).map(|it| it.join("debian/usr/bin/promtool"));
        places.into_iter().find(|path| path.is_file())
    };
    let named = env::var_os(PROMTOOL).map(PathBuf::from).filter(|path| path.is_file());
    let mut promtool = Command::new(named.or_else(beside).unwrap_or_else(|| "promtool".into()));
    promtool.args(args).current_dir(directory);
    said(promtool).context("`cargo xtask setup` installs promtool")
}

/// Runs a tool to its end, and returns its standard output.
///
/// # Errors
/// It cannot be started, or fails; the error carries all that it said.
pub fn said(mut command: Command) -> Result<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("running {what}"))?;
    let Output { status, stdout, stderr } = output;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{what}: {status}: {stdout}{}", String::from_utf8_lossy(&stderr));
    }
    Ok(stdout)
}

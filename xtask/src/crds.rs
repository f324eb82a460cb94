//! `cargo xtask crds`: the CustomResourceDefinitions, from the daemon's own types.

use std::fs;

use anyhow::{Context, Result};

use crate::{process, workspace::Workspace};

/// Where they belong, from the root.
const FILE: &str = "deploy/crds/l2announcementpolicies.yaml";

/// The first line of the file.
const HEADER: &str = "# Written by `cargo xtask crds` from announcer/src/intent/policy.rs.\n";

/// Writes the file anew.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let args = ["run", "--quiet", "--package=announcer", "--example=crds"];
    let yaml = process::output(&mut workspace.cargo(args))?;
    let path = workspace.root.join(FILE);
    fs::write(&path, format!("{HEADER}{yaml}"))
        .with_context(|| format!("writing {}", path.display()))?;
    println!("wrote {FILE}");
    Ok(())
}

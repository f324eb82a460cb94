//! Prints the CustomResourceDefinition that belongs to this version, as YAML.
//! `cargo xtask crds` writes it into deploy/crds.

use std::io::Write;

use announcer::intent::policy::L2AnnouncementPolicy;
use kube::CustomResourceExt;

fn main() -> anyhow::Result<()> {
    let yaml = serde_saphyr::to_string(&L2AnnouncementPolicy::crd())?;
    Ok(std::io::stdout().write_all(yaml.as_bytes())?)
}

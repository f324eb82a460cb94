//! kube-apiserver: how it is started.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Pki, Program, audit};
use crate::lab::CONTROL_IP;

/// Where it listens, on every address of the control host.
pub(super) const PORT: u16 = 6443;

/// Starts it; its files are in `directory`, and its audit log goes to standard output.
pub(super) fn command(pki: &Pki, directory: &Path) -> Result<Command> {
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
        flag("audit-policy-file", &audit::policy(directory)?),
        flag("cert-dir", directory),
    ]);
    Ok(command)
}

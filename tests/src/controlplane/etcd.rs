//! etcd: one member, on the control host's loopback interface.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Program;
use crate::{daemon::Daemon, netns::NetNs};

const CLIENTS: &str = "127.0.0.1:2379";
const PEERS: &str = "http://127.0.0.1:2380";
/// It answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn start(directory: &Path, ns: &NetNs) -> Result<Daemon> {
    let mut command = Program::Etcd.command()?;
    command.arg("--data-dir").arg(directory.join("etcd")).args([
        &format!("--listen-client-urls=http://{CLIENTS}"),
        &format!("--advertise-client-urls=http://{CLIENTS}"),
        &format!("--listen-peer-urls={PEERS}"),
        // What a test wrote need not outlive the machine.
        "--unsafe-no-fsync",
        "--log-level=error",
    ]);
    Daemon::start(command, "etcd", ns)
}

/// Compacts away all revisions before the present one.
pub(super) fn compact(ns: &NetNs) -> Result<()> {
    let any = json!({ "key": "AA==", "limit": 1 });
    let revision = ask(ns, "/v3/kv/range", &any)?;
    let revision = revision.pointer("/header/revision").cloned();
    let revision = revision.context("etcd does not tell its revision")?;
    ask(ns, "/v3/kv/compaction", &json!({ "revision": revision, "physical": true }))?;
    Ok(())
}

/// POST to etcd's JSON gateway.
fn ask(ns: &NetNs, path: &str, body: &Value) -> Result<Value> {
    let asked = || {
        let mut stream = TcpStream::connect(CLIENTS)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.to_string();
        let len = body.len();
        // HTTP/1.0: the answer ends with the connection, and is in one piece.
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nHost: {CLIENTS}\r\nContent-Length: {len}\r\n\r\n{body}"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let status = text.split(' ').nth(1);
        let answer = text.split_once("\r\n\r\n").map(|(_, body)| body);
        match (status, answer) {
            (Some("200"), Some(answer)) => Ok(serde_json::from_str(answer)?),
            _ => bail!("{text}"),
        }
    };
    ns.run(asked).with_context(|| format!("asking etcd for {path}"))
}

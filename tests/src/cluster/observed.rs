//! What an announcer says of itself: its HTTP port, and `announcer status`.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Cluster, SOON};
use crate::daemon;

/// Where announcers serve metrics and health unless they are told otherwise.
pub const HTTP_PORT: u16 = 9842;

/// Samples of a scrape by name, each with its labels as they are written, `{}` for none.
pub type Samples = BTreeMap<String, BTreeMap<String, f64>>;

impl Cluster {
    /// GET from node `n`'s announcer: the status code and the body.
    ///
    /// # Errors
    /// Nobody listens there, or it is no HTTP.
    pub fn get(&self, n: usize, path: &str) -> Result<(u16, String)> {
        self.lab.node(n).ns.run(|| get(self.lab.node(n).ip, path))
    }

    /// What node `n`'s announcer counts.
    ///
    /// # Errors
    /// As [`Self::get`], and what is no OpenMetrics text.
    pub fn metrics(&self, n: usize) -> Result<Samples> {
        let (_, text) = self.get(n, "/metrics")?;
        let mut samples = Samples::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, format!("{{{labels}")),
                None => (series, "{}".to_owned()),
            };
            let value = value.parse().with_context(|| line.to_owned())?;
            samples.entry(name.to_owned()).or_default().insert(labels, value);
        }
        Ok(samples)
    }

    /// What `announcer status` says on node `n`, with these arguments.
    ///
    /// # Errors
    /// It failed; the error carries what it wrote.
    pub fn status(&self, n: usize, args: &[&str]) -> Result<String> {
        let binary = daemon::binary()?;
        let args: Vec<&str> = ["status"].iter().chain(args).copied().collect();
        self.lab.node(n).ns.tool(&binary.to_string_lossy(), &args, "")
    }

    /// The same as JSON, once it is as `wanted`.
    ///
    /// # Errors
    /// It was not; the error has the last.
    pub fn wait_for_status(&self, n: usize, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let status: Value = serde_json::from_str(&self.status(n, &["-o", "json"])?)?;
            if wanted(&status) {
                return Ok(status);
            }
            if std::time::Instant::now() > deadline {
                anyhow::bail!("not within {SOON:?}: {status:#}");
            }
        }
    }
}

fn get(ip: Ipv4Addr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(SocketAddrV4::new(ip, HTTP_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: announcer\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| text.clone())?;
    let code = head.split(' ').nth(1).with_context(|| head.to_owned())?;
    Ok((code.parse()?, body.to_owned()))
}

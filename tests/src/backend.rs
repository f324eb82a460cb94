//! A backend that answers HTTP with its own name, and a client that asks it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use socket2::SockRef;

use crate::netns::NetNs;

/// For a peer that falls silent in the middle.
const STALLED: Duration = Duration::from_secs(5);

/// The header that says whom the backend takes for its client.
const CLIENT_ADDRESS: &str = "Client-Address: ";

/// An HTTP server in a namespace; dropping it stops it.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddrV4,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Serves on `address` of `ns` (port 0: any that is free) and answers every request
    /// with 200 and `name`.
    ///
    /// # Errors
    /// The namespace does not have the address, or the port is taken.
    pub fn start(ns: &NetNs, address: SocketAddrV4, name: &str) -> Result<Self> {
        let bind = || TcpListener::bind(address).with_context(|| format!("listening on {address}"));
        let listener = ns.run(bind)?;
        let port = listener.local_addr()?.port();
        let serving = listener.try_clone()?;
        let name = name.to_owned();
        let thread = thread::Builder::new().name("lab-backend".into()).spawn(move || {
            for client in serving.incoming() {
                // `incoming` goes on for ever; an error is the listener's end.
                let Ok(client) = client else { return };
                // A client that breaks off spoils its own request only.
                let _ = answer(client, &name);
            }
        })?;
        let address = SocketAddrV4::new(*address.ip(), port);
        Ok(Self { address, listener, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Wakes the accepting thread (Linux: accept fails with EINVAL).
        let stopped = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let (Ok(()), Some(thread)) = (stopped, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// What a [`Backend`] answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body, without white space at its ends.
    pub body: String,
    /// Whom the backend took for its client.
    pub client: Ipv4Addr,
}

/// Asks for `/` at `address` from inside `ns`, on a connection of its own.
///
/// # Errors
/// No connection, or no whole answer, within `timeout` each.
pub fn http_get(ns: &NetNs, address: SocketAddrV4, timeout: Duration) -> Result<HttpAnswer> {
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&address.into(), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", address.ip())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let head_and_body = text.split_once("\r\n\r\n");
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (Some((head, body)), Some(status)) = (head_and_body, status) else {
            bail!("not an HTTP answer: {text:?}");
        };
        let client = head.lines().find_map(|line| line.strip_prefix(CLIENT_ADDRESS));
        let client = client.context("not a backend's answer")?.parse()?;
        Ok(HttpAnswer { status, body: body.trim().to_owned(), client })
    };
    let began = Instant::now();
    ns.run(asked)
        .with_context(|| format!("GET http://{address}/ from {ns:?}, after {:?}", began.elapsed()))
}

/// The port that backends of [`pod_backend`] listen on.
pub const POD_PORT: u16 = 8080;

/// A backend in a node's pod.
///
/// # Errors
/// As [`Backend::start`].
pub fn pod_backend(pod: &NetNs, ip: Ipv4Addr, name: &str) -> Result<Backend> {
    Backend::start(pod, SocketAddrV4::new(ip, POD_PORT), name)
}

fn answer(client: TcpStream, name: &str) -> Result<()> {
    client.set_read_timeout(Some(STALLED))?;
    client.set_write_timeout(Some(STALLED))?;
    let mut lines = BufReader::new(&client).lines();
    while !lines.next().context("no empty line after the request")??.is_empty() {}
    let SocketAddr::V4(address) = client.peer_addr()? else { bail!("not IPv4") };
    let (len, address) = (name.len() + 1, address.ip());
    write!(
        &client,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\
         {CLIENT_ADDRESS}{address}\r\nConnection: close\r\n\r\n{name}\n"
    )?;
    Ok(())
}

//! The server as its users hold it: started on a bound socket, stopped when dropped.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    audit::Audit,
    faults::Faults,
    gate::{Network, Outage},
    handler::Shared,
    http,
    objects::Objects,
    registry::NAMESPACES,
    stream::Watches,
};

/// How a server behaves where clusters differ.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many changes each resource remembers for watches that resume; older ones are answered
    /// with 410. At least 1.
    pub history: usize,
    /// Time between bookmarks on watches that asked for them (about a minute on the real server).
    pub bookmark_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: 20_000, bookmark_interval: Duration::from_secs(60) }
    }
}

/// A running API server, on its own thread. Dropping it closes all its connections and its port.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ApiServer {
    /// Serves on a socket that is bound and listening already. The socket stays in the network
    /// namespace where it was made, whatever thread calls this.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        Self::start_with(listener, Options::default())
    }

    /// Starts with other than the default options.
    pub fn start_with(listener: TcpListener, options: Options) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let objects = Objects::new(options.history.max(1));
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let namespace = json!({"metadata": {"name": name}});
            objects.create(&NAMESPACES, "", namespace).map_err(io::Error::other)?;
        }
        let (network, changes) = Network::new();
        let shared = Shared {
            watches: Watches::new(objects.clone()),
            objects,
            faults: Faults::new(network),
            audit: Audit::default(),
            bookmark_interval: options.bookmark_interval,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = shared.clone();
        let run =
            move || runtime.block_on(http::serve(listener, address, serving, changes, stopped));
        let thread = thread::Builder::new().name("apiserver".to_owned()).spawn(run)?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://address:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that makes its user the client of this name (JSON, which is YAML too).
    ///
    /// kubectl sends no token over plain HTTP: it is the client `kubectl`, after its User-Agent.
    pub fn kubeconfig(&self, client: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": self.url()}}],
            "users": [{"name": client, "user": {"token": client}}],
            "contexts": [{
                "name": "lab",
                "context": {"cluster": "lab", "user": client, "namespace": "default"},
            }],
        });
        format!("{config:#}\n")
    }

    /// The objects, without HTTP.
    pub fn objects(&self) -> &Objects {
        &self.shared.objects
    }

    /// Faults to inject.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The request log.
    pub fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// The open watch streams.
    pub fn watches(&self) -> &Watches {
        &self.shared.watches
    }

    /// Restarts: connections are cut and new ones refused as in [`Outage::Refuse`], until it
    /// is back without its history. Objects are kept and versions go on, as etcd has them; but
    /// watches and exact lists from before are answered with 410, as by watch caches that start
    /// anew. `meanwhile` runs while it is down.
    pub fn restart<T>(&self, meanwhile: impl FnOnce(&Objects) -> T) -> T {
        let down = self.faults().outage(Outage::Refuse);
        let result = meanwhile(self.objects());
        self.objects().compact();
        down.end();
        result
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_can_be_shared_and_is_gone_when_dropped() {
        fn shareable<T: Send + Sync>(_: &T) {}
        let server = ApiServer::start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        shareable(&server);
        let address = server.address();
        std::net::TcpStream::connect(address).unwrap();
        drop(server);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

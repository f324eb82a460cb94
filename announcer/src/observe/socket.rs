//! The daemon's own door: HTTP with JSON over an abstract Unix socket, which belongs to
//! the network namespace as the daemon does. For root and the daemon's own user.

use std::{
    convert::Infallible,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::{
    Observer,
    server::{CONNECTIONS, Connections, Reply, connection, reply, text},
};
use crate::status::Status;

/// Beside the instance lock's.
const NAME: &[u8] = b"announcer-status";

/// A daemon answers within this, or hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// After an error in listening or accepting.
const RETRY: Duration = Duration::from_secs(5);

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is none in this network namespace.
    #[error("no announcer runs in this network namespace")]
    NoDaemon,
    /// It closed the connection: we are neither root nor its user.
    #[error("the announcer speaks to root and its own user only")]
    NotPermitted,
    /// It does not answer.
    #[error(
        "the announcer of this network namespace did not answer within {PATIENCE:?}; is it stopped?"
    )]
    Silent,
    /// What it says is not understood: it is of another version.
    #[error("the announcer of this network namespace is of another version")]
    NotUnderstood(#[source] serde_json::Error),
    /// The connection broke.
    #[error("asking the announcer of this network namespace failed")]
    Http(#[from] hyper::Error),
    /// A system call.
    #[error("asking the announcer of this network namespace failed")]
    Io(#[from] io::Error),
}

/// Serves, for ever. The daemon goes on without, should it not be possible.
pub async fn serve(observer: Observer) -> Infallible {
    let mut connections = Connections::new();
    loop {
        match listen() {
            Ok(listener) => loop {
                let accepted = tokio::select! {
                    accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
                    Some(()) = connections.next() => continue,
                };
                match accepted {
                    Ok((stream, _)) if may_ask(&stream) => {
                        let observer = observer.clone();
                        let answer = move |path| answer(observer.clone(), path);
                        connections.push(connection(stream, answer));
                    }
                    // Closed without a word.
                    Ok(_) => {}
                    Err(error) => {
                        warn!(%error, "`announcer status` could not be answered");
                        break;
                    }
                }
            },
            Err(error) => warn!(%error, "`announcer status` cannot ask this daemon; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn listen() -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// SO_PEERCRED: as the peer was when it connected. Abstract sockets have no permissions.
fn may_ask(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == user())
}

fn user() -> libc::uid_t {
    // SAFETY: geteuid cannot fail, and takes nothing.
    unsafe { libc::geteuid() }
}

async fn answer(observer: Observer, path: String) -> Reply {
    if path != "/status" {
        return text(StatusCode::NOT_FOUND, "here is /status");
    }
    match serde_json::to_string(&observer.status().await) {
        Ok(status) => reply(StatusCode::OK, "application/json", status),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Asks the daemon of the calling thread's network namespace. Must be called within a
/// tokio runtime.
///
/// # Errors
/// [`AskError`].
pub async fn ask() -> Result<Status, AskError> {
    let stream = StdStream::connect_addr(&SocketAddr::from_abstract_name(NAME)?);
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => AskError::NoDaemon,
        _ => AskError::Io(error),
    })?;
    stream.set_nonblocking(true)?;
    let body = tokio::time::timeout(PATIENCE, get(UnixStream::from_std(stream)?)).await;
    let body = body.map_err(|_elapsed| AskError::Silent)??;
    serde_json::from_slice(&body).map_err(AskError::NotUnderstood)
}

async fn get(stream: UnixStream) -> Result<Bytes, AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/status").header("host", "announcer").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        Ok::<_, hyper::Error>(response.into_body().collect().await?.to_bytes())
    };
    let answer = answer.await;
    connection.abort();
    // How it looks to be refused depends on who is faster.
    answer.map_err(|error| if user() == 0 { error.into() } else { AskError::NotPermitted })
}

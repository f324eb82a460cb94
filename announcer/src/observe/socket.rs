//! The daemon's own door: HTTP with JSON over an abstract Unix socket, which belongs to
//! the network namespace as the daemon does. For root and the daemon's own user: what goes
//! on at the port that is open to all keeps nobody from asking here.

use std::{
    convert::Infallible,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener as StdListener},
    },
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::{
    Observer,
    server::{self, Reply, connection, health, reply, text},
};
use crate::{
    datapath::namespace::{Holder, InstanceLock},
    status::Status,
};

/// Beside the instance lock's.
const NAME: &str = "announcer-status";

/// A daemon whose loop turns says so within this, or hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same for the kubelet, which waits 5 s for a probe, and kills what it calls dead.
const LIVE_PATIENCE: Duration = Duration::from_secs(4);

/// One that turns has said everything within this.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// A status of 10,000 VIPs has some 5 MB.
const LARGEST: usize = 64 << 20;

/// Before a name that is taken is tried again.
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
    /// Who listens there is neither root nor our own user.
    #[error(
        "user {0} listens where an announcer would in this network namespace, and is not believed; \
         `ss -xlp` says which process it is"
    )]
    Stranger(libc::uid_t),
    /// It does not answer.
    #[error(
        "the announcer of this network namespace, {holder}, has not answered for {waited:?}: it is \
         stopped or stuck; {}",
        holder.remedy()
    )]
    Silent {
        /// For so long.
        waited: Duration,
        /// Which process that is.
        holder: Holder,
    },
    /// It answers that something is wrong.
    #[error("{0}")]
    Unwell(String),
    /// It says more than it can have to say.
    #[error("the announcer of this network namespace answers with more than {LARGEST} bytes")]
    TooMuch,
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
    let mut told = false;
    let listener = loop {
        match listen() {
            Ok(listener) => break listener,
            Err(error) if !std::mem::replace(&mut told, true) => warn!(
                %error,
                "`announcer status` and `live` cannot ask this daemon; trying again"
            ),
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    };
    let accept = |cx: &mut Context<'_>| listener.poll_accept(cx);
    server::serve(accept, |(stream, _)| {
        let observer = observer.clone();
        let answer = move |path| answer(observer.clone(), path);
        is_trusted(&stream).then(|| connection(stream, answer))
    })
    .await
}

fn listen() -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Abstract sockets have no permissions: whoever came first has the name.
fn is_trusted(stream: &UnixStream) -> bool {
    peer(stream).is_ok_and(|peer| peer == 0 || peer == user())
}

/// SO_PEERCRED: as the peer was when it connected, or began to listen.
fn peer(stream: &UnixStream) -> io::Result<libc::uid_t> {
    Ok(stream.peer_cred()?.uid())
}

fn user() -> libc::uid_t {
    // SAFETY: geteuid cannot fail, and takes nothing.
    unsafe { libc::geteuid() }
}

async fn answer(observer: Observer, path: String) -> Reply {
    match &*path {
        "/status" => match serde_json::to_string(&observer.status().await) {
            Ok(status) => reply(StatusCode::OK, "application/json", status),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "/healthz" => health(observer.alive()),
        _ => text(StatusCode::NOT_FOUND, "here are /status and /healthz"),
    }
}

/// Asks the daemon of the calling thread's network namespace for its status. Must be called
/// within a tokio runtime.
///
/// # Errors
/// [`AskError`]; that it does not answer at all is known after 2 s.
pub async fn ask() -> Result<Status, AskError> {
    match is_well().await {
        // It answers: so it may say which of its loops hangs.
        Ok(()) | Err(AskError::Unwell(_)) => {}
        Err(error) => return Err(error),
    }
    let body = get("/status", STATUS_PATIENCE).await?;
    serde_json::from_slice(&body).map_err(AskError::NotUnderstood)
}

/// Asks it whether its loops turn. Must be called within a tokio runtime.
///
/// # Errors
/// [`AskError`]; which loop hangs is [`AskError::Unwell`].
pub async fn is_well() -> Result<(), AskError> {
    get("/healthz", PATIENCE).await.map(drop)
}

/// The same for a liveness probe, which is more patient.
///
/// # Errors
/// As [`is_well`].
pub async fn live() -> Result<(), AskError> {
    get("/healthz", LIVE_PATIENCE).await.map(drop)
}

async fn get(path: &str, patience: Duration) -> Result<Bytes, AskError> {
    let got = async { fetch(connect(patience).await?, path).await };
    tokio::time::timeout(patience, got).await.map_err(|_elapsed| silent(patience))?
}

fn silent(waited: Duration) -> AskError {
    let holder = InstanceLock::holder().ok().flatten().unwrap_or_default();
    AskError::Silent { waited, holder }
}

async fn connect(patience: Duration) -> Result<UnixStream, AskError> {
    let stream = UnixStream::connect(format!("\0{NAME}")).await;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => AskError::NoDaemon,
        // So many wait to be accepted that no more may.
        io::ErrorKind::WouldBlock => silent(patience),
        _ => AskError::Io(error),
    })?;
    if !is_trusted(&stream) {
        return Err(AskError::Stranger(peer(&stream)?));
    }
    Ok(stream)
}

async fn fetch(stream: UnixStream, path: &str) -> Result<Bytes, AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", "announcer").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let code = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => AskError::Http(*error),
            Err(_limit) => AskError::TooMuch,
        })?;
        Ok((code, body.to_bytes()))
    };
    let answer = answer.await;
    connection.abort();
    // How it looks to be refused depends on who is faster.
    let (code, body) = answer.map_err(|error| match error {
        AskError::Http(_) if user() != 0 => AskError::NotPermitted,
        error => error,
    })?;
    if code != StatusCode::OK {
        return Err(AskError::Unwell(String::from_utf8_lossy(&body).trim_end().to_owned()));
    }
    Ok(body)
}

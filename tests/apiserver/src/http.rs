//! Connections: HTTP/1.1 in, answers and watch streams out, outages and faults in between.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    audit::Audited,
    faults::Verdict,
    gate::{Gate, GatedStream, NetworkChange, Outage},
    handler::{Answer, Call, Shared},
    object::encode,
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Connections that the kernel holds until they are accepted: many clients start at once.
const BACKLOG: i32 = 4096;

/// Serves until it is told to stop, or the listening socket fails.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: Shared,
    mut changes: mpsc::UnboundedReceiver<NetworkChange>,
    mut stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut door = Door::open(listener, address)?;
    let gate = Arc::new(Gate::default());
    let mut connections = JoinSet::new();
    let mut outage = None;
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return Ok(()),
            Some(change) = changes.recv() => {
                outage = change.outage;
                if outage == Some(Outage::Refuse) {
                    door = door.shut()?;
                    connections.shutdown().await;
                } else {
                    door = door.reopen()?;
                }
                if outage.is_none() { gate.open() } else { gate.close() }
                // Nobody waits for it any more: nothing to tell.
                let _ = change.done.send(());
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            stream = door.accept(), if outage.is_none() => {
                let stream = GatedStream::new(stream?, Arc::clone(&gate));
                connections.spawn(connection(stream, shared.clone()));
            }
        }
    }
}

/// The listening socket, or what is left of it during an outage.
enum Door {
    Open(TcpListener, SocketAddr),
    Shut(std::net::TcpListener, SocketAddr),
}

impl Door {
    fn open(listener: std::net::TcpListener, address: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(Self::Open(TcpListener::from_std(listener)?, address))
    }

    /// Stops listening, so that the kernel refuses connections. The socket, and with it the
    /// network namespace that it lives in, is kept.
    fn shut(self) -> io::Result<Self> {
        let Self::Open(listener, address) = self else { return Ok(self) };
        // Taken out of the reactor: a socket that was shut down would be readable for ever.
        let listener = listener.into_std()?;
        let socket = SockRef::from(&listener);
        socket.shutdown(std::net::Shutdown::Both)?;
        // A port that the kernel chose was given back: take it again before anyone else does. A
        // port that was asked for is still bound, and this fails.
        let _ = socket.bind(&address.into());
        Ok(Self::Shut(listener, address))
    }

    fn reopen(self) -> io::Result<Self> {
        match self {
            Self::Shut(listener, address) => Self::open(listener, address),
            open @ Self::Open(..) => Ok(open),
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let Self::Open(listener, _) = self else { return std::future::pending().await };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                // The client has gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn connection(stream: GatedStream, shared: Shared) {
    let service = service_fn(|request| answer(shared.clone(), request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Clients leave whenever they like, and faults cut connections: neither is an error here.
    let _ = served.await;
}

/// Answers a request; an error closes the connection without an answer.
async fn answer(shared: Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    // From here on the request is processed whatever becomes of its connection.
    let processing = tokio::spawn(process(shared, parts, body));
    processing.await.map_err(io::Error::other)?
}

async fn process(shared: Shared, parts: Parts, body: Bytes) -> io::Result<Response<Body>> {
    let at = Instant::now();
    let call = Call::read(&shared, &parts, body);
    let request = call.request.clone();
    let plan = shared.faults.plan(&request);
    if !plan.delay_before.is_zero() {
        tokio::time::sleep(plan.delay_before).await;
    }
    let answer = match plan.verdict {
        None => Some(call.execute(&shared)),
        Some(Verdict::Refuse(status)) => Some(Answer::Refusal(status)),
        Some(Verdict::Drop) => None,
        Some(Verdict::Hang(fault)) => {
            shared.faults.while_present(fault).await;
            None
        }
    };
    let wrote = match &answer {
        Some(Answer::Json { wrote, .. }) => *wrote,
        _ => None,
    };
    if !plan.delay_after.is_zero() {
        tokio::time::sleep(plan.delay_after).await;
    }
    let answer = answer.filter(|_| !plan.lose_answer);
    let code = answer.as_ref().map(Answer::code);
    shared.audit.record(Audited { request, at, took: at.elapsed(), code, wrote });
    let answer = answer.ok_or_else(|| io::Error::other("cut by an injected fault"))?;
    Ok(respond(answer))
}

impl Answer {
    fn code(&self) -> u16 {
        match self {
            Self::Json { code, .. } | Self::Text { code, .. } => *code,
            Self::Refusal(status) => status.code,
            Self::Watch(_) => 200,
        }
    }
}

fn respond(answer: Answer) -> Response<Body> {
    let code = StatusCode::from_u16(answer.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    let full = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    let (media, body) = match answer {
        Answer::Json { body, .. } => ("application/json", full(body)),
        Answer::Refusal(status) => {
            if let Some(seconds) = status.retry_after_seconds() {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            ("application/json", full(encode(&status.to_value())))
        }
        Answer::Text { text, .. } => {
            ("text/plain; charset=utf-8", full(Bytes::from_static(text.as_bytes())))
        }
        Answer::Watch(stream) => {
            ("application/json", StreamBody::new(stream.frames()).boxed_unsync())
        }
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response
}

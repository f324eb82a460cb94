//! HTTP/1.1 for a few readers: no body is read, and no connection lasts.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tracing::warn;

/// So many connections at once for each listener; more wait until they are accepted.
const CONNECTIONS: usize = 32;

/// After an error in accepting: there may be no descriptors for a while.
const REST: Duration = Duration::from_secs(1);

/// Within this a request has to be there.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);

/// Within this everything has to be done.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said in answer to a request.
pub(super) type Reply = Response<Full<bytes::Bytes>>;

/// Accepts and serves, for ever; dropped, it closes every connection. `serve` may refuse one,
/// which is closed without a word.
pub(super) async fn serve<S>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>> + Send,
    mut serve: impl FnMut(S) -> Option<BoxFuture<'static, ()>> + Send,
) -> Infallible {
    let mut connections = FuturesUnordered::new();
    let mut rests_until = None;
    loop {
        let accepts = rests_until.is_none() && connections.len() < CONNECTIONS;
        let accepted = tokio::select! {
            accepted = poll_fn(&mut accept), if accepts => accepted,
            Some(()) = connections.next() => continue,
            () = tokio::time::sleep_until(rests_until.unwrap_or_else(Instant::now)),
                if rests_until.is_some() =>
            {
                rests_until = None;
                continue;
            }
        };
        match accepted {
            Ok(stream) => connections.extend(serve(stream)),
            // One that was broken off before it was accepted, or no descriptors.
            Err(error) => {
                warn!(%error, "a connection could not be accepted; trying again");
                rests_until = Some(Instant::now() + REST);
            }
        }
    }
}

/// One connection, served when it is polled.
pub(super) fn connection<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: impl Fn(String) -> F + Send + Sync + 'static,
) -> BoxFuture<'static, ()>
where
    F: Future<Output = Reply> + Send,
{
    let serving = async move {
        let service = service_fn(|request: Request<Incoming>| {
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            let answer = reads.then(|| answer(request.uri().path().to_owned()));
            async {
                Ok::<_, Infallible>(match answer {
                    Some(answer) => answer.await,
                    None => text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"),
                })
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE).keep_alive(false);
        let served = http.serve_connection(TokioIo::new(stream), service);
        // Who went away, or was too slow, has himself to blame.
        let _ = tokio::time::timeout(PATIENCE, served).await;
    };
    serving.boxed()
}

/// What is said of the daemon's health, with why it is bad.
pub(super) fn health(healthy: Result<(), String>) -> Reply {
    match healthy {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// A line of text.
pub(super) fn text(code: StatusCode, said: &str) -> Reply {
    reply(code, "text/plain; charset=utf-8", format!("{said}\n"))
}

pub(super) fn reply(code: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = code;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    reply
}

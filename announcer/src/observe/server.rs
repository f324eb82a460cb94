//! HTTP/1.1 for a few readers: no body is read, and no connection lasts.

use std::{convert::Infallible, future::Future, time::Duration};

use futures::{FutureExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

/// So many connections at once; more wait until they are accepted.
pub(super) const CONNECTIONS: usize = 32;

/// Within this a request has to be there.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);

/// Within this everything has to be done.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said in answer to a request.
pub(super) type Reply = Response<Full<bytes::Bytes>>;

/// Connections that are being served: dropped, they are closed.
pub(super) type Connections = FuturesUnordered<BoxFuture<'static, ()>>;

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

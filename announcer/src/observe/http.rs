//! Metrics and health for Prometheus and the kubelet: plain HTTP, nothing secret, nothing
//! that changes anything.

use std::{convert::Infallible, fmt, net::SocketAddr, str::FromStr, task::Context, time::Duration};

use http::StatusCode;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::{
    Observer,
    server::{self, Reply, connection, health, reply, text},
};

/// Of OpenMetrics 1.0, which Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Before a port that is in use is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Where to serve, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAddress(pub Option<SocketAddr>);

/// Neither an address with a port nor nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address with a port, like 0.0.0.0:9842 or [::]:9842; leave it empty for none")]
pub struct HttpAddressError(String);

impl FromStr for HttpAddress {
    type Err = HttpAddressError;

    fn from_str(s: &str) -> Result<Self, HttpAddressError> {
        if s.is_empty() {
            return Ok(Self(None));
        }
        s.parse().map(Some).map(Self).map_err(|_| HttpAddressError(s.to_owned()))
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

/// Serves, for ever. A port that cannot be had is told to the log and tried again: what
/// answers for VIPs does not depend on who looks at it.
pub async fn serve(address: HttpAddress, observer: Observer) -> Infallible {
    let Some(address) = address.0 else { return std::future::pending().await };
    let listener = listen(address).await;
    info!(%address, "serving /metrics, /healthz and /readyz");
    let accept = |cx: &mut Context<'_>| listener.poll_accept(cx);
    server::serve(accept, |(stream, _)| {
        let observer = observer.clone();
        Some(connection(stream, move |path| answer(observer.clone(), path)))
    })
    .await
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !std::mem::replace(&mut told, true) => warn!(
                %address, %error,
                "no metrics and no health: cannot listen; trying again. Give another \
                 --http-address (ANNOUNCER_HTTP_ADDRESS), or an empty one for none"
            ),
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn answer(observer: Observer, path: String) -> Reply {
    match &*path {
        "/metrics" => match observer.scrape().await {
            Ok(metrics) => reply(StatusCode::OK, OPEN_METRICS, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "/healthz" => health(observer.alive()),
        "/readyz" => health(observer.ready().map_err(str::to_owned)),
        _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_is_empty() {
        for ok in ["0.0.0.0:9842", "127.0.0.1:1", "[::]:9842", ""] {
            assert_eq!(ok.parse::<HttpAddress>().map(|a| a.to_string()), Ok(ok.to_owned()));
        }
        for bad in ["9842", ":9842", "localhost:9842", "0.0.0.0", "0.0.0.0:65536"] {
            assert!(bad.parse::<HttpAddress>().is_err(), "{bad}");
        }
    }
}

//! The client of the API server: whose credentials, and how patient.

mod token;

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client,
    client::ClientBuilder,
    config::{Kubeconfig, KubeconfigError},
    runtime::watcher,
};

use crate::causes::with_sources;

/// The kubeconfig, or what the surroundings have instead, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("no credentials for the cluster: {0}")]
pub struct ClientError(String);

/// Which API server a client asks. Displayed: that, and what to look at if it does not
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    url: http::Uri,
    kubeconfig: Option<PathBuf>,
}

impl Server {
    /// Where it is.
    pub const fn url(&self) -> &http::Uri {
        &self.url
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked {}: is it up, and is it the cluster that is meant? ", self.url)?;
        match &self.kubeconfig {
            Some(file) => {
                let file = file.display();
                write!(f, "It is `server` of the current context in {file}")
            }
            None => f.write_str(
                "It is `server` of the current context in $KUBECONFIG or ~/.kube/config, or, in \
                 a pod, $KUBERNETES_SERVICE_HOST",
            ),
        }?;
        f.write_str(" (another file: --kubeconfig; another context: kubectl config use-context)")
    }
}

/// With the credentials of `kubeconfig`; else of $KUBECONFIG, ~/.kube/config, or the pod.
/// A connection that is not there within `patience` is none.
///
/// # Errors
/// [`ClientError`]: which file, and what is wrong with it. The API server is not asked.
pub async fn connect(
    kubeconfig: Option<&Path>,
    patience: Duration,
) -> Result<(Client, Server), ClientError> {
    let wrong = |e: &dyn std::fmt::Display| ClientError(e.to_string());
    let mut config = match kubeconfig {
        Some(path) => {
            let of = |e: KubeconfigError| match e {
                // It names the path itself, with more quotes than are needed.
                KubeconfigError::ReadConfig(why, _) => {
                    wrong(&format_args!("{}: {why}", path.display()))
                }
                e => wrong(&format_args!("{}: {e}", path.display())),
            };
            let file = Kubeconfig::read_from(path).map_err(of)?;
            kube::Config::from_custom_kubeconfig(file, &Default::default()).await.map_err(of)?
        }
        None => kube::Config::infer().await.map_err(|e| wrong(&e))?,
    };
    let server =
        Server { url: config.cluster_url.clone(), kubeconfig: kubeconfig.map(Path::to_owned) };
    config.connect_timeout = Some(patience);
    // A renewal that is sent again behind our back would be dated wrongly.
    config.default_retry = false;
    // Nothing else ends a list, or the start of a watch, on a connection whose
    // other end has vanished. Watches are closed by the server after 60 s.
    config.read_timeout = Some(Duration::from_secs(70));
    config.reset_reader_on_write = true;
    let token = config.auth_info.token_file.take();
    let client = ClientBuilder::try_from(config).map_err(|e| wrong(&e))?;
    let Some(file) = token else { return Ok((client.build(), server)) };
    let token =
        token::layer(file.clone().into()).map_err(|e| wrong(&format_args!("{file}: {e}")))?;
    // What else the kubeconfig has (a token in itself) is added after it, and goes first.
    Ok((client.with_layer(&token).build(), server))
}

/// Why a request failed, for people: what the API server said, or what kept it from saying
/// anything.
pub fn reason(error: &kube::Error) -> String {
    match (error, error.source()) {
        (kube::Error::Api(status), _) if status.message.is_empty() => {
            format!("{} (HTTP {})", status.reason, status.code)
        }
        (kube::Error::Api(status), _) => {
            format!("{} (HTTP {})", one_line(&status.message), status.code)
        }
        // The client's own words for it are names of its types.
        (kube::Error::Service(_) | kube::Error::HyperError(_), Some(source)) => {
            with_sources(source)
        }
        (error, _) => with_sources(error),
    }
}

/// What is not from the API server may be a whole page, of whatever stands before it.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

/// The same of a watch.
pub fn watch_reason(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => reason(error),
        watcher::Error::WatchError(status) => reason(&kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words_and_a_failure_by_its_cause() {
        let status = |message: &str, reason: &str, code| {
            let status = Status {
                message: message.to_owned(),
                reason: reason.to_owned(),
                code,
                ..Status::default()
            };
            kube::Error::Api(Box::new(status))
        };
        let refused = std::io::Error::from_raw_os_error(libc::ECONNREFUSED);
        for (error, said) in [
            (
                status("etcdserver: no leader", "InternalError", 500),
                "etcdserver: no leader (HTTP 500)",
            ),
            (status("", "ServiceUnavailable", 503), "ServiceUnavailable (HTTP 503)"),
            (status("<html>\n  <p>no\nbackend", "", 502), "<html> <p>no backend (HTTP 502)"),
            (kube::Error::Service(refused.into()), "Connection refused (os error 111)"),
        ] {
            assert_eq!(reason(&error), said);
        }
        let page = reason(&status(&"x".repeat(10_000), "", 502));
        assert!(page.len() < 400 && page.ends_with("… (HTTP 502)"), "{page}");
    }
}

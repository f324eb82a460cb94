//! The client of the API server: whose credentials, and how patient.

mod token;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client,
    client::ClientBuilder,
    config::{Kubeconfig, KubeconfigError},
};

use crate::causes::with_causes;

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

/// What went wrong with a request: what the API server says, or why it says nothing.
pub fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        kube::Error::Service(error) => with_causes(&**error),
        error => with_causes(error),
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

//! What is said where there is nobody to ask.

use clap::Parser as _;

use super::*;
use crate::{
    causes::with_sources,
    cli::{Cli, Command},
    exit::Failure,
};

/// What `announcer explain` says with a kubeconfig.
async fn complaint(kubeconfig: &std::path::Path) -> String {
    let words = ["announcer", "explain", "default/web", "--kubeconfig"].map(Into::into);
    let words = words.into_iter().chain([kubeconfig.as_os_str().to_owned()]);
    let Command::Explain(args) = Cli::parse_from(words).command else {
        unreachable!("another command")
    };
    let error = explain(&args).await.expect_err("there is nobody");
    with_sources(Failure::from(error).error.as_ref())
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("kubeconfig");
    // Bound and not listening: nobody else can, and who connects is refused.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a port");
    let port = socket.local_addr().expect("it is bound").as_socket().expect("of IP").port();
    let server = format!("http://127.0.0.1:{port}");
    let config = serde_json::json!({
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "users": [{"name": "a", "user": {}}],
        "current-context": "a",
    });
    std::fs::write(&file, config.to_string()).expect("written");
    let said = complaint(&file).await;
    for part in [&*server, "refused", "is it up", "--kubeconfig", &*file.to_string_lossy()] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.matches("refused").count(), 1, "{said}");
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_named_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("nowhere");
    let said = complaint(&file).await;
    for part in ["no credentials", &*file.to_string_lossy(), "No such file"] {
        assert_eq!(said.matches(part).count(), 1, "{part}: {said}");
    }
}

//! The token by which the API server knows us, from a file that the kubelet replaces.

use std::{fs, io, path::PathBuf};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use tower::util::MapRequestLayer;

/// Adds the token to requests as they are now in `file`.
///
/// The file is read for each request: kube's own client reads it once in 50 s, and who
/// has an expired token is without the API server for the rest of that time. A
/// projected volume is memory, and at rest there is about one request in a second. While
/// the file cannot be read, or is empty, the last token counts.
///
/// # Errors
/// The file cannot be read now, or holds what is no token.
pub(super) fn layer<B>(
    file: PathBuf,
) -> io::Result<MapRequestLayer<impl FnMut(Request<B>) -> Request<B> + Clone>> {
    let mut last = read(&file)?;
    Ok(MapRequestLayer::new(move |mut request: Request<B>| {
        if let Ok(current) = read(&file) {
            last = current;
        }
        request.headers_mut().insert(AUTHORIZATION, last.clone());
        request
    }))
}

fn read(file: &PathBuf) -> io::Result<HeaderValue> {
    let token = fs::read_to_string(file)?;
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let token = token.trim();
    if token.is_empty() {
        return Err(invalid("the file is empty"));
    }
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| invalid("not a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::convert::Infallible;

    use tower::{Layer, Service, ServiceExt, service_fn};

    use super::*;

    /// What a request is sent with.
    async fn sent<S>(client: &mut S) -> String
    where
        S: Service<Request<()>, Response = String, Error = Infallible>,
    {
        let sending = client.ready().await.expect("ready").call(Request::new(()));
        sending.await.expect("an answer")
    }

    #[tokio::test]
    async fn each_request_has_the_token_that_the_file_holds() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("token");
        assert!(layer::<()>(file.clone()).is_err(), "there is no file yet");
        fs::write(&file, "a\nb").expect("a file");
        assert!(layer::<()>(file.clone()).is_err(), "that is no token");
        fs::write(&file, "\n").expect("a file");
        assert!(layer::<()>(file.clone()).is_err(), "nor is that");

        fs::write(&file, "first\n").expect("a file");
        let server = service_fn(|request: Request<()>| async move {
            let header = request.headers().get(AUTHORIZATION).expect("a header");
            Ok::<_, Infallible>(header.to_str().expect("text").to_owned())
        });
        let mut client = layer(file.clone()).expect("a token").layer(server);
        assert_eq!(sent(&mut client).await, "Bearer first");
        fs::write(&file, "second").expect("a file");
        assert_eq!(sent(&mut client).await, "Bearer second");
        // Whoever writes it may begin by making it empty.
        fs::write(&file, "").expect("a file");
        assert_eq!(sent(&mut client).await, "Bearer second");
        fs::remove_file(&file).expect("the file");
        assert_eq!(sent(&mut client).await, "Bearer second");
    }
}

//! A health check by HTTP.

use std::pin::pin;

use http_body_util::Empty;
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header,
    http::{self, uri::Scheme},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::dial::{Connected, Stream};
use crate::{
    config::HttpVersion,
    refusal::{Reason, Refusal},
};

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    One(#[from] hyper::Error),
    #[error(transparent)]
    Two(#[from] h2::Error),
}

/// Asks for `path` of `host`, in the version that requests are sent in; a status from 200 to 399 is
/// healthy.
pub(super) async fn get(
    connected: Connected,
    host: &str,
    path: &str,
    version: HttpVersion,
) -> Result<(), Refusal> {
    let at = connected.at;
    let failed = |detail: String| Refusal::new(Reason::Unhealthy, detail);
    let two = version == HttpVersion::Two;
    let status = match connected.stream {
        Stream::Plain(stream) if two => ask_two(stream, Scheme::HTTP, host, path).await,
        Stream::Plain(stream) => ask_one(stream, host, path).await,
        Stream::Tls(tls) => {
            let negotiated = tls.stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if two || negotiated {
                ask_two(tls.stream, Scheme::HTTPS, host, path).await
            } else {
                ask_one(tls.stream, host, path).await
            }
        }
    };
    match status {
        Ok(status) if status.is_success() || status.is_redirection() => Ok(()),
        Ok(status) => Err(failed(format!("{at} answers {path} with {status}"))),
        Err(error) => Err(failed(format!("asking {at} for {path}: {error}"))),
    }
}

fn request<B>(uri: Uri, body: B) -> http::Result<Request<B>> {
    Request::get(uri)
        .header(header::USER_AGENT, "sidetrack-check")
        .body(body)
}

async fn ask_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> Result<StatusCode, Unasked> {
    let uri = Uri::builder().path_and_query(path).build()?;
    let mut request = request(uri, Empty::<Bytes>::new())?;
    let headers = request.headers_mut();
    let host = host.try_into().map_err(http::Error::from)?;
    headers.insert(header::HOST, host);
    let close = header::HeaderValue::from_static("close");
    headers.insert(header::CONNECTION, close);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        answer = &mut answer => Ok(answer?.status()),
        // It may end in the very turn in which it has brought the answer: the server closes after it.
        ended = connection => match answer.await {
            Ok(answer) => Ok(answer.status()),
            Err(error) => Err(ended.err().unwrap_or(error).into()),
        },
    }
}

/// By h2 itself: hyper would have a task of its own for the connection, which outlives a check that
/// takes too long.
async fn ask_two(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scheme: Scheme,
    host: &str,
    path: &str,
) -> Result<StatusCode, Unasked> {
    let uri = Uri::builder().scheme(scheme).authority(host);
    let request = request(uri.path_and_query(path).build()?, ())?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    let mut answer = pin!(async {
        let (answer, _) = sender.ready().await?.send_request(request, true)?;
        Ok::<_, h2::Error>(answer.await?.status())
    });
    tokio::select! {
        answer = &mut answer => Ok(answer?),
        ended = connection => match answer.await {
            Ok(status) => Ok(status),
            Err(error) => Err(ended.err().unwrap_or(error).into()),
        },
    }
}

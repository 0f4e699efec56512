//! A health check by HTTP/1.1.

use std::pin::pin;

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::dial::{Connected, Stream};
use crate::refusal::{Reason, Refusal};

/// Asks for `path`; a status from 200 to 399 is healthy.
pub(super) async fn get(connected: Connected, path: &str) -> Result<(), Refusal> {
    let at = connected.at;
    let failed = |detail: String| Refusal::new(Reason::Unhealthy, detail);
    let request = Request::get(path)
        .header(header::HOST, at.to_string())
        .header(header::USER_AGENT, "sidetrack-check")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(format!("asking {at} for {path}: {error}")))?;
    let status = match connected.stream {
        Stream::Plain(stream) => ask(stream, request).await,
        Stream::Tls(tls) => ask(tls.stream, request).await,
    };
    match status {
        Ok(status) if status.is_success() || status.is_redirection() => Ok(()),
        Ok(status) => Err(failed(format!("{at} answers {path} with {status}"))),
        Err(error) => Err(failed(format!("asking {at} for {path}: {error}"))),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
) -> hyper::Result<hyper::StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        answer = &mut answer => Ok(answer?.status()),
        // It may end in the very turn in which it has brought the answer: the server closes after it.
        ended = connection => match answer.await {
            Ok(answer) => Ok(answer.status()),
            Err(error) => Err(ended.err().unwrap_or(error)),
        },
    }
}

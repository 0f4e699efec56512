//! Servers of both versions that do what the path of a request says.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use h2::{Reason, server};
use hyper::Response;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tokio_rustls::TlsAcceptor;

/// What servers tell and are told.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) connections: AtomicUsize,
    /// Requests, as they came: for HTTP/1.1 their bytes.
    pub(super) requests: Mutex<Vec<String>>,
    /// Connections of HTTP/1.1 that ended, and streams of HTTP/2 that were reset.
    pub(super) given_up: AtomicUsize,
    /// Closes all connections that are idle.
    pub(super) close: Notify,
    /// Tells all that no more is taken.
    pub(super) goaway: Notify,
}

/// Requests of `/hold` are answered once they may be.
pub(super) struct Server {
    pub(super) at: SocketAddr,
    pub(super) seen: Arc<Seen>,
    pub(super) held: Arc<Semaphore>,
}

impl Server {
    pub(super) fn requests(&self) -> usize {
        self.seen.requests.lock().len()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn given_up(&self) -> usize {
        self.seen.given_up.load(Ordering::SeqCst)
    }

    async fn begin<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream, usize, Arc<Seen>, Arc<Semaphore>) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (seen, held) = (Arc::<Seen>::default(), Arc::new(Semaphore::new(0)));
        let this = Self {
            at,
            seen: Arc::clone(&seen),
            held: Arc::clone(&held),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(serve(stream, number, Arc::clone(&seen), Arc::clone(&held)));
            }
        });
        this
    }

    /// Speaks HTTP/1.1, and answers with the number of the connection.
    pub(super) async fn one() -> Self {
        Self::begin(|stream, number, seen, held| async move {
            serve_one(stream, number, &seen, &held).await;
            seen.given_up.fetch_add(1, Ordering::SeqCst);
        })
        .await
    }

    /// Speaks what ALPN settles on.
    pub(super) async fn tls(acceptor: TlsAcceptor) -> Self {
        Self::begin(move |stream, number, seen, held| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    serve_two(stream, 100, number, &seen, &held).await;
                } else {
                    serve_one(stream, number, &seen, &held).await;
                }
            }
        })
        .await
    }

    /// Speaks HTTP/2, and answers with the number of the connection.
    pub(super) async fn two(streams: u32) -> Self {
        Self::begin(move |stream, number, seen, held| async move {
            serve_two(stream, streams, number, &seen, &held).await;
        })
        .await
    }
}

async fn serve_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    seen: &Seen,
    held: &Semaphore,
) {
    let mut read = Vec::new();
    loop {
        while !read.windows(4).any(|end| end == b"\r\n\r\n") {
            let more = tokio::select! {
                more = stream.read_buf(&mut read) => more,
                () = seen.close.notified() => return,
            };
            if !matches!(more, Ok(1..)) {
                return;
            }
        }
        let request = String::from_utf8(std::mem::take(&mut read)).unwrap();
        seen.requests.lock().push(request.clone());
        let body = number.to_string();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let extra = match path.as_str() {
            "/break" => return,
            "/close" => "connection: close\r\n",
            "/short" => "keep-alive: timeout=1, max=9\r\n",
            "/hold" => {
                held.acquire().await.unwrap().forget();
                ""
            }
            "/upload" => {
                let mut all = request.into_bytes();
                while !all.windows(4).any(|some| some == b"some") {
                    if !matches!(stream.read_buf(&mut all).await, Ok(1..)) {
                        return;
                    }
                }
                ""
            }
            "/rubbish" => {
                let _ = stream
                    .write_all(b"220 mail.example.org ESMTP\r\n\r\n")
                    .await;
                return;
            }
            "/endless" => {
                let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                let mut more = stream.write_all(head).await;
                while more.is_ok() {
                    more = stream.write_all(b"4\r\nmore\r\n").await;
                }
                return;
            }
            "/switch" => {
                let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\
                    connection: upgrade\r\n\r\n";
                stream.write_all(head).await.unwrap();
                let mut said = [0; 4];
                while stream.read_exact(&mut said).await.is_ok() {
                    stream.write_all(&said).await.unwrap();
                }
                return;
            }
            _ => "",
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{extra}\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() || path == "/close" {
            return;
        }
    }
}

async fn serve_two(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    streams: u32,
    number: usize,
    seen: &Arc<Seen>,
    held: &Arc<Semaphore>,
) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(streams);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = seen.goaway.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, mut respond))) = accepted else {
            return;
        };
        let (seen, held) = (Arc::clone(seen), Arc::clone(held));
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let refuse = path.starts_with("/refuse")
                && !seen.requests.lock().iter().any(|r| r.contains(&path));
            seen.requests.lock().push(format!("{request:?}"));
            if refuse {
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            let mut body = request.into_body();
            let mut read = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                read.extend_from_slice(&data);
            }
            if path == "/hold" {
                held.acquire().await.unwrap().forget();
            }
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            if path == "/endless" {
                loop {
                    sending.reserve_capacity(1024);
                    let reset = poll_fn(|cx| match sending.poll_reset(cx) {
                        Poll::Ready(reset) => Poll::Ready(Some(reset)),
                        Poll::Pending => sending.poll_capacity(cx).map(|_| None),
                    });
                    if let Some(reset) = reset.await {
                        // Without a reason if it is the connection that ended.
                        assert_eq!(reset.unwrap_or(Reason::CANCEL), Reason::CANCEL);
                        seen.given_up.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let more = vec![0; sending.capacity().min(1024)];
                    let _ = sending.send_data(more.into(), false);
                }
            }
            let read = String::from_utf8(read).unwrap();
            let _ = sending.send_data(format!("{number}{read}").into(), true);
        });
    }
}

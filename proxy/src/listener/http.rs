//! `mode = "http"`: each request goes where its route says.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Client, Permitted};
use crate::{
    http::{
        serve::{Cut, Version, serve},
        session::{self, Session},
        wire::{Line, Speaks, Wire},
    },
    policy::http::HttpPolicy,
    record::Record,
    refusal::{Reason, Refusal},
    relay::{Moved, Transport as _},
};

/// What a client that speaks HTTP/2 without asking begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a drain waits for the first bytes of a connection: those of one that was just accepted are
/// there, but a socket tells of them only when it is looked at a second time.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

impl Permitted<'_> {
    pub(super) async fn http(
        mut self,
        http: &Arc<HttpPolicy>,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let judge = self.judge_client();
        let line = Arc::new(Line::default());
        let counting = Counting { line: &line, moved };
        let (stream, ahead, version, tls) = match self.met.stream {
            Client::Plain(mut stream) => {
                let mut ahead = Vec::new();
                let heard = heard(&mut stream, &mut ahead);
                let mut drain = self.data.live.drain();
                let nothing_came = async {
                    drain.begun().await;
                    sleep(ON_ITS_WAY).await;
                };
                let heard = tokio::select! {
                    biased;
                    heard = timeout(http.spec.head_timeout, heard) => heard,
                    () = nothing_came => return Ok(()),
                };
                match heard {
                    Ok(Ok(version)) => (Speaks::Plain(stream), ahead.into(), version, None),
                    Ok(Err(_)) | Err(_) if ahead.is_empty() => return Ok(()),
                    Ok(Err(error)) => {
                        let detail = format!("reading the first bytes: {error}");
                        return Err(Refusal::new(Reason::Reset, detail));
                    }
                    Err(_) => {
                        stream.abort();
                        return Err(Refusal::new(
                            Reason::HeadTimeout,
                            "the first bytes of a request came one by one",
                        ));
                    }
                }
            }
            Client::Tls(met) => {
                let (_, connection) = met.stream.get_ref();
                let version = match connection.alpn_protocol() {
                    Some(b"h2") => Version::Two,
                    _ => Version::One,
                };
                let stream = Speaks::Tls(Box::new(met.stream));
                (stream, Bytes::new(), version, Some(met.facts))
            }
        };
        let client = session::Client {
            id: record.id,
            listener: Arc::clone(self.name),
            own: record.own_identity.clone(),
            client: self.met.client,
            peer: self.peer,
            local: self.met.local,
            identity: self.met.identity,
        };
        let session = Arc::new(Session::new(self.data, client, tls, Arc::clone(http)));
        let wire = Wire::new(stream, ahead, Arc::clone(&line));
        let served = serve(&session, (wire, &line, version), &mut self.reloads, judge);
        let end = Box::pin(served).await;
        drop(counting);
        match end {
            Ok(()) => Ok(()),
            Err(Cut::Connection(refusal)) => Err(refusal),
            Err(Cut::Request(refusal)) => {
                record.is_told_by_request();
                Err(refusal)
            }
        }
    }
}

/// Reads until it is clear which version is spoken.
async fn heard(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> std::io::Result<Version> {
    while ahead.len() < PREFACE.len() {
        let mut bytes = [0; PREFACE.len()];
        let room = bytes.get_mut(ahead.len()..).unwrap_or_default();
        let length = stream.read(room).await?;
        let came = room.get(..length).unwrap_or_default();
        ahead.extend_from_slice(came);
        if came.is_empty() || !PREFACE.starts_with(ahead) {
            return Ok(Version::One);
        }
    }
    Ok(Version::Two)
}

/// Tells what moved, also if the connection is dropped.
struct Counting<'a> {
    line: &'a Line,
    moved: &'a mut Moved,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        *self.moved = self.line.moved();
    }
}

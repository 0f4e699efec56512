//! The record of one request: what a connection of HTTP has beside its own.
//!
//! | key | value |
//! |---|---|
//! | `time` | when its head had come |
//! | `direction` | `request` |
//! | `connection` | `id` of the record of its connection |
//! | `source` | the client |
//! | `listener` | the listener |
//! | `rule` | the route; absent if none fits |
//! | `method`, `host`, `path`, `version` | as the client wrote them, without the query (it may be secret), and shortened where they are long |
//! | `status` | of the answer; absent if none began |
//! | `upstream`, `upstream_identity` | where it went, and whom that proved to be |
//! | `peer_identity` | the client's, if it proved one |
//! | `bytes_up`, `bytes_down` | bytes of the bodies |
//! | `duration_ms` | until the last byte of the answer was handed on |
//! | `reason`, `detail` | why it was refused or cut off |

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use hyper::{Method, StatusCode, Uri, Version};
use serde::Serialize;

use super::{ConnectionId, RecordSink, line, tally};
use crate::{
    addr::{ClientAddr, UpstreamAddr},
    config::RecordFormat,
    refusal::{Reason, Refusal},
};

/// The longest host in a record; names in DNS are shorter.
const HOST: usize = 256;
/// The longest path.
const PATH: usize = 1024;
/// The longest method; those in use are shorter.
const METHOD: usize = 32;

/// What is known of a request from its beginning.
#[derive(Debug)]
pub struct Asked {
    /// See [`ConnectionId`].
    pub connection: ConnectionId,
    /// The client.
    pub source: ClientAddr,
    /// The listener.
    pub listener: Arc<str>,
    /// Whom the client proved to be.
    pub peer_identity: Option<Arc<str>>,
    /// What it asks for.
    pub method: Method,
    /// Of what. The record shows its path alone.
    pub uri: Uri,
    /// In which version.
    pub version: Version,
}

/// The one record of one request, written when it is dropped.
#[derive(Debug)]
pub struct RequestRecord {
    sink: RecordSink,
    at: SystemTime,
    started: Instant,
    asked: Asked,
    /// The host, as it is compared.
    pub host: Option<String>,
    /// The route.
    pub rule: Option<Arc<str>>,
    /// Status of the answer.
    pub status: Option<StatusCode>,
    /// Where it went.
    pub upstream: Option<UpstreamAddr>,
    /// Whom that proved to be.
    pub upstream_identity: Option<Arc<str>>,
    /// Bytes of the client's body.
    pub bytes_up: u64,
    /// Bytes of the answer's.
    pub bytes_down: u64,
    refusal: Option<Refusal>,
    /// Whether its reason is its own, and not its connection's.
    counted: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "line::rfc3339")]
    time: SystemTime,
    direction: &'static str,
    connection: ConnectionId,
    source: ClientAddr,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    path: &'a str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_identity: Option<&'a str>,
    bytes_up: u64,
    bytes_down: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl RequestRecord {
    /// Begins that of a request whose head has just come.
    pub fn begin(sink: &RecordSink, asked: Asked) -> Self {
        Self {
            sink: sink.clone(),
            at: SystemTime::now(),
            started: Instant::now(),
            asked,
            host: None,
            rule: None,
            status: None,
            upstream: None,
            upstream_identity: None,
            bytes_up: 0,
            bytes_down: 0,
            refusal: None,
            counted: true,
        }
    }

    /// Notes the reason, once: the first cause is the true one.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// Notes a reason that the connection's own record has and counts.
    pub fn refuse_with_connection(&mut self, refusal: Refusal) {
        if self.refusal.is_none() {
            self.refusal = Some(refusal);
            self.counted = false;
        }
    }

    /// The reason, if it was refused or cut off.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    pub(super) fn line(&self, format: RecordFormat) -> Vec<u8> {
        let refusal = self.refusal.as_ref();
        let line = Line {
            time: self.at,
            direction: "request",
            connection: self.asked.connection,
            source: self.asked.source,
            listener: &self.asked.listener,
            rule: self.rule.as_deref(),
            method: shortened(self.asked.method.as_str(), METHOD),
            host: self.host.as_deref().map(|host| shortened(host, HOST)),
            path: shortened(self.asked.uri.path(), PATH),
            version: version(self.asked.version),
            status: self.status.map(|status| status.as_u16()),
            upstream: self.upstream,
            peer_identity: self.asked.peer_identity.as_deref(),
            upstream_identity: self.upstream_identity.as_deref(),
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            duration_ms: self.started.elapsed().as_micros() as f64 / 1000.0,
            reason: refusal.map(|refusal| refusal.reason),
            detail: refusal
                .map(|refusal| refusal.detail.as_str())
                .filter(|detail| !detail.is_empty()),
        };
        line::write(&line, format)
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if let Some(refusal) = &self.refusal
            && self.counted
        {
            tally::count(refusal.reason);
        }
        let sink = self.sink.clone();
        sink.write_request(self);
    }
}

fn shortened(text: &str, most: usize) -> &str {
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .take_while(|at| *at <= most)
        .last();
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wrote_is_escaped_and_shortened() {
        let sink = RecordSink::memory(RecordFormat::Json);
        let mut record = RequestRecord::begin(
            &sink,
            Asked {
                connection: ConnectionId([7; 16]),
                source: ClientAddr::new(([10, 0, 0, 1], 1234).into()),
                listener: "front".into(),
                peer_identity: None,
                method: Method::GET,
                uri: format!("/\u{202e}{}?secret", "ä".repeat(PATH))
                    .parse()
                    .unwrap(),
                version: Version::HTTP_2,
            },
        );
        record.host = Some("\u{7f}\u{1b}[31m".to_owned());
        record.status = Some(StatusCode::OK);
        drop(record);
        let lines = sink.lines();
        let [line] = lines.as_slice() else {
            panic!("one request has one record: {lines:?}")
        };
        assert!(line.is_ascii(), "{line}");
        assert!(!line.bytes().any(|byte| byte.is_ascii_control()), "{line}");
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = value["path"].as_str().unwrap();
        assert!(
            path.len() <= PATH && path.len() > PATH - 4,
            "{}",
            path.len()
        );
        assert!(!line.contains("secret"), "{line}");
        assert_eq!(value["status"], 200);
        assert_eq!(value["direction"], "request");
        assert_eq!(value["connection"], "07".repeat(16));
        assert!(value.get("reason").is_none() && value.get("rule").is_none());
    }
}

//! One access record as one line.
//!
//! The JSON keys are stable: later versions add keys and never rename any. Absent values are
//! left out. In order:
//!
//! | key | value |
//! |---|---|
//! | `time` | when the connection was accepted, RFC 3339, UTC, milliseconds |
//! | `id` | 32 hexadecimal digits; the same at both ends of a tunnel |
//! | `direction` | `outbound`, `inbound`, `egress` or `listener` |
//! | `protocol` | `udp`; absent for TCP |
//! | `source` | address and port of the application that connected |
//! | `destination` | address and port that it wanted |
//! | `upstream` | address and port where this proxy connected |
//! | `identity` | this host's identity on the wire |
//! | `peer_identity` | the peer's proven identity |
//! | `upstream_identity` | the proven identity of the endpoint behind a listener, if the client proved one too |
//! | `rule` | name of the rule that decided |
//! | `carriage` | `plain`, `tls`, `tunnel-new` or `tunnel-reused` |
//! | `tls` | `version`, `group`, `suite`, `resumed` |
//! | `server_name` | the name that a client of a listener asked for in TLS (SNI), in lower case; nothing proves it. Requests have `host` |
//! | `pid`, `uid` | of the connecting process |
//! | `netns` | cookie of the connecting process's network namespace, if it is not the daemon's own; `status` lists them |
//! | `bytes_up`, `bytes_down` | bytes from and to the client |
//! | `duration_ms` | milliseconds with a fraction of microseconds |
//! | `reason` | a label of [`Reason`]; absent after a clean close |
//! | `detail` | what was seen, for people |
//!
//! A request has a line of its own, see [`super::request`].
//!
//! As text the same keys stand as `key=value`, those of `tls` as `tls.version=…`. A line is
//! plain ASCII in both forms: peers choose the names in their certificates, and a terminal or
//! another program must not be steered by them.

use std::{io, time::SystemTime};

use serde::{Serialize, Serializer};
use serde_json::{Value, ser::Formatter};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

use super::{Carriage, ConnectionId, Direction, Record, TlsFacts};
use crate::{
    addr::{ClientAddr, OriginalDst, UpstreamAddr},
    config::{Protocol, RecordFormat},
    refusal::Reason,
};

const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    id: ConnectionId,
    direction: Direction,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    source: ClientAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<OriginalDst>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Carriage::is_none")]
    carriage: Carriage,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a TlsFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u64>,
    bytes_up: u64,
    bytes_down: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// The record as one line, with its newline; nothing for [`RecordFormat::Off`].
pub(super) fn format(record: &Record, format: RecordFormat) -> Vec<u8> {
    let refusal = record.refusal.as_ref();
    let line = Line {
        time: record.at,
        id: record.id,
        direction: record.direction,
        protocol: (record.protocol != Protocol::Tcp).then(|| record.protocol.label()),
        source: record.source,
        destination: record.destination,
        upstream: record.upstream,
        identity: record.own_identity.as_deref(),
        peer_identity: record.peer_identity.as_deref(),
        upstream_identity: record.upstream_identity.as_deref(),
        rule: record.rule.as_deref(),
        carriage: record.carriage,
        tls: record.tls.as_ref(),
        server_name: record.server_name.as_deref(),
        pid: record.pid,
        uid: record.uid,
        netns: record.netns,
        bytes_up: record.bytes_up,
        bytes_down: record.bytes_down,
        duration_ms: record.duration().as_micros() as f64 / 1000.0,
        reason: refusal.map(|refusal| refusal.reason),
        detail: refusal
            .map(|refusal| refusal.detail.as_str())
            .filter(|detail| !detail.is_empty()),
    };
    write(&line, format)
}

/// One line of `fields`, with its newline; nothing for [`RecordFormat::Off`].
pub(super) fn write(fields: &impl Serialize, format: RecordFormat) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    match format {
        RecordFormat::Json => ascii_json(&mut out, fields),
        RecordFormat::Text => {
            if let Ok(Value::Object(fields)) = serde_json::to_value(fields) {
                text(&mut out, "", &fields);
            }
        }
        RecordFormat::Off => return out,
    }
    out.push(b'\n');
    out
}

fn text(out: &mut Vec<u8>, prefix: &str, fields: &serde_json::Map<String, Value>) {
    for (key, value) in fields {
        if let Value::Object(inner) = value {
            text(out, &format!("{prefix}{key}."), inner);
            continue;
        }
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        match value {
            Value::String(text) if is_plain(text) => out.extend_from_slice(text.as_bytes()),
            other => ascii_json(out, other),
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\'))
}

fn ascii_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(out, Ascii);
    // Neither the types above nor a Vec can fail.
    let _: Result<(), serde_json::Error> = value.serialize(&mut serializer);
}

/// JSON in which all but printable ASCII is escaped. JSON itself would let DEL, the C1
/// controls and characters that turn the direction of writing through.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if fragment.bytes().all(printable) {
            return writer.write_all(fragment.as_bytes());
        }
        for one in fragment.chars() {
            let mut units = [0; 2];
            if one.is_ascii_graphic() || one == ' ' {
                write!(writer, "{one}")?;
            } else {
                for unit in one.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match OffsetDateTime::from(*at).format(TIME) {
        Ok(text) => serializer.serialize_str(&text),
        Err(error) => Err(serde::ser::Error::custom(error)),
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl Carriage {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

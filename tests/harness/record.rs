//! Access records as the daemon wrote them: the only place of the tests that knows their keys.

use std::fmt;

use serde_json::Value;

/// One access record.
#[derive(Clone)]
pub struct Record(Value);

impl Record {
    /// Reads one line of an access log.
    #[track_caller]
    pub fn parse(line: &str) -> Self {
        Self(
            serde_json::from_str(line).unwrap_or_else(|error| panic!("the record {line}: {error}")),
        )
    }

    /// When its connection was accepted: RFC 3339 in UTC, to the millisecond, so that the order of
    /// the texts is that of the times.
    pub fn time(&self) -> &str {
        self.text("/time")
    }

    /// `outbound` or `inbound`.
    pub fn direction(&self) -> &str {
        self.text("/direction")
    }

    /// `udp`; empty for TCP.
    pub fn protocol(&self) -> &str {
        self.text("/protocol")
    }

    /// The connection's id, the same at both ends.
    pub fn id(&self) -> &str {
        self.text("/id")
    }

    /// The application that connected.
    pub fn source(&self) -> &str {
        self.text("/source")
    }

    /// The original destination.
    pub fn destination(&self) -> &str {
        self.text("/destination")
    }

    /// The own identity on the wire; empty in plain text.
    pub fn own_identity(&self) -> &str {
        self.text("/identity")
    }

    /// The proven identity of the peer; empty if it proved none.
    pub fn peer_identity(&self) -> &str {
        self.text("/peer_identity")
    }

    /// The rule that decided.
    pub fn rule(&self) -> &str {
        self.text("/rule")
    }

    /// `plain`, `tls`, `tunnel-new` or `tunnel-reused`.
    pub fn carriage(&self) -> &str {
        self.text("/carriage")
    }

    /// Where the proxy connected; empty if it did not.
    pub fn upstream(&self) -> &str {
        self.text("/upstream")
    }

    /// `TLSv1.3`; empty in plain text.
    pub fn tls_version(&self) -> &str {
        self.text("/tls/version")
    }

    /// The key exchange group; empty in plain text.
    pub fn tls_group(&self) -> &str {
        self.text("/tls/group")
    }

    /// The cipher suite; empty in plain text.
    pub fn tls_suite(&self) -> &str {
        self.text("/tls/suite")
    }

    /// The server name that a client of a listener asked for; empty if it asked for none.
    pub fn server_name(&self) -> &str {
        self.text("/server_name")
    }

    /// Whether its TLS session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.0.pointer("/tls/resumed") == Some(&Value::Bool(true))
    }

    /// Why it was refused or cut off; empty if both sides closed cleanly.
    pub fn reason(&self) -> &str {
        self.text("/reason")
    }

    /// Bytes from the client to the server.
    pub fn bytes_up(&self) -> u64 {
        self.number("/bytes_up")
    }

    /// Bytes from the server to the client.
    pub fn bytes_down(&self) -> u64 {
        self.number("/bytes_down")
    }

    /// Cookie of the network namespace; absent in the daemon's own.
    pub fn netns(&self) -> Option<u64> {
        self.has("/netns").then(|| self.number("/netns"))
    }

    /// Of the record of a request: what the client asked for.
    pub fn path(&self) -> &str {
        self.text("/path")
    }

    /// Of the record of a request: the status of its answer.
    pub fn http_status(&self) -> u64 {
        self.number("/status")
    }

    /// Of the record of a request: the id of its connection.
    pub fn connection(&self) -> &str {
        self.text("/connection")
    }

    /// Of the record of a request: `HTTP/1.1`, `HTTP/2`.
    pub fn http_version(&self) -> &str {
        self.text("/version")
    }

    /// Whom the endpoint behind a listener proved to be.
    pub fn upstream_identity(&self) -> &str {
        self.text("/upstream_identity")
    }

    /// Whether the record has something at this JSON pointer.
    pub fn has(&self, pointer: &str) -> bool {
        self.0
            .pointer(pointer)
            .is_some_and(|value| !value.is_null())
    }

    fn text(&self, pointer: &str) -> &str {
        match self.0.pointer(pointer) {
            None | Some(Value::Null) => "",
            Some(value) => value
                .as_str()
                .unwrap_or_else(|| panic!("{pointer} is no text in the record {self}")),
        }
    }

    fn number(&self, pointer: &str) -> u64 {
        self.0
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{pointer} is no number in the record {self}"))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! `mode = "http"` of a listener: what it does with each request.

use std::{fmt, time::Duration};

use hyper::{
    Method, StatusCode,
    header::{HeaderName, HeaderValue},
};
use ipnet::IpNet;

use crate::identity::Expected;

/// `http` and `route` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The first that fits a request decides; where none does, the answer is 404.
    pub routes: Vec<Route>,
    /// Clients whose forwarded headers are believed and added to; those of everybody else are
    /// removed.
    pub forwarded_from: Vec<IpNet>,
    /// How long the head of a request may take, from the end of the one before it, or from the
    /// handshake.
    pub head_timeout: Duration,
    /// How long a client may keep a body waiting, in either direction. An upstream may.
    pub stall: Duration,
    /// The longest head of a request, in bytes.
    pub max_head: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

/// `[[listener.route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in records; unique in its listener.
    pub name: String,
    /// Any of these; every host if empty.
    pub hosts: Vec<HostPattern>,
    /// Which paths.
    pub path: PathMatch,
    /// Any of these; every method if empty.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// Which of those whom the listener lets in; all of them if empty. Who showed no certificate is
    /// none of those that are named.
    pub allow: Vec<Expected>,
    /// What is done with the request.
    pub action: RouteAction,
    /// What is changed of the headers of its answer, whoever answers.
    pub answer_headers: Vec<HeaderChange>,
}

/// `hosts` of a route, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// `*.example.org` is kept as `example.org`: one or more labels stand before it.
    Below(String),
}

/// `path` or `prefix` of a route, as it is written. Both are compared with percent-encoding undone,
/// so that no other spelling of a path goes past a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Every path.
    Any,
    /// This one.
    Exact(String),
    /// This one and what is below it, in whole segments: `/status` has `/status/418` and not
    /// `/statusx`. Without a slash at its end; `/` is [`PathMatch::Any`].
    Prefix(String),
}

/// One of `headers` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header.
    pub name: HeaderName,
    /// One of its values is this; `None` (`true` in the file) takes any.
    pub value: Option<HeaderValue>,
}

/// One of `set_headers` or `answer_headers` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChange {
    /// The header.
    pub name: HeaderName,
    /// What takes the place of all its values; `None` (`false` in the file) removes it.
    pub value: Option<HeaderValue>,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// `upstream`
    Forward(Forward),
    /// `redirect`
    Redirect(Redirect),
    /// `answer`
    Answer(Answer),
}

/// `upstream` of a route, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Name of the upstream.
    pub upstream: String,
    /// What takes the place of the route's path in the request (`rewrite.prefix`); `None` leaves it.
    pub prefix: Option<String>,
    /// The host that the upstream is asked for (`rewrite.host`); `None` leaves the client's.
    pub host: Option<HeaderValue>,
    /// What is changed of its headers (`set_headers`).
    pub headers: Vec<HeaderChange>,
    /// How long the upstream may take until the head of its answer; `None` is for ever.
    pub timeout: Option<Duration>,
    /// The longest body of a request, in bytes; `None` has no bound.
    pub max_body: Option<u64>,
}

/// `redirect` of a route: to the same host, path and query, but for what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`; `None` keeps the client's.
    pub scheme: Option<Scheme>,
    /// The host; `None` keeps the client's.
    pub host: Option<String>,
    /// The port; `None` is the one that `scheme` has by itself, or the client's if there is none.
    pub port: Option<u16>,
    /// What takes the place of the route's path; `None` leaves it.
    pub prefix: Option<String>,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// `answer` of a route: always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From 200 to 599.
    pub status: StatusCode,
    /// Sent as `text/plain`.
    pub body: String,
}

/// `http` of an upstream: which version it is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// What ALPN settles on in TLS, of both; HTTP/1.1 in plain text.
    Negotiated,
    /// HTTP/1.1
    One,
    /// HTTP/2, without asking (RFC 9113, section 3.3).
    Two,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("every path"),
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix} and below"),
        }
    }
}

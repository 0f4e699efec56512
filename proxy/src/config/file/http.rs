//! `mode = "http"` of `[[listener]]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// `http` of a listener: what holds for all of its requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerHttp {
    /// Prefixes of clients whose forwarded headers are believed and added to; those of everybody else
    /// are removed.
    pub forwarded_from: Option<Vec<String>>,
    /// How long the head of a request may take, and a client without one may stay. Without it "10s".
    pub head_timeout: Option<String>,
    /// How long a client may keep a body waiting: by sending none of its own, or by taking none of the
    /// upstream's. Without it "60s".
    pub stall: Option<String>,
    /// The longest head of a request: "8KiB" to "1MiB". Without it "64KiB".
    pub max_head: Option<String>,
    /// Requests at once on one HTTP/2 connection. Without it 128.
    pub streams: Option<i64>,
}

/// `[[listener.route]]`: the first that fits a request decides.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct Route {
    /// Name in records and messages; unique in its listener.
    #[schemars(required)]
    pub name: Option<String>,
    /// Any of these hosts, without a port: "www.example.org", or "*.example.org" for all below it.
    /// Without it: every host.
    pub hosts: Vec<String>,
    /// This path.
    pub path: Option<String>,
    /// This path and what is below it, in whole segments. Without it and `path`: every path.
    pub prefix: Option<String>,
    /// Any of these methods. Without it: every method.
    pub methods: Vec<String>,
    /// All of these headers: name = "value", or name = true for any value.
    pub headers: BTreeMap<String, Wanted>,
    /// Which of those whom the listener lets in: SPIFFE IDs, DNS names, "ip-san" or "any". Without it:
    /// all of them.
    pub allow: Option<Vec<String>>,
    /// Name of the upstream that requests go to. This, `redirect` or `answer`.
    pub upstream: Option<String>,
    /// With `upstream`: what is changed in the request.
    pub rewrite: Option<Rewrite>,
    /// With `upstream`: headers of the request: name = "value" in place of all values, name = false for
    /// none.
    pub set_headers: BTreeMap<String, Change>,
    /// With `upstream`: how long the head of its answer may take, or "off". Without it "off".
    pub timeout: Option<String>,
    /// With `upstream`: the longest body of a request, like "10MiB". Without it: no bound.
    pub max_body: Option<String>,
    /// Sends the client elsewhere.
    pub redirect: Option<Redirect>,
    /// Always the same answer.
    pub answer: Option<Answer>,
    /// Headers of the answer, whoever gives it: name = "value" in place of all values, name = false for
    /// none.
    pub answer_headers: BTreeMap<String, Change>,
}

/// What a header of a request must be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Wanted {
    /// `true`: there.
    There(bool),
    /// This, in one of its values.
    Value(String),
}

/// What becomes of a header.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Change {
    /// `false`: it is removed.
    Kept(bool),
    /// This, in place of all values.
    Value(String),
}

/// `rewrite` of a route.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// What takes the place of the route's `prefix` or `path`.
    pub prefix: Option<String>,
    /// The host that the upstream is asked for. Without it: the client's.
    pub host: Option<String>,
}

/// `redirect` of a route: to the same host, path and query, but for what is written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// "http" or "https". Without it: the client's.
    #[schemars(extend("enum" = ["http", "https"]))]
    pub scheme: Option<String>,
    /// The host. Without it: the client's.
    pub host: Option<String>,
    /// The port. Without it: with `scheme` the one that this has by itself, else the client's.
    pub port: Option<i64>,
    /// What takes the place of the route's `prefix` or `path`.
    pub prefix: Option<String>,
    /// 301, 302, 303, 307 or 308. Without it 301.
    pub status: Option<i64>,
}

/// `answer` of a route.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["status"]))]
pub struct Answer {
    /// From 200 to 599.
    #[schemars(required)]
    pub status: Option<i64>,
    /// Sent as text/plain.
    pub body: Option<String>,
}

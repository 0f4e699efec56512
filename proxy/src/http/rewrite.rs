//! What the upstream is asked for in a client's place, and where clients are sent.

use hyper::{
    Uri,
    header::HeaderValue,
    http::{
        self,
        uri::{Authority, PathAndQuery},
    },
};

use crate::config::http::{PathMatch, Redirect, Scheme};

/// What OPTIONS may ask for in place of a path (RFC 9112, section 3.2.4).
const WHOLE_SERVER: &str = "*";

/// Why a request cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// Path and query are too long with what a route puts before them, or are none.
    #[error("rewriting the path {path:?} failed: {source}")]
    Target {
        /// What it became.
        path: String,
        /// Why it is none.
        source: http::uri::InvalidUri,
    },
    /// The client did not name a host that can stand in a URL.
    #[error("the client asks for {0:?}, to which nobody can be sent")]
    Host(String),
    /// Nothing of this kind can stand in a header.
    #[error("{0:?} cannot stand in the header Location")]
    Location(String),
}

/// What a request for `uri` asks the upstream for: path and query, with `prefix` in place of the
/// `path` of its route, which fits it: [`find_plainly`](super::route::Routes::find_plainly).
///
/// # Errors
/// [`Unwritable::Target`]
pub fn target(
    uri: &Uri,
    path: &PathMatch,
    prefix: Option<&str>,
) -> Result<PathAndQuery, Unwritable> {
    let Some(prefix) = prefix.filter(|_| uri.path() != WHOLE_SERVER) else {
        let as_it_is = uri.path_and_query().cloned();
        return Ok(as_it_is.unwrap_or_else(|| PathAndQuery::from_static("/")));
    };
    let text = replaced(uri, path, prefix);
    PathAndQuery::try_from(text.as_str())
        .map_err(|source| Unwritable::Target { path: text, source })
}

/// Where a client is sent that asks `host` (with its port, if it says one) for `uri`.
///
/// # Errors
/// [`Unwritable::Host`] or [`Unwritable::Location`].
pub fn location(
    redirect: &Redirect,
    path: &PathMatch,
    uri: &Uri,
    host: &str,
    tls: bool,
) -> Result<HeaderValue, Unwritable> {
    let bad = || Unwritable::Host(host.to_owned());
    let asked: Authority = host.parse().map_err(|_| bad())?;
    if asked.as_str().contains('@') {
        return Err(bad());
    }
    let (scheme, by_itself) = match (redirect.scheme, tls) {
        (Some(Scheme::Https), _) | (None, true) => ("https", 443),
        (Some(Scheme::Http), _) | (None, false) => ("http", 80),
    };
    let port = match redirect.scheme {
        Some(_) => redirect.port,
        None => redirect.port.or_else(|| asked.port_u16()),
    };
    let host = redirect.host.as_deref().unwrap_or(asked.host());
    let port = port.filter(|port| *port != by_itself);
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let target = match &redirect.prefix {
        _ if uri.path() == WHOLE_SERVER => "/".into(),
        Some(prefix) => replaced(uri, path, prefix),
        None => uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .into(),
    };
    let location = format!("{scheme}://{host}{port}{target}");
    HeaderValue::from_str(&location).map_err(|_| Unwritable::Location(location))
}

/// Path and query with `by` in place of the route's path. The rest stays as the client wrote it.
fn replaced(uri: &Uri, path: &PathMatch, by: &str) -> String {
    let asked = uri.path();
    let rest = match path {
        PathMatch::Any => asked,
        PathMatch::Exact(_) => "",
        // As many segments, in whatever spelling.
        PathMatch::Prefix(prefix) => {
            let segments = prefix.matches('/').count();
            let end = asked.match_indices('/').nth(segments);
            end.and_then(|(at, _)| asked.get(at..)).unwrap_or_default()
        }
    };
    // Only a rest brings a slash of its own.
    let by = match path {
        PathMatch::Exact(_) => by,
        PathMatch::Any | PathMatch::Prefix(_) => by.strip_suffix('/').unwrap_or(by),
    };
    let slash = if by.is_empty() && rest.is_empty() {
        "/"
    } else {
        ""
    };
    match uri.query() {
        Some(query) => format!("{by}{rest}{slash}?{query}"),
        None => format!("{by}{rest}{slash}"),
    }
}

#[cfg(test)]
mod tests;

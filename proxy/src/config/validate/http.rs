//! `mode = "http"` of a listener: `http` and `[[listener.route]]`.

use std::{collections::BTreeSet, time::Duration};

use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
};

use self::action::Matched;
use super::{references, values};
use crate::{
    config::{
        Http,
        errors::Problems,
        file::{self, Wanted},
        http::{Forward, HeaderMatch, PathMatch, Route, RouteAction},
        shape::{join, rule_key},
    },
    http::{path, route},
    identity::Expected,
};

mod action;
mod host;
mod size;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 64 << 10;
const STREAMS: u32 = 128;

/// The route that a listener's own `upstream` is.
const REST: &str = "default";

/// What a listener of mode "http" does.
pub(super) fn http(problems: &mut Problems, key: &str, file: &file::Listener) -> Option<Http> {
    let table = format!("{key}.http");
    let head = size::MIN_HEAD..=size::MAX_HEAD;
    let max_head = file.http.max_head.as_deref();
    let max_head =
        max_head.map(|text| size::size(problems, &format!("{table}.max_head"), text, head));
    let forwarded_from = file.http.forwarded_from.as_deref().unwrap_or_default();
    let routes = routes(problems, key, file);
    let max_head = match max_head {
        Some(read) => read.and_then(|bytes| usize::try_from(bytes).ok()),
        None => Some(MAX_HEAD),
    };
    Some(Http {
        forwarded_from: values::prefixes(
            problems,
            &format!("{table}.forwarded_from"),
            forwarded_from,
        ),
        head_timeout: values::duration(
            problems,
            &format!("{table}.head_timeout"),
            file.http.head_timeout.as_deref(),
            HEAD_TIMEOUT,
        ),
        stall: values::duration(
            problems,
            &format!("{table}.stall"),
            file.http.stall.as_deref(),
            STALL,
        ),
        max_head: max_head?,
        streams: values::number(
            problems,
            &format!("{table}.streams"),
            file.http.streams,
            1..=10_000,
            STREAMS,
        ),
        routes: routes?,
    })
}

/// Keys of mode "http" where they mean nothing.
pub(super) fn none(problems: &mut Problems, key: &str) {
    for name in ["http", "route"] {
        let key = format!("{key}.{name}");
        if problems.has(&key) {
            problems.missing(
                &key,
                "in mode \"tcp\" bytes go to the upstream as they are: this has no effect",
                "write mode = \"http\", or leave it out",
            );
        }
    }
}

/// Routes that get no request, because one before them takes all that they mean.
pub(super) fn warn_of_covered(problems: &mut Problems, key: &str, http: &Http) {
    for (index, before) in route::covered(http) {
        let Some((route, before)) = http.routes.get(index).zip(http.routes.get(before)) else {
            continue;
        };
        let text = format!(
            "it gets no request: the route {:?} above it takes all of them",
            before.name
        );
        problems.warn(&route_key(problems, key, index, &route.name), &text);
    }
}

/// The upstreams that routes name, each with the key of what names it.
pub(super) fn upstreams<'a>(
    problems: &Problems,
    key: &str,
    http: &'a Http,
) -> Vec<(String, &'a str)> {
    let routes = http.routes.iter().enumerate();
    let named = routes.filter_map(|(index, route)| match &route.action {
        RouteAction::Forward(forward) => {
            let key = route_key(problems, key, index, &route.name);
            Some((key, forward.upstream.as_str()))
        }
        RouteAction::Redirect(_) | RouteAction::Answer(_) => None,
    });
    named.collect()
}

/// The key of a route in messages; that of the listener for its own `upstream`.
fn route_key(problems: &Problems, key: &str, index: usize, name: &str) -> String {
    let written = rule_key(&format!("{key}.route"), index, Some(name));
    if problems.has(&written) {
        written
    } else {
        key.to_owned()
    }
}

fn routes(problems: &mut Problems, key: &str, file: &file::Listener) -> Option<Vec<Route>> {
    if file.route.is_empty() && file.upstream.is_none() {
        problems.missing(
            &format!("{key}.route"),
            "the listener does not say what is done with requests",
            "add [[listener.route]] below it, or write upstream = \"NAME\" for all of them",
        );
        return None;
    }
    // A listener whose mode of TLS is wrong may have meant one that asks for certificates.
    let asks = file.tls.as_ref();
    let asks = asks.is_some_and(|tls| tls.mode.as_deref() != Some("simple"));
    let mut names = BTreeSet::new();
    let written = file.route.iter().enumerate().map(|(index, file)| {
        let key = rule_key(&format!("{key}.route"), index, file.name.as_deref());
        route(problems, &key, file, asks, &mut names)
    });
    // All of them are looked at before any is missed.
    let written: Vec<Option<Route>> = written.collect();
    let mut routes: Vec<Route> = written.into_iter().collect::<Option<_>>()?;
    if let Some(name) = &file.upstream {
        let upstream = references::listeners_upstream(problems, key, Some(name))?;
        if names.contains(REST) {
            problems.bad(
                &format!("{key}.upstream"),
                name,
                format!(
                    "it is the last route, {REST:?} in records, and a route above is called so"
                ),
                "give that route another name",
            );
        }
        routes.push(rest(upstream));
    }
    Some(routes)
}

/// Where requests go that no route takes.
fn rest(upstream: String) -> Route {
    Route {
        name: REST.into(),
        hosts: Vec::new(),
        path: PathMatch::Any,
        methods: Vec::new(),
        headers: Vec::new(),
        allow: Vec::new(),
        action: RouteAction::Forward(Forward {
            upstream,
            prefix: None,
            host: None,
            timeout: None,
            max_body: None,
        }),
    }
}

fn route(
    problems: &mut Problems,
    key: &str,
    file: &file::Route,
    asks: bool,
    names: &mut BTreeSet<String>,
) -> Option<Route> {
    let name = references::rule_name(problems, key, file.name.as_deref(), names);
    let hosts = file.hosts.iter().enumerate();
    let hosts = hosts
        .filter_map(|(index, text)| host::pattern(problems, &format!("{key}.hosts[{index}]"), text))
        .collect();
    let path = path_match(problems, key, file);
    let methods = methods(problems, &format!("{key}.methods"), &file.methods);
    let headers = file.headers.iter().filter_map(|(name, wanted)| {
        header(
            problems,
            &join(&format!("{key}.headers"), name),
            name,
            wanted,
        )
    });
    let headers = headers.collect();
    let allow = allow(
        problems,
        &format!("{key}.allow"),
        file.allow.as_deref(),
        asks,
    );
    let matched = match (&file.path, &file.prefix) {
        (Some(_), _) => Matched::Path,
        (None, Some(_)) => Matched::Prefix,
        (None, None) => Matched::Neither,
    };
    let action = action::action(problems, key, file, matched);
    Some(Route {
        name: name?,
        hosts,
        path: path?,
        methods,
        headers,
        allow,
        action: action?,
    })
}

fn path_match(problems: &mut Problems, key: &str, file: &file::Route) -> Option<PathMatch> {
    match (&file.path, &file.prefix) {
        (None, None) => Some(PathMatch::Any),
        (Some(_), Some(prefix)) => {
            problems.bad(
                &format!("{key}.prefix"),
                prefix,
                "the route has a path already, and a path is one or the other",
                "leave one of them out, or write two routes",
            );
            None
        }
        (Some(text), None) => {
            plain_path(problems, &format!("{key}.path"), text)?;
            Some(PathMatch::Exact(text.clone()))
        }
        (None, Some(text)) => Some(
            match without_end(problems, &format!("{key}.prefix"), text)? {
                "" => PathMatch::Any,
                prefix => PathMatch::Prefix(prefix.into()),
            },
        ),
    }
}

/// A path that a request could have.
fn plain_path<'a>(problems: &mut Problems, key: &str, text: &'a str) -> Option<&'a str> {
    let plain = text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['?', '#'])
        && path::is_plain(text);
    if plain {
        return Some(text);
    }
    problems.bad(
        key,
        text,
        "this is not a path that requests have here: it begins with a slash, has no empty segment, \
         no \".\" or \"..\" and no query, and what is no ASCII is percent-encoded",
        "write it like \"/status\"",
    );
    None
}

/// A path whose last slash says nothing.
fn without_end<'a>(problems: &mut Problems, key: &str, text: &'a str) -> Option<&'a str> {
    plain_path(problems, key, text).map(|text| text.strip_suffix('/').unwrap_or(text))
}

fn methods(problems: &mut Problems, key: &str, texts: &[String]) -> Vec<Method> {
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match Method::from_bytes(text.as_bytes()) {
            Ok(Method::CONNECT) => problems.bad(
                &key,
                text,
                "a listener opens no tunnels for its clients",
                "leave it out",
            ),
            Ok(_) if text.bytes().any(|byte| byte.is_ascii_lowercase()) => problems.bad(
                &key,
                text,
                "methods are told apart by case, and all that are registered are in capitals",
                format!("write {:?}", text.to_ascii_uppercase()),
            ),
            Ok(method) => found.push(method),
            Err(_) => problems.bad(&key, text, "this is not a method of HTTP", "write \"GET\""),
        }
    }
    found
}

fn header(problems: &mut Problems, key: &str, name: &str, wanted: &Wanted) -> Option<HeaderMatch> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        problems.bad(
            key,
            name,
            "this is not the name of a header",
            "write headers = { x-name = \"value\" }",
        );
        return None;
    };
    let value = match wanted {
        Wanted::There(true) => None,
        Wanted::There(false) => {
            problems.bad(
                key,
                false,
                "a route cannot ask for a header that is not there",
                "write the route with the header above this one, and leave it out here",
            );
            return None;
        }
        Wanted::Value(text) => match HeaderValue::from_str(text) {
            Ok(value) => Some(value),
            Err(_) => {
                problems.bad(
                    key,
                    text,
                    "this is not the value of a header",
                    "write it in ASCII on one line, or true for any value",
                );
                return None;
            }
        },
    };
    Some(HeaderMatch {
        name: header,
        value,
    })
}

fn allow(
    problems: &mut Problems,
    key: &str,
    written: Option<&[String]>,
    asks: bool,
) -> Vec<Expected> {
    let Some(written) = written else {
        return Vec::new();
    };
    if !asks {
        problems.missing(
            key,
            "the listener asks nobody for a certificate, so that the route would be for nobody",
            "give the listener tls with mode = \"optional\" or \"mutual\", or leave it out",
        );
    } else if written.is_empty() {
        problems.missing(
            key,
            "the route is for nobody",
            "name SPIFFE IDs or DNS names, or leave it out for all whom the listener lets in",
        );
    }
    values::expected(problems, key, written)
}

//! `mode = "http"` of a listener: `http` and `[[listener.route]]`.

use std::{collections::BTreeSet, time::Duration};

use self::action::Matched;
use super::{references, values};
use crate::{
    config::{
        Http,
        errors::Problems,
        file,
        http::{Forward, PathMatch, Route, RouteAction},
        shape::{join, rule_key},
    },
    http::route,
};

mod action;
mod headers;
pub(super) mod host;
mod matching;
mod size;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 64 << 10;
const STREAMS: u32 = 128;

/// The route that a listener's own `upstream` is.
const REST: &str = "default";

/// How a listener meets its clients.
#[derive(Clone, Copy)]
struct Met {
    tls: bool,
    /// For a certificate.
    asked: bool,
}

/// What a listener of mode "http" does.
pub(super) fn http(problems: &mut Problems, key: &str, file: &file::Listener) -> Option<Http> {
    let table = format!("{key}.http");
    let head = size::MIN_HEAD..=size::MAX_HEAD;
    let max_head = file.http.max_head.as_deref();
    let max_head = max_head
        .and_then(|text| size::size(problems, &format!("{table}.max_head"), text, head))
        .and_then(|bytes| usize::try_from(bytes).ok());
    let forwarded_from = file.http.forwarded_from.as_deref().unwrap_or_default();
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
        max_head: max_head.unwrap_or(MAX_HEAD),
        streams: values::number(
            problems,
            &format!("{table}.streams"),
            file.http.streams,
            1..=10_000,
            STREAMS,
        ),
        routes: routes(problems, key, file)?,
    })
}

/// Keys of mode "http" where they mean nothing.
pub(super) fn none(problems: &mut Problems, key: &str) {
    for name in ["http", "route"] {
        let key = format!("{key}.{name}");
        if problems.has(&key) {
            problems.missing(
                &key,
                "in modes \"tcp\" and \"tls-passthrough\" bytes go to the upstream as they are: this has no effect",
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
    let met = Met {
        tls: file.tls.is_some(),
        // Where the mode is wrong it may have meant one that asks for certificates.
        asked: file
            .tls
            .as_ref()
            .is_some_and(|tls| tls.mode.as_deref() != Some("simple")),
    };
    let mut names = BTreeSet::new();
    let written = file.route.iter().enumerate().map(|(index, file)| {
        let key = rule_key(&format!("{key}.route"), index, file.name.as_deref());
        route(problems, &key, file, met, &mut names)
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
            headers: Vec::new(),
            timeout: None,
            max_body: None,
        }),
        answer_headers: Vec::new(),
    }
}

fn route(
    problems: &mut Problems,
    key: &str,
    file: &file::Route,
    met: Met,
    names: &mut BTreeSet<String>,
) -> Option<Route> {
    let name = references::rule_name(problems, key, file.name.as_deref(), names);
    let hosts = file.hosts.iter().enumerate();
    let hosts = hosts
        .filter_map(|(index, text)| host::pattern(problems, &format!("{key}.hosts[{index}]"), text))
        .collect();
    let path = matching::path_match(problems, key, file);
    let methods = matching::methods(problems, &format!("{key}.methods"), &file.methods);
    let headers = file.headers.iter().filter_map(|(name, wanted)| {
        matching::header(
            problems,
            &join(&format!("{key}.headers"), name),
            name,
            wanted,
        )
    });
    let headers = headers.collect();
    let allow = matching::allow(
        problems,
        &format!("{key}.allow"),
        file.allow.as_deref(),
        met.asked,
    );
    let matched = match (&file.path, &file.prefix) {
        (Some(_), _) => Matched::Path,
        (None, Some(_)) => Matched::Prefix,
        (None, None) => Matched::Neither,
    };
    let answer_key = format!("{key}.answer_headers");
    let answer_headers = headers::changes(problems, &answer_key, &file.answer_headers);
    let action = action::action(problems, key, file, matched, met);
    Some(Route {
        name: name?,
        hosts,
        path: path?,
        methods,
        headers,
        allow,
        action: action?,
        answer_headers,
    })
}

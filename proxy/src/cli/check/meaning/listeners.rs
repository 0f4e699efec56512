//! Listeners and their routes.

use serde_json::{Value, json};

use super::{list, texts};
use crate::config::{
    Config, Listener, Serves,
    http::{Route, RouteAction},
};

pub(super) const LISTENER: [&str; 6] = ["NAME", "BIND", "MODE", "TLS", "ALLOW", "UPSTREAMS"];
pub(super) const ROUTE: [&str; 6] = ["ROUTE", "HOSTS", "PATH", "METHODS", "ALLOW", "ACTION"];

pub(super) fn as_json(config: &Config) -> Vec<Value> {
    let route = |route: &Route| {
        json!({
            "name": route.name,
            "hosts": texts(&route.hosts),
            "path": route.path.to_string(),
            "methods": texts(&route.methods),
            "headers": headers(route),
            "allow": texts(&route.allow),
            "action": action(route),
        })
    };
    let listener = |listener: &Listener| {
        json!({
            "name": listener.name,
            "bind": listener.bind,
            "mode": listener.serves.mode(),
            "tls": listener.tls_mode(),
            "allow": allow(listener),
            "proxy_from": listener.proxy_from,
            "upstreams": upstreams(listener),
            "routes": routes(listener).iter().map(route).collect::<Vec<_>>(),
        })
    };
    config.listeners.iter().map(listener).collect()
}

pub(super) fn row(listener: &Listener) -> Vec<String> {
    let allow = allow(listener);
    vec![
        listener.name.clone(),
        list(&listener.bind),
        listener.serves.mode().to_owned(),
        listener.tls_mode().to_owned(),
        or(&allow, "everybody"),
        or(&upstreams(listener), "-"),
    ]
}

/// Those of a listener in `mode = "http"`.
pub(super) fn routes(listener: &Listener) -> &[Route] {
    match &listener.serves {
        Serves::Http(http) => &http.routes,
        Serves::Tcp { .. } | Serves::TlsPassthrough(_) => &[],
    }
}

pub(super) fn route_row(route: &Route) -> Vec<String> {
    let headers = headers(route);
    let path = match headers.is_empty() {
        true => route.path.to_string(),
        false => format!("{}, with {}", route.path, list(&headers)),
    };
    vec![
        route.name.clone(),
        or(&route.hosts, "every host"),
        path,
        or(&route.methods, "all"),
        or(&route.allow, "as the listener"),
        action(route),
    ]
}

fn or(items: &[impl ToString], none: &str) -> String {
    match items {
        [] => none.to_owned(),
        items => list(items),
    }
}

fn allow(listener: &Listener) -> Vec<String> {
    let tls = listener.tls.as_ref();
    tls.map_or_else(Vec::new, |tls| texts(&tls.allow))
}

/// In the order in which they are named, each once.
fn upstreams(listener: &Listener) -> Vec<&str> {
    let mut named: Vec<&str> = Vec::new();
    for upstream in listener.serves.upstreams() {
        if !named.contains(&upstream) {
            named.push(upstream);
        }
    }
    named
}

fn headers(route: &Route) -> Vec<String> {
    let headers = route.headers.iter();
    headers
        .map(|header| match &header.value {
            Some(value) => {
                let value = String::from_utf8_lossy(value.as_bytes());
                format!("{}: {value}", header.name)
            }
            None => header.name.to_string(),
        })
        .collect()
}

fn action(route: &Route) -> String {
    match &route.action {
        RouteAction::Forward(forward) => format!("upstream ({})", forward.upstream),
        RouteAction::Redirect(redirect) => format!("redirect ({})", redirect.status.as_u16()),
        RouteAction::Answer(answer) => format!("answer ({})", answer.status.as_u16()),
    }
}

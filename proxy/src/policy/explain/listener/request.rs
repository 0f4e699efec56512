//! Which route a request takes, and what is done with it.

use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{HeaderName, HeaderValue},
    http::uri::PathAndQuery,
};
use serde::{Deserialize, Serialize};

use super::{Lost, Routed, behind, listed};
use crate::{
    config::{
        self, Config,
        http::{Forward, PathMatch, Redirect, Route, RouteAction},
    },
    http::{rewrite, route::Routes},
};

/// A request that nobody makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The host that it is for, if it says one.
    pub host: Option<String>,
    /// Path and query.
    pub path: String,
    /// Its method.
    pub method: String,
    /// `Name: value` of each header.
    pub headers: Vec<String>,
}

/// Why it is no request.
#[derive(Debug, thiserror::Error)]
pub enum AskedError {
    /// No path and query.
    #[error("{0:?} is no path; write one like /status?full")]
    Path(String),
    /// No method.
    #[error("{0:?} is no method; write one like GET")]
    Method(String),
    /// No header.
    #[error("{0:?} is no header; write it like \"Name: value\"")]
    Header(String),
}

/// An [`Asked`] that is a request.
struct Request<'a> {
    host: Option<&'a str>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
}

impl<'a> Request<'a> {
    fn of(asked: &'a Asked) -> Result<Self, AskedError> {
        let target = PathAndQuery::try_from(asked.path.as_str()).ok();
        let target = target.filter(|_| asked.path.starts_with('/'));
        let mut headers = HeaderMap::new();
        for text in &asked.headers {
            let header = || {
                let (name, value) = text.split_once(':')?;
                let name: HeaderName = name.trim().parse().ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            };
            let (name, value) = header().ok_or_else(|| AskedError::Header(text.clone()))?;
            headers.append(name, value);
        }
        Ok(Self {
            host: asked.host.as_deref(),
            uri: target
                .map(Uri::from)
                .ok_or_else(|| AskedError::Path(asked.path.clone()))?,
            method: Method::from_bytes(asked.method.as_bytes())
                .map_err(|_| AskedError::Method(asked.method.clone()))?,
            headers,
        })
    }

    fn find(&self, routes: &Routes) -> Option<usize> {
        routes.find(self.host, self.uri.path(), &self.method, &self.headers)
    }
}

/// What `http` does with a request, whose client speaks `tls` or not.
pub(super) fn routed(
    config: &Config,
    http: &config::Http,
    tls: bool,
    asked: &Asked,
) -> Result<Routed, AskedError> {
    let request = Request::of(asked)?;
    let routes = Routes::build(http);
    let mut routed = Routed {
        route: None,
        upstream: None,
        status: None,
        meaning: Vec::new(),
        lost: Vec::new(),
    };
    if !routes.can_judge(request.uri.path()) {
        routed.answered(
            StatusCode::BAD_REQUEST,
            "the path could be taken for another one by who serves it",
        );
        return Ok(routed);
    }
    let found = request.find(&routes);
    routed.lost = lost(http, &request, found);
    let Some(route) = found.and_then(|index| http.routes.get(index)) else {
        routed.answered(StatusCode::NOT_FOUND, "no route fits");
        return Ok(routed);
    };
    routed.route = Some(route.name.clone());
    if !route.allow.is_empty() {
        routed.meaning.push(format!(
            "it is done for {} alone: others are answered {}",
            listed(&route.allow),
            StatusCode::FORBIDDEN
        ));
    }
    match &route.action {
        RouteAction::Answer(answer) => routed.answered(answer.status, "as the route says"),
        RouteAction::Redirect(redirect) => routed.sent(redirect, route, &request, tls),
        RouteAction::Forward(forward) => routed.goes(config, forward, route, &request),
    }
    Ok(routed)
}

impl Routed {
    fn answered(&mut self, status: StatusCode, why: &str) {
        self.status = Some(status.as_u16());
        self.meaning.push(format!("it is answered {status}: {why}"));
    }

    fn sent(&mut self, redirect: &Redirect, route: &Route, request: &Request<'_>, tls: bool) {
        let host = request.host.unwrap_or_default();
        match rewrite::location(redirect, &route.path, &request.uri, host, tls) {
            Ok(location) => {
                let location = String::from_utf8_lossy(location.as_bytes());
                self.answered(
                    redirect.status,
                    &format!("the client is sent to {location}"),
                );
            }
            Err(error) => self.answered(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }

    fn goes(&mut self, config: &Config, forward: &Forward, route: &Route, request: &Request<'_>) {
        let prefix = forward.prefix.as_deref();
        let target = match rewrite::target(&request.uri, &route.path, prefix) {
            Ok(target) => target,
            Err(error) => return self.answered(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        self.upstream = Some(forward.upstream.clone());
        let host = match &forward.host {
            Some(host) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            None => request
                .host
                .unwrap_or("the host that the client names")
                .to_owned(),
        };
        self.meaning.push(format!(
            "it goes to {}, which is asked for {} {target} of {host}",
            behind(config, &forward.upstream),
            request.method,
        ));
        if let Some(timeout) = forward.timeout {
            self.meaning.push(format!(
                "the head of the answer must come within {timeout:?}"
            ));
        }
        if let Some(most) = forward.max_body {
            self.meaning
                .push(format!("its body may have {most} bytes at most"));
        }
    }
}

/// Why each route but the one that was `found` does not decide.
fn lost(http: &config::Http, request: &Request<'_>, found: Option<usize>) -> Vec<Lost> {
    let without = config::Http {
        routes: Vec::new(),
        forwarded_from: Vec::new(),
        ..http.clone()
    };
    let fits = |route: Route| {
        let alone = config::Http {
            routes: vec![route],
            ..without.clone()
        };
        request.find(&Routes::build(&alone)).is_some()
    };
    let routes = http.routes.iter().enumerate();
    let others = routes.filter(|(index, _)| Some(*index) != found);
    let first = found.and_then(|index| http.routes.get(index));
    let each = others.map(|(_, route)| {
        // One after another, by the same comparison as that of requests.
        let any = Route {
            hosts: Vec::new(),
            path: PathMatch::Any,
            methods: Vec::new(),
            headers: Vec::new(),
            ..route.clone()
        };
        let why = if !fits(Route {
            hosts: route.hosts.clone(),
            ..any.clone()
        }) {
            format!("another host: {}", listed(&route.hosts))
        } else if !fits(Route {
            path: route.path.clone(),
            ..any.clone()
        }) {
            format!("another path: {}", route.path)
        } else if !fits(Route {
            methods: route.methods.clone(),
            ..any
        }) {
            format!("another method: {}", listed(&route.methods))
        } else if !fits(route.clone()) {
            let names = route.headers.iter().map(|header| header.name.as_str());
            let names: Vec<_> = names.collect();
            format!("its headers are not all there: {}", names.join(", "))
        } else {
            let first = first.map_or("", |first| first.name.as_str());
            format!("{first:?} stands before it")
        };
        Lost {
            rule: route.name.clone(),
            why,
        }
    });
    each.collect()
}

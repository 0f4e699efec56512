use std::time::Duration;

use hyper::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use proptest::prelude::*;

use super::*;
use crate::config::http::{Answer, PathMatch, Route, RouteAction};

/// Answered by the route itself: no upstream is needed.
fn route(hosts: &[&str], prefix: &str) -> Route {
    let pattern = |host: &&str| match host.strip_prefix("*.") {
        Some(parent) => HostPattern::Below(parent.into()),
        None => HostPattern::Exact((*host).into()),
    };
    Route {
        name: "r".into(),
        hosts: hosts.iter().map(pattern).collect(),
        path: match prefix {
            "/" => PathMatch::Any,
            prefix => PathMatch::Prefix(prefix.into()),
        },
        methods: Vec::new(),
        headers: Vec::new(),
        allow: Vec::new(),
        action: RouteAction::Answer(Answer {
            status: StatusCode::OK,
            body: String::new(),
        }),
        answer_headers: Vec::new(),
    }
}

fn http(routes: Vec<Route>) -> config::Http {
    config::Http {
        routes,
        forwarded_from: Vec::new(),
        head_timeout: Duration::from_secs(10),
        stall: Duration::from_secs(60),
        max_head: 65_536,
        streams: 128,
    }
}

fn found(routes: &Routes, host: &str, path: &str) -> Option<usize> {
    routes.find(Some(host), path, &Method::GET, &HeaderMap::new())
}

#[test]
fn the_first_route_that_fits_decides_whatever_it_says_of_the_host() {
    let routes = Routes::build(&http(vec![
        route(&["www.example.org"], "/a"),
        route(&["*.example.org"], "/"),
        route(&["www.example.org"], "/"),
        route(&[], "/b"),
        route(&["other.example"], "/b"),
        route(&["*.org"], "/"),
    ]));
    for (host, path, expected) in [
        ("www.example.org", "/a/x", Some(0)),
        ("www.example.org", "/x", Some(1)),
        ("a.b.example.org", "/x", Some(1)),
        ("example.org", "/x", Some(5)),
        ("example.org", "/b", Some(3)),
        ("other.example", "/b", Some(3)),
        ("other.example", "/c", None),
        ("xexample.org", "/x", Some(5)),
        ("org", "/x", None),
        ("", "/x", None),
    ] {
        assert_eq!(found(&routes, host, path), expected, "{host}{path}");
    }
    let none = routes.find(None, "/b", &Method::GET, &HeaderMap::new());
    assert_eq!(none, Some(3), "a request without a host");
}

#[test]
fn a_host_is_compared_without_port_final_dot_and_case() {
    let routes = Routes::build(&http(vec![
        route(&["www.example.org"], "/"),
        route(&["192.0.2.1"], "/"),
        route(&["[2001:db8::1]"], "/"),
    ]));
    for (host, expected) in [
        ("WWW.Example.ORG:8443", Some(0)),
        ("www.example.org.", Some(0)),
        ("www.example.org.:80", Some(0)),
        ("192.0.2.1:80", Some(1)),
        ("[2001:DB8:0::1]:80", Some(2)),
        ("[2001:db8::1]", Some(2)),
        ("[2001:db8::2]", None),
        ("[www.example.org]", None),
    ] {
        assert_eq!(found(&routes, host, "/"), expected, "{host}");
    }
}

#[test]
fn methods_and_headers_must_fit_too() {
    let mut strict = route(&[], "/");
    strict.methods = vec![Method::GET, Method::HEAD];
    strict.headers = vec![
        HeaderMatch {
            name: HeaderName::from_static("x-canary"),
            value: Some(HeaderValue::from_static("1")),
        },
        HeaderMatch {
            name: HeaderName::from_static("x-there"),
            value: None,
        },
    ];
    let routes = Routes::build(&http(vec![strict]));
    let mut headers = HeaderMap::new();
    let find = |headers: &HeaderMap, method| routes.find(None, "/", &method, headers);
    assert_eq!(find(&headers, Method::GET), None);
    headers.append("x-there", HeaderValue::from_static(""));
    headers.append("x-canary", HeaderValue::from_static("0"));
    assert_eq!(find(&headers, Method::GET), None);
    headers.append("x-canary", HeaderValue::from_static("1"));
    assert_eq!(find(&headers, Method::GET), Some(0));
    assert_eq!(find(&headers, Method::HEAD), Some(0));
    assert_eq!(find(&headers, Method::POST), None);
}

#[test]
fn ten_thousand_routes_of_other_hosts_are_not_looked_at() {
    let mut all: Vec<Route> = (0..10_000)
        .map(|host| route(&[format!("h{host}.example.org").as_str()], "/"))
        .collect();
    all.push(route(&["*.example.org"], "/"));
    let routes = Routes::build(&http(all));
    let looked_at = |host| {
        routes
            .hosts
            .of(Some(host))
            .map(<[usize]>::len)
            .sum::<usize>()
    };
    assert_eq!(looked_at("h77.example.org"), 2);
    assert_eq!(looked_at("h10000.example.org"), 1);
    assert_eq!(found(&routes, "h77.example.org", "/"), Some(77));
    assert_eq!(found(&routes, "h10000.example.org", "/"), Some(10_000));
}

#[test]
fn a_path_is_judged_only_where_a_route_asks_for_one() {
    let one_for_all = Routes::build(&http(vec![route(&["a.example"], "/")]));
    assert!(one_for_all.can_judge("/group%2Fproject//x"));
    let by_path = Routes::build(&http(vec![route(&[], "/a"), route(&[], "/")]));
    assert!(!by_path.can_judge("/group%2Fproject") && by_path.can_judge("/group/project"));
}

#[test]
fn a_route_whose_requests_one_before_it_takes_is_found() {
    let mut get = route(&[], "/get");
    get.methods = vec![Method::GET];
    let routes = vec![
        route(&["a.example.org", "*.example.net"], "/a"),
        get.clone(),
        route(&[], "/get"),
        // Of these, the first of the three is taken by 0, the last by 2.
        route(&["a.example.org"], "/a/b"),
        route(&["a.example.org", "b.example.org"], "/a/b"),
        route(&["a.example.org"], "/ab"),
        route(&["*.x.example.net"], "/a"),
        route(&["example.net"], "/a"),
        get,
        route(&["www.example.com"], "/get/x"),
    ];
    assert_eq!(covered(&http(routes)), [(3, 0), (6, 0), (8, 1), (9, 2)]);
}

/// Whether a route says that it is about `host`, without any index.
fn is_about(route: &Route, host: &str) -> bool {
    let mut patterns = route.hosts.iter();
    route.hosts.is_empty()
        || patterns.any(|pattern| match pattern {
            HostPattern::Exact(name) => name == host,
            HostPattern::Below(name) => host.ends_with(&format!(".{name}")),
        })
}

fn some_route() -> impl Strategy<Value = Route> {
    let hosts = prop::collection::vec("(\\*\\.)?([ab]\\.){0,2}[ab]", 0..3);
    (hosts, "(/[ab]){0,2}").prop_map(|(hosts, prefix)| {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        route(&hosts, if prefix.is_empty() { "/" } else { &prefix })
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_route_finds(
        routes in prop::collection::vec(some_route(), 0..8),
        host in "([ab]\\.){0,3}[ab]",
        path in "(/[ab]){1,3}",
    ) {
        let index = Routes::build(&http(routes.clone()));
        let fits = |route: &Route| is_about(route, &host) && Path::new(&route.path).fits(&path);
        prop_assert_eq!(found(&index, &host, &path), routes.iter().position(fits));
    }

    #[test]
    fn a_route_that_is_covered_is_never_found(
        routes in prop::collection::vec(some_route(), 1..8),
        host in "([ab]\\.){0,3}[ab]",
        path in "(/[ab]){1,3}",
    ) {
        let http = http(routes);
        let found = found(&Routes::build(&http), &host, &path);
        for (index, before) in covered(&http) {
            prop_assert!(before < index && found != Some(index));
        }
    }
}

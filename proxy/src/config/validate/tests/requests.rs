//! `mode = "http"`: what is done with requests.

use std::time::Duration;

use hyper::{Method, StatusCode, header::HeaderValue};

use super::*;
use crate::config::{
    Http, Serves,
    http::{HostPattern, PathMatch, RouteAction, Scheme},
};

mod refused;

const LISTENER: &str = "
[upstream.app]
addresses = [\"127.0.0.1:3000\"]
[[listener]]
name = \"front\"
bind = \"127.0.0.1:8080\"
mode = \"http\"
";
const TLS: &str = "tls = { mode = \"optional\", identities = [\"web\"], allow = [\"any\"] }\n";
const ROUTE: &str = "[[listener.route]]\nname = \"r\"\n";
const TO_APP: &str = "upstream = \"app\"\n";

fn file(parts: &[&str]) -> String {
    format!("{BASE}{LISTENER}{}", parts.concat())
}

fn http(parts: &[&str]) -> Http {
    let config = parse(&file(parts)).unwrap();
    match &config.listeners[0].serves {
        Serves::Http(http) => (**http).clone(),
        Serves::Tcp { .. } | Serves::TlsPassthrough(_) => panic!("{config:?}"),
    }
}

fn warnings(parts: &[&str]) -> Vec<String> {
    parse(&file(parts)).unwrap().warnings
}

#[test]
fn one_word_makes_of_a_listener_of_bytes_one_of_requests() {
    let http = http(&[TO_APP]);
    let [route] = http.routes.as_slice() else {
        panic!("{http:?}");
    };
    assert_eq!(
        (route.name.as_str(), &route.path),
        ("default", &PathMatch::Any)
    );
    assert!(
        matches!(&route.action, RouteAction::Forward(to) if to.upstream == "app"
        && to.timeout.is_none() && to.max_body.is_none())
    );
    assert_eq!((http.max_head, http.streams), (65_536, 128));
    let seconds = [http.head_timeout, http.stall].map(|time| time.as_secs());
    assert_eq!(seconds, [10, 60]);
    let tcp = file(&[TO_APP]).replace("\"http\"", "\"tcp\"");
    assert!(matches!(
        parse(&tcp).unwrap().listeners[0].serves,
        Serves::Tcp { .. }
    ));
}

#[test]
fn a_route_says_which_requests_and_what_becomes_of_them() {
    let http = http(&[
        TO_APP,
        "http = { max_head = \"8KiB\", stall = \"5min\", forwarded_from = [\"10.0.0.0/8\"] }\n",
        ROUTE,
        TO_APP,
        "hosts = [\"WWW.example.org\", \"*.Example.org\", \"2001:DB8::1\"]\nprefix = \"/api/\"\n",
        "methods = [\"GET\", \"PURGE\"]\nheaders = { X-Canary = \"1\", X-There = true }\n",
        "rewrite = { prefix = \"/\", host = \"app:3000\" }\ntimeout = \"2s\"\nmax_body = \"1 KiB\"\n",
        "set_headers = { X-Env = \"prod\", X-Debug = false }\n",
        "[[listener.route]]\nname = \"old\"\npath = \"/old/\"\n",
        "redirect = { scheme = \"https\", port = 8443, prefix = \"/new/\", status = 308 }\n",
        "answer_headers = { Server = \"front\" }\n",
        "[[listener.route]]\nname = \"no\"\nprefix = \"/\"\nanswer = { status = 403 }\n",
    ]);
    assert_eq!(
        (http.max_head, http.stall),
        (8192, Duration::from_secs(300))
    );
    let names: Vec<_> = http
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["r", "old", "no", "default"]);
    let api = &http.routes[0];
    let hosts = [
        HostPattern::Exact("www.example.org".into()),
        HostPattern::Below("example.org".into()),
        HostPattern::Exact("[2001:db8::1]".into()),
    ];
    assert_eq!(api.hosts, hosts);
    assert_eq!(api.path, PathMatch::Prefix("/api".into()));
    assert_eq!(
        api.methods,
        [Method::GET, Method::from_bytes(b"PURGE").unwrap()]
    );
    let headers: Vec<_> = api
        .headers
        .iter()
        .map(|h| (h.name.as_str(), h.value.clone()))
        .collect();
    let one = HeaderValue::from_static("1");
    assert_eq!(headers, [("x-canary", Some(one)), ("x-there", None)]);
    let RouteAction::Forward(forward) = &api.action else {
        panic!("{api:?}");
    };
    assert_eq!(forward.prefix.as_deref(), Some(""));
    assert_eq!(forward.host, Some(HeaderValue::from_static("app:3000")));
    assert_eq!(forward.timeout, Some(Duration::from_secs(2)));
    assert_eq!(forward.max_body, Some(1024));
    let set: Vec<_> = forward
        .headers
        .iter()
        .map(|h| (h.name.as_str(), h.value.clone()))
        .collect();
    let prod = HeaderValue::from_static("prod");
    assert_eq!(set, [("x-debug", None), ("x-env", Some(prod))]);
    let old = &http.routes[1];
    assert_eq!(old.answer_headers[0].name, "server");
    assert_eq!(old.path, PathMatch::Exact("/old/".into()));
    let RouteAction::Redirect(redirect) = &old.action else {
        panic!("{old:?}");
    };
    assert_eq!(
        (redirect.scheme, redirect.port),
        (Some(Scheme::Https), Some(8443))
    );
    assert_eq!(redirect.prefix.as_deref(), Some("/new/"));
    assert_eq!(redirect.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(http.routes[2].path, PathMatch::Any);
}

#[test]
fn a_route_for_named_identities_takes_a_listener_that_asks_for_certificates() {
    let allow = "allow = [\"spiffe://example.org/front\"]\n";
    let http = http(&[TLS, ROUTE, TO_APP, allow]);
    assert_eq!(http.routes[0].allow.len(), 1);
    let key = "listener[0] \"front\".route[0] \"r\".allow";
    check(
        &file(&[TLS, ROUTE, TO_APP, "allow = []\n"]),
        key,
        "for nobody",
    );
    let simple = "tls = { mode = \"simple\", identities = [\"web\"] }\n";
    check(&file(&[simple, ROUTE, TO_APP, allow]), key, "asks nobody");
}

#[test]
fn a_tunnel_is_no_upstream_of_a_route_either() {
    let tunnel = |text: &str| {
        let expects = "[upstream.app]\nwire = \"tunnel\"\nexpect = [\"any\"]\nidentity = \"web\"";
        file(&[text]).replace("[upstream.app]", expects)
    };
    let key = "listener[0] \"front\"";
    check(&tunnel(TO_APP), &format!("{key}.upstream"), "takes tunnels");
    let routed = tunnel(&format!("{ROUTE}{TO_APP}"));
    check(
        &routed,
        &format!("{key}.route[0] \"r\".upstream"),
        "takes tunnels",
    );
}

#[test]
fn a_redirect_in_a_circle_is_mentioned() {
    let redirect = "path = \"/old\"\nredirect = { scheme = \"https\" }\n";
    let simple = "tls = { mode = \"simple\", identities = [\"web\"] }\n";
    let told = warnings(&[TO_APP, simple, ROUTE, redirect]);
    assert!(told[0].contains("route[0] \"r\".redirect"), "{told:?}");
    assert_eq!(warnings(&[TO_APP, ROUTE, redirect]), [""; 0]);
}

#[test]
fn a_version_of_http_is_for_listeners_of_requests() {
    let spoken = "[upstream.app]\nhttp = \"2\"";
    let http = file(&[TO_APP]).replace("[upstream.app]", spoken);
    assert!(parse(&http).unwrap().warnings.is_empty());
    let tcp = http.replace("mode = \"http\"", "mode = \"tcp\"");
    let warnings = parse(&tcp).unwrap().warnings;
    assert!(
        warnings[0].starts_with("upstream.app.http: "),
        "{warnings:?}"
    );
}

#[test]
fn routes_that_get_no_request_are_mentioned() {
    let other = "[[listener.route]]\nname = \"other\"\n";
    let told = warnings(&[
        TO_APP,
        ROUTE,
        TO_APP,
        "prefix = \"/a\"\n",
        other,
        TO_APP,
        "path = \"/a/b\"\n",
    ]);
    let [only] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(
        only.contains("route[1] \"other\"") && only.contains("\"r\""),
        "{only}"
    );
    // The listener's own upstream is a route too.
    let told = warnings(&[TO_APP, ROUTE, "answer = { status = 404 }\n"]);
    assert!(told[0].starts_with("listener[0] \"front\": "), "{told:?}");
    let told = warnings(&[
        ROUTE,
        TO_APP,
        "prefix = \"/a\"\n",
        other,
        TO_APP,
        "prefix = \"/ab\"\n",
    ]);
    assert!(told.is_empty(), "{told:?}");
}

use std::path::Path;

use super::*;

const FILE: &str = r#"
version = 1
[identity.web]
certificate = "web.crt"
private_key = "web.key"
[trust."example.org"]
bundle = "ca.crt"
[upstream.app]
addresses = ["10.0.0.5:3000"]
[upstream.far]
addresses = ["10.0.0.6:443"]
wire = "tls"
identity = "web"
expect = ["far.example.org"]
[[listener]]
name = "bytes"
bind = "127.0.0.1:5432"
mode = "tcp"
upstream = "far"
proxy_from = ["10.9.0.0/16"]
[[listener]]
name = "passed"
bind = "127.0.0.1:9443"
mode = "tls-passthrough"
servers = { "*.far.example.org" = "app" }
[[listener]]
name = "web"
bind = ["127.0.0.1:8443", "[::1]:8443"]
mode = "http"
tls = { mode = "mutual", identities = ["web"], allow = ["spiffe://example.org/front"] }
[[listener.route]]
name = "status"
prefix = "/status"
methods = ["GET"]
upstream = "app"
rewrite = { prefix = "/health" }
[[listener.route]]
name = "old"
hosts = ["old.example.org"]
redirect = { host = "new.example.org" }
[[listener.route]]
name = "inner"
hosts = ["*.inner.example.org"]
allow = ["spiffe://example.org/front"]
headers = { x-inner = true }
answer = { status = 418 }
"#;

fn config() -> Config {
    Config::parse(FILE, Path::new("test")).unwrap()
}

fn request(host: &str, path: &str, method: &str, headers: &[&str]) -> Routed {
    let asked = Asked {
        host: Some(host.to_owned()),
        path: path.to_owned(),
        method: method.to_owned(),
        headers: headers.iter().map(|one| (*one).to_owned()).collect(),
    };
    let served = served(&config(), "web", None, Some(&asked)).unwrap();
    served.request.unwrap()
}

fn why(routed: &Routed, route: &str) -> String {
    let mut lost = routed.lost.iter();
    lost.find(|one| one.rule == route).unwrap().why.clone()
}

#[test]
fn a_listener_says_how_clients_are_met_who_may_be_one_and_where_bytes_go() {
    let config = config();
    let bytes = served(&config, "bytes", None, None).unwrap();
    assert_eq!((bytes.mode.as_str(), bytes.tls.as_str()), ("tcp", "off"));
    let said = bytes.meaning.join("\n");
    for part in [
        "10.9.0.0/16",
        "plain text",
        "10.0.0.6:443",
        "far.example.org",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let proxy = |from: &str| served(&config, "bytes", Some(from.parse().unwrap()), None);
    assert!(proxy("10.9.0.1").unwrap().meaning[0].contains("PROXY header"));
    assert!(!proxy("10.8.0.1").unwrap().meaning[0].contains("PROXY header"));
    let web = served(&config, "web", None, None).unwrap();
    assert_eq!((web.mode.as_str(), web.tls.as_str()), ("http", "mutual"));
    assert_eq!(web.at.len(), 2);
    let said = web.meaning.join("\n");
    for part in [
        "must show a certificate",
        "spiffe://example.org/front",
        "status, old, inner",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_request_takes_the_route_of_the_data_path_and_the_others_say_why_not() {
    let status = request("www.example.org", "/status/418?x=1", "GET", &[]);
    assert_eq!(status.route.as_deref(), Some("status"));
    assert_eq!(status.upstream.as_deref(), Some("app"));
    assert!(
        status.meaning[0].contains("GET /health/418?x=1"),
        "{status:?}"
    );
    assert!(why(&status, "old").contains("another host: old.example.org"));
    let post = request("old.example.org", "/status", "POST", &[]);
    assert_eq!(
        (post.route.as_deref(), post.status),
        (Some("old"), Some(301))
    );
    assert!(
        post.meaning[0].contains("https://new.example.org/status"),
        "{post:?}"
    );
    assert!(why(&post, "status").contains("another method: GET"));
    assert!(why(&post, "inner").contains("*.inner.example.org"));
    let inner = request("a.inner.example.org", "/statusx", "GET", &["x-inner: 1"]);
    assert_eq!(
        (inner.route.as_deref(), inner.status),
        (Some("inner"), Some(418))
    );
    assert!(
        inner.meaning[0].contains("spiffe://example.org/front"),
        "{inner:?}"
    );
    assert!(why(&inner, "status").contains("another path: /status"));
    let both = request("a.inner.example.org", "/status", "GET", &["x-inner: 1"]);
    assert!(why(&both, "inner").contains("\"status\" stands before it"));
    let none = request("a.inner.example.org", "/", "GET", &[]);
    assert_eq!((none.route.as_deref(), none.status), (None, Some(404)));
    assert!(why(&none, "inner").contains("x-inner"));
    let bent = request("www.example.org", "/a/../status", "GET", &[]);
    assert_eq!((bent.route.as_deref(), bent.status), (None, Some(400)));
}

#[test]
fn whose_tls_is_passed_is_found_by_the_server_name() {
    let said = |host: Option<&str>| {
        let asked = host.map(|host| Asked {
            host: Some(host.to_owned()),
            path: "/".into(),
            method: "GET".into(),
            headers: Vec::new(),
        });
        let passed = served(&config(), "passed", None, asked.as_ref()).unwrap();
        assert_eq!(passed.tls, "passed");
        passed.meaning.join("\n")
    };
    assert!(said(None).contains("for *.far.example.org it goes to the upstream app"));
    assert!(said(Some("A.far.example.org")).contains("goes to the upstream app at 10.0.0.5:3000"));
    assert!(said(Some("far.example.org")).contains("is refused"));
}

#[test]
fn what_cannot_be_asked_is_named() {
    let config = config();
    let asked = |path: &str, method: &str, header: &str| Asked {
        host: None,
        path: path.to_owned(),
        method: method.to_owned(),
        headers: vec![header.to_owned()],
    };
    let refused = |name: &str, asked: Option<&Asked>| {
        served(&config, name, None, asked).unwrap_err().to_string()
    };
    assert!(refused("wbe", None).contains("bytes, passed, web"));
    let good = asked("/", "GET", "a: b");
    assert!(refused("bytes", Some(&good)).contains("looks at no requests"));
    assert!(refused("web", Some(&asked("status", "GET", "a: b"))).contains("no path"));
    assert!(refused("web", Some(&asked("/", "G T", "a: b"))).contains("no method"));
    assert!(refused("web", Some(&asked("/", "GET", "ab"))).contains("no header"));
}

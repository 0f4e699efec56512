//! Which route a request takes, and what it looks like behind it.

use super::*;

const ROUTES: &str = r#"
[[listener.route]]
name = "canary"
prefix = "/status"
headers = { x-canary = "1" }
answer = { status = 299, body = "canary" }
[[listener.route]]
name = "posts"
path = "/post"
methods = ["POST"]
answer = { status = 200, body = "posted" }
[[listener.route]]
name = "other"
hosts = ["other.example.org", "*.below.example.org"]
answer = { status = 200, body = "another host" }
[[listener.route]]
name = "status"
prefix = "/status"
upstream = "app"
[[listener.route]]
name = "moved"
prefix = "/old"
redirect = { scheme = "https", prefix = "/new", status = 308 }
[[listener.route]]
name = "rewritten"
prefix = "/api/v1"
upstream = "app"
rewrite = { prefix = "/internal", host = "app.internal" }
[[listener.route]]
name = "echo"
path = "/echo"
upstream = "app"
"#;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn requests_go_by_host_path_method_and_header_in_both_versions_and_nowhere_else() {
    let front = Front::new("simple", ROUTES);
    let cases: [(&str, &[&str], u16, &str); 11] = [
        ("/status/418", &[], 418, "status"),
        ("/statusx", &[], 404, ""),
        ("/status", &["-H", "X-Canary: 1"], 299, "canary"),
        ("/post", &["-d", "x"], 200, "posts"),
        ("/post", &[], 404, ""),
        ("/echo", &[], 200, "echo"),
        ("/echo/below", &[], 404, ""),
        ("/any", &["-H", "Host: Other.Example.org"], 200, "other"),
        (
            "/any",
            &["-H", "Host: a.b.below.example.org:99"],
            200,
            "other",
        ),
        ("/old/page?x=1", &[], 308, "moved"),
        ("/status/%2e%2e/echo", &["--path-as-is"], 400, ""),
    ];
    let mut count = 0;
    for (path, more, status, route) in cases {
        for version in ["--http1.1", "--http2"] {
            let more = [&[version], more].concat();
            let got = front.fetch_tls(path, false, &more);
            assert_eq!(got.status(), status, "{path} {version}: {}", got.0);
            let spoken = if version == "--http2" {
                "HTTP/2 "
            } else {
                "HTTP/1.1 "
            };
            assert!(got.head().starts_with(spoken), "{}", got.0);
            count += 1;
            let record = front.requests(count).pop().unwrap();
            assert_eq!(record.rule(), route, "{record}");
            assert_eq!(record.http_status(), u64::from(status), "{record}");
            assert_eq!(record.http_version(), spoken.trim(), "{record}");
            let refused = match status {
                404 => "no-route",
                400 => "bad-request",
                _ => "",
            };
            assert_eq!(record.reason(), refused, "{record}");
        }
    }
    let moved = front.fetch_tls("/old/page?x=1", false, &[]);
    let location = "location: https://b.example.org/new/page?x=1";
    assert!(
        moved.head().to_lowercase().contains(location),
        "{}",
        moved.0
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_route_sets_and_removes_headers_of_its_requests_and_of_all_of_its_answers() {
    let changed =
        "answer_headers = { Strict-Transport-Security = \"max-age=9\", X-Served-By = false }";
    let front = Front::new(
        "simple",
        &format!(
            r#"
[[listener.route]]
name = "moved"
path = "/old"
redirect = {{ prefix = "/echo" }}
{changed}
[[listener.route]]
name = "fixed"
path = "/fixed"
answer = {{ status = 200, body = "{{}}" }}
{changed}
[[listener.route]]
name = "small"
path = "/small"
upstream = "app"
max_body = "0B"
{changed}
[[listener.route]]
name = "echo"
path = "/echo"
upstream = "app"
set_headers = {{ X-Env = "prod", X-Debug = false }}
{changed}
[[listener.route]]
name = "plain"
upstream = "app"
"#
        ),
    );
    let told = |head: &str| {
        head.to_lowercase()
            .contains("strict-transport-security: max-age=9")
    };
    let served = |head: &str| head.to_lowercase().contains("x-served-by");
    let sent = [
        "X-Env: a",
        "X-Env: b",
        "X_Env: c",
        "X-Debug: 1",
        "X-Other: 2",
    ];
    let sent: Vec<_> = sent.iter().flat_map(|header| ["-H", header]).collect();
    for version in ["--http1.1", "--http2"] {
        let more = [&[version], &sent[..]].concat();
        let got = front.fetch_tls("/echo", false, &more);
        assert_eq!(got.passed("x-env"), ["prod"], "{}", got.0);
        for (name, passed) in [("x-debug", 0), ("x_env", 0), ("x-other", 1)] {
            assert_eq!(got.passed(name).len(), passed, "{name}: {}", got.0);
        }
        assert!(told(got.head()) && !served(got.head()), "{}", got.0);
        for (path, status, more) in [
            ("/old", 301, &[][..]),
            ("/fixed", 200, &[]),
            ("/small", 413, &["-d", "x"]),
        ] {
            let got = front.fetch_tls(path, false, &[&[version], more].concat());
            assert_eq!(got.status(), status, "{}", got.0);
            assert!(told(got.head()), "{path}: {}", got.0);
        }
        let untouched = front.fetch_tls("/other", false, &more);
        assert_eq!(untouched.passed("x-env"), ["a", "b"], "{}", untouched.0);
        assert!(
            !told(untouched.head()) && served(untouched.head()),
            "{}",
            untouched.0
        );
    }
}

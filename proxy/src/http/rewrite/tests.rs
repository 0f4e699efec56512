use hyper::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::http::path::is_plain;

fn redirect() -> Redirect {
    Redirect {
        status: StatusCode::MOVED_PERMANENTLY,
        scheme: None,
        host: None,
        port: None,
        prefix: None,
    }
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn rewritten(uri: &str, path: &PathMatch, by: Option<&str>) -> String {
    target(&uri.parse().unwrap(), path, by).unwrap().to_string()
}

#[test]
fn a_prefix_is_replaced_segment_by_segment_and_the_rest_stays_as_it_was_written() {
    for (uri, path, by, expected) in [
        ("/status/418", prefix("/status"), "/v1", "/v1/418"),
        ("/status", prefix("/status"), "/v1", "/v1"),
        ("/status/", prefix("/status"), "/v1", "/v1/"),
        (
            "/st%61tus/%41?q=/status",
            prefix("/status"),
            "/v1",
            "/v1/%41?q=/status",
        ),
        ("/a/b/c/d?x", prefix("/a/b"), "/", "/c/d?x"),
        ("/a/b?x=1", prefix("/a/b"), "", "/?x=1"),
        ("/a/b", prefix("/a/b"), "/", "/"),
        ("/x?y", PathMatch::Any, "/v1", "/v1/x?y"),
        ("/", PathMatch::Any, "/v1", "/v1/"),
        ("/a?b", PathMatch::Exact("/a".into()), "/c/", "/c/?b"),
        ("http://example.org/a/b", prefix("/a"), "/c", "/c/b"),
    ] {
        assert_eq!(rewritten(uri, &path, Some(by)), expected, "{uri} {by}");
    }
}

#[test]
fn without_a_rewrite_the_target_stays() {
    for (uri, expected) in [
        ("/a%2fb//?c", "/a%2fb//?c"),
        ("http://example.org", "/"),
        ("*", "*"),
    ] {
        assert_eq!(rewritten(uri, &prefix("/a"), None), expected);
    }
}

#[test]
fn a_request_for_the_whole_server_has_no_path_to_rewrite() {
    assert_eq!(rewritten("*", &PathMatch::Any, Some("/v1")), "*");
    for prefix in [None, Some("/new".to_owned())] {
        let redirect = Redirect {
            prefix,
            ..redirect()
        };
        let uri = "*".parse().unwrap();
        let sent = location(&redirect, &PathMatch::Any, &uri, "a", true).unwrap();
        assert_eq!(sent, "https://a/");
    }
}

#[test]
fn a_target_that_becomes_too_long_is_an_error() {
    let uri = format!("/a/{}", "x".repeat(65_000)).parse().unwrap();
    let by = format!("/{}", "y".repeat(2_000));
    let error = target(&uri, &prefix("/a"), Some(&by)).unwrap_err();
    assert!(error.to_string().contains("rewriting the path"), "{error}");
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    let at = |redirect: &Redirect, path: &PathMatch, host: &str, tls: bool| {
        let uri = "/old/x?q=1".parse().unwrap();
        let location = location(redirect, path, &uri, host, tls).unwrap();
        location.to_str().unwrap().to_owned()
    };
    let old = prefix("/old");
    let https = Redirect {
        scheme: Some(Scheme::Https),
        ..redirect()
    };
    let location = at(&https, &old, "example.org:8080", false);
    assert_eq!(location, "https://example.org/old/x?q=1");
    let port = Redirect {
        port: Some(8443),
        ..https.clone()
    };
    let location = at(&port, &old, "example.org", false);
    assert_eq!(location, "https://example.org:8443/old/x?q=1");
    let itself = Redirect {
        port: Some(443),
        ..https
    };
    assert_eq!(at(&itself, &old, "a", false), "https://a/old/x?q=1");
    let moved = Redirect {
        prefix: Some("/new".into()),
        ..redirect()
    };
    let location = at(&moved, &old, "[2001:db8::1]:8443", true);
    assert_eq!(location, "https://[2001:db8::1]:8443/new/x?q=1");
    let host = Redirect {
        host: Some("b.example".into()),
        ..redirect()
    };
    assert_eq!(
        at(&host, &old, "a:8080", false),
        "http://b.example:8080/old/x?q=1"
    );
    let exact = PathMatch::Exact("/old/x".into());
    assert_eq!(at(&moved, &exact, "a", false), "http://a/new?q=1");
}

#[test]
fn nobody_is_sent_to_what_is_no_host() {
    for host in [
        "",
        "user@example.org",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "[::1",
        "a\\b",
    ] {
        let uri = "/".parse().unwrap();
        let sent = location(&redirect(), &PathMatch::Any, &uri, host, false);
        assert!(
            matches!(sent, Err(Unwritable::Host(_))),
            "{host:?}: {sent:?}"
        );
    }
}

proptest! {
    /// What is below the replacement is what was below the prefix, however it was written.
    #[test]
    fn a_rewritten_path_is_the_replacement_and_the_rest(
        own in "(/[a-z]{1,3}){1,3}", by in "(/[a-z]{1,3}){0,2}/?", rest in "(/[a-z0-9%~.]{0,4}){0,3}",
    ) {
        prop_assume!(is_plain(&format!("{own}{rest}")));
        let target = rewritten(&format!("{own}{rest}"), &prefix(&own), Some(&by));
        let joined = format!("{}{rest}", by.strip_suffix('/').unwrap_or(&by));
        prop_assert_eq!(target, if joined.is_empty() { "/".into() } else { joined });
    }
}

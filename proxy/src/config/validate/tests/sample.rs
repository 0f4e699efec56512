//! What the sample shows in comments: examples of keys and tables, and defaults.

use std::collections::BTreeSet;

use super::*;
use crate::config::Serves;

/// Keys and tables that stand in comments, with a value that is no default.
fn examples() -> BTreeSet<&'static str> {
    let is_toml = |line: &&str| {
        let (key, value) = line.split_once(" = ").unwrap_or((line, "\""));
        let bare = key.trim_matches(['[', ']']);
        let named = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.');
        let is_table = key.starts_with('[') && key.ends_with(']');
        (is_table || line.contains(" = "))
            && bare.chars().all(named)
            && (value == "false"
                || value.ends_with(|c: char| c.is_ascii_digit() || matches!(c, '"' | ']' | '}')))
    };
    let comments = SAMPLE.lines().filter_map(|line| line.strip_prefix("# "));
    comments.filter(is_toml).collect()
}

/// The sample with these examples, which are in its order, and lines of it replaced.
fn with(shown: &[&str], replaced: &[(&str, &str)]) -> String {
    let mut shown = shown.iter().peekable();
    let lines = SAMPLE.lines().map(|line| {
        let example = line.strip_prefix("# ");
        let next = shown.next_if(|next| example == Some(**next));
        if let Some(example) = next {
            // No account of this name need be here.
            return example.replace("\"redsocks\"", "\"root\"");
        }
        let new = replaced.iter().find(|(old, _)| *old == line);
        new.map_or(line, |(_, new)| new).to_owned()
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(shown.next(), None, "not in the sample");
    text
}

#[test]
fn every_example_in_a_comment_of_the_sample_is_right() {
    let alone = [
        "workers = 4",
        "access_file = \"/var/log/sidetrack/access.json\"",
        "crl = \"ca.crl\"",
        "server_name = \"api.example.org\"",
    ];
    let upstream = [
        "gateway = \"edge\"",
        "[upstream.edge]",
        "addresses = [\"10.0.0.9:15443\"]",
        "expect = [\"spiffe://example.org/egress\"]",
    ];
    let proxy = [
        "proxy = \"socks\"",
        "[proxy.socks]",
        "listen = [\"127.0.0.1:12345\", \"[::1]:12345\"]",
        "user = \"redsocks\"",
        "cgroup = \"/pods/*/sidecar\"",
    ];
    let gateway = [
        "[gateway]",
        "listen = \"0.0.0.0:15443\"",
        "identity = \"web\"",
        "[[egress]]",
        "name = \"api-to-web\"",
        "identity = [\"spiffe://example.org/api\"]",
        "to = [\"203.0.113.0/24\"]",
        "ports = [\"443\"]",
        "action = \"allow\"",
        "may_claim = { \"spiffe://example.org/api\" = [\"10.2.0.0/16\"] }",
    ];
    let listener = [
        "[[listener]]",
        "name = \"side\"",
        "bind = \"127.0.0.1:8080\"",
        "mode = \"tcp\"",
        "upstream = \"server\"",
        "proxy_from = [\"10.0.0.0/8\"]",
        "[listener.tls]",
        "mode = \"mutual\"",
        "identities = [\"web\"]",
        "certificates = \"certificates\"",
        "allow = [\"spiffe://example.org/front\"]",
        "min_version = \"1.3\"",
        "[upstream.server]",
        "addresses = [\"10.0.0.9:8081\", \"server.example.org:8081\"]",
        "wire = \"tls\"",
        "expect = [\"server.example.org\"]",
        "server_name = \"server.example.org\"",
        "balance = \"two-choices\"",
        "retries = 2",
        "send_proxy = \"v2\"",
        "[upstream.server.health]",
        "check = \"http\"",
        "path = \"/healthz\"",
        "host = \"server.example.org\"",
        "interval = \"5s\"",
        "timeout = \"2s\"",
        "down = 1",
        "up = 1",
    ];
    let requests = [
        "[[listener]]",
        "name = \"front\"",
        "bind = \"0.0.0.0:8443\"",
        "mode = \"http\"",
        "tls = { mode = \"optional\", identities = [\"web\"], allow = [\"spiffe://example.org/front\"] }",
        "[listener.http]",
        "forwarded_from = [\"10.0.0.0/8\"]",
        "head_timeout = \"10s\"",
        "stall = \"60s\"",
        "max_head = \"64KiB\"",
        "streams = 128",
        "[[listener.route]]",
        "name = \"users\"",
        "hosts = [\"www.example.org\", \"*.example.org\"]",
        "prefix = \"/users\"",
        "methods = [\"GET\", \"HEAD\"]",
        "headers = { x-canary = \"1\", x-debug = true }",
        "allow = [\"spiffe://example.org/front\"]",
        "upstream = \"users\"",
        "rewrite = { prefix = \"/v1/users\", host = \"users.example.org\" }",
        "set_headers = { X-Env = \"prod\", X-Debug = false }",
        "answer_headers = { Strict-Transport-Security = \"max-age=31536000\" }",
        "timeout = \"15s\"",
        "max_body = \"10MiB\"",
        "[[listener.route]]",
        "name = \"moved\"",
        "path = \"/old\"",
        "redirect = { scheme = \"https\", host = \"www.example.org\", port = 8443, prefix = \"/new\", status = 308 }",
        "[[listener.route]]",
        "name = \"health\"",
        "path = \"/healthz\"",
        "answer = { status = 200, body = \"ok\" }",
        "[upstream.users]",
        "addresses = [\"10.0.0.9:8080\"]",
        "http = \"2\"",
    ];
    let names = [
        "[[listener]]",
        "name = \"names\"",
        "bind = \"0.0.0.0:443\"",
        "mode = \"tls-passthrough\"",
        "servers = { \"a.example.org\" = \"pages\", \"*.b.example.org\" = \"pages\" }",
        "[upstream.pages]",
        "addresses = [\"10.0.0.10:443\"]",
    ];
    let expect = ("expect = [\"spiffe://example.org/api\"]", "");
    let to_gateway = [("action = \"mtls\"", "action = \"gateway\""), expect];
    let redirect = [
        ("action = \"mtls\"", "action = \"redirect\""),
        // Of the rule, which is the first to say so.
        ("identity = \"web\"", ""),
        expect,
    ];
    for example in alone {
        parse(&with(&[example], &[])).unwrap_or_else(|wrong| panic!("{example}: {wrong}"));
    }
    let full = ["resumption = false"];
    let tls = [("#wire = \"tunnel\"", "wire = \"tls\"")];
    parse(&with(&full, &tls)).unwrap();
    let config = parse(&with(&upstream, &to_gateway)).unwrap();
    assert_eq!(config.upstreams.len(), 1);
    // The inbound rule has one, too, which stays.
    let text = with(&proxy, &redirect).replace(
        "accept = [\"tunnel\", \"mtls\"]",
        "identity = \"web\"\naccept = [\"tunnel\", \"mtls\"]",
    );
    assert_eq!(parse(&text).unwrap().proxies.len(), 1);
    let config = parse(&with(&gateway, &[])).unwrap();
    assert_eq!(config.gateway.unwrap().egress.len(), 1);
    let config = parse(&with(&listener, &[])).unwrap();
    let upstream_of_it = &config.upstreams["server"];
    assert_eq!((config.listeners.len(), upstream_of_it.retries), (1, 2));
    let config = parse(&with(&requests, &[])).unwrap();
    let Serves::Http(http) = &config.listeners[0].serves else {
        panic!("{config:?}");
    };
    assert_eq!((http.routes.len(), config.warnings.len()), (3, 0));
    let config = parse(&with(&names, &[])).unwrap();
    let Serves::TlsPassthrough(servers) = &config.listeners[0].serves else {
        panic!("{config:?}");
    };
    assert_eq!((servers.named.len(), config.warnings.len()), (2, 0));
    let tried = [
        &alone[..],
        &full,
        &upstream,
        &proxy,
        &gateway,
        &listener,
        &requests,
        &names,
    ]
    .concat();
    assert_eq!(examples(), tried.into_iter().collect());
}

#[test]
fn the_default_of_a_permissive_port_is_as_the_sample_shows_it() {
    let permissive = |detect| {
        let accept = "accept = [\"tunnel\", \"mtls\"]";
        let plain = "accept = [\"tunnel\", \"mtls\", \"plain\"]";
        let without = ("plain_from = [\"10.9.0.5/32\"]", "");
        let shown = ("#detect = \"200ms\"", detect);
        let text = with(&[], &[(accept, plain), without, shown]);
        format!("{:?}", parse(&text).unwrap())
    };
    assert_eq!(permissive("detect = \"200ms\""), permissive(""));
    assert_ne!(permissive("detect = \"201ms\""), permissive(""));
}

#[test]
fn the_schema_tells_the_defaults_that_the_sample_shows() {
    fn told(schema: &serde_json::Value, found: &mut Vec<(String, String)>) {
        let Some(object) = schema.as_object() else {
            return;
        };
        let properties = object.get("properties").and_then(|all| all.as_object());
        for (key, about) in properties.into_iter().flatten() {
            let words = about["description"].as_str().unwrap_or_default();
            let default = words.split_once("Default ").map(|(_, after)| after);
            let value = default.and_then(|after| after.split_once('.').map(|(value, _)| value));
            found.extend(value.map(|value| (key.clone(), value.to_owned())));
        }
        object.values().for_each(|inner| told(inner, found));
    }
    let mut found = Vec::new();
    told(&file::schema().to_value(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    for (key, value) in found {
        let line = format!("#{key} = {value}");
        assert!(SAMPLE.lines().any(|shown| shown == line), "{line}");
    }
}

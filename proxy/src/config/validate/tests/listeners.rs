//! `[[listener]]` and what is behind it.

use std::time::Duration;

use super::*;
use crate::config::{TlsMode, Wire};

const FILES: &str = r#"
[identity.own]
certificate = "own.crt"
private_key = "own.key"
[trust."example.org"]
bundle = "ca.crt"
"#;
const UPSTREAM: &str =
    "[upstream.app]\naddresses = [\"127.0.0.1:3000\", \"app.example.org:3000\"]\n";
const LISTENER: &str =
    "[[listener]]\nname = \"side\"\nbind = \"0.0.0.0:8081\"\nmode = \"tcp\"\nupstream = \"app\"\n";
const TLS: &str = "tls = { mode = \"mutual\", identities = [\"own\"], allow = [\"any\"] }\n";

fn file(parts: &[&str]) -> String {
    format!("version = 1\n{FILES}{}", parts.concat())
}

#[test]
fn a_file_of_listeners_alone_intercepts_nothing_and_one_rule_makes_it_intercept() {
    let config = parse(&file(&[UPSTREAM, LISTENER, TLS])).unwrap();
    assert!(!config.intercepts);
    let listener = &config.listeners[0];
    assert_eq!(listener.bind, ["0.0.0.0:8081".parse().unwrap()]);
    assert_eq!(listener.tls.as_ref().unwrap().mode, TlsMode::Mutual);
    let upstream = &config.upstreams["app"];
    assert_eq!(upstream.addresses[1].to_string(), "app.example.org:3000");
    assert_eq!((upstream.tls.is_none(), upstream.retries), (true, 2));
    assert_eq!(upstream.health.interval, Duration::from_secs(5));
    let rule = "[[outbound]]\nname = \"r\"\naction = \"passthrough\"\n";
    assert!(
        parse(&file(&[UPSTREAM, LISTENER, rule]))
            .unwrap()
            .intercepts
    );
    assert!(parse("version = 1\n").unwrap().intercepts);
}

#[test]
fn listeners_that_cannot_be_used() {
    let tls = UPSTREAM.to_owned() + "wire = \"tls\"\n";
    let tunnel =
        UPSTREAM.to_owned() + "wire = \"tunnel\"\nexpect = [\"any\"]\nidentity = \"own\"\n";
    let other = LISTENER.replace("side", "other");
    let inbound = "[[inbound]]\nname = \"in\"\nports = [\"8081\"]\naccept = [\"plain\"]\n";
    for (parts, key, says) in [
        (
            vec![LISTENER],
            "listener[0] \"side\".upstream",
            "there is no [upstream.app]",
        ),
        (
            vec![UPSTREAM, LISTENER, &other],
            "listener[1] \"other\".bind",
            "another listener is there",
        ),
        (
            vec![UPSTREAM, LISTENER, inbound],
            "listener[0] \"side\".bind",
            "takes this port",
        ),
        (
            vec![
                UPSTREAM,
                &LISTENER.replace("0.0.0.0:8081", "localhost:8081"),
            ],
            "listener[0] \"side\".bind",
            "not an address and a port",
        ),
        (
            vec![UPSTREAM, LISTENER, &TLS.replace(", allow = [\"any\"]", "")],
            "listener[0] \"side\".tls.allow",
            "who may connect",
        ),
        (
            vec![UPSTREAM, LISTENER, &TLS.replace("mutual", "simple")],
            "listener[0] \"side\".tls.allow",
            "protects nothing",
        ),
        (
            vec![UPSTREAM, LISTENER, &TLS.replace("[\"own\"]", "[]")],
            "listener[0] \"side\".tls.identities",
            "no certificate to show",
        ),
        (
            vec![&tunnel, LISTENER],
            "listener[0] \"side\".upstream",
            "takes tunnels",
        ),
        (
            vec![&tls, LISTENER],
            "upstream.app.expect",
            "must say whom it expects",
        ),
        (
            vec![UPSTREAM, "expect = [\"any\"]\nwire = \"plain\"\n", LISTENER],
            "upstream.app.expect",
            "protects nothing",
        ),
        (
            vec![UPSTREAM, "health = { path = \"/x\" }\n", LISTENER],
            "upstream.app.health.path",
            "only with check",
        ),
        (
            vec![UPSTREAM, "health = { host = \"a\" }\n", LISTENER],
            "upstream.app.health.host",
            "only with check",
        ),
        (
            vec![
                UPSTREAM,
                "health = { check = \"http\", host = \"a b\" }\n",
                LISTENER,
            ],
            "upstream.app.health.host",
            "not a host",
        ),
        (
            vec![
                UPSTREAM,
                "[[listener]]\nname = \"side\"\nbind = \"0.0.0.0:8081\"\n",
            ],
            "listener[0] \"side\".mode",
            "tls-passthrough",
        ),
    ] {
        check(&file(&parts), key, says);
    }
}

#[test]
fn an_upstream_that_says_whom_it_expects_is_in_tls_and_a_gateway_takes_tunnels() {
    let expecting = UPSTREAM.to_owned() + "expect = [\"any\"]\n";
    let config = parse(&file(&[&expecting, LISTENER])).unwrap();
    let tls = config.upstreams["app"].tls.as_ref().unwrap();
    assert_eq!((tls.wire, &tls.identity), (Wire::Tls, &None));
    let gateway = "[upstream.edge]\naddresses = [\"10.0.0.9:15443\"]\nexpect = [\"any\"]\n\
        [[outbound]]\nname = \"r\"\naction = \"gateway\"\ngateway = \"edge\"\nidentity = \"own\"\n";
    let config = parse(&file(&[gateway])).unwrap();
    let tls = config.upstreams["edge"].tls.as_ref().unwrap();
    assert_eq!(tls.wire, Wire::Tunnel);
}

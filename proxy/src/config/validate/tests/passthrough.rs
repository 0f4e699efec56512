//! `[[listener]]` in mode "tls-passthrough"

use super::*;
use crate::config::{Serves, http::HostPattern};

const UPSTREAM: &str = "[upstream.app]\naddresses = [\"127.0.0.1:3000\"]\n";
const LISTENER: &str =
    "[[listener]]\nname = \"side\"\nbind = \"0.0.0.0:8443\"\nmode = \"tls-passthrough\"\n";
const SERVERS: &str = "servers = { \"a.example.org\" = \"app\", \"*.example.org\" = \"app\" }\n";

fn file(parts: &[&str]) -> String {
    format!("version = 1\n{}", parts.concat())
}

#[test]
fn names_and_what_is_below_them_have_upstreams_and_all_others_may_have_one() {
    let config = parse(&file(&[UPSTREAM, LISTENER, SERVERS])).unwrap();
    let Serves::TlsPassthrough(servers) = &config.listeners[0].serves else {
        panic!("{config:?}");
    };
    let app = || "app".to_owned();
    let below = (HostPattern::Below("example.org".into()), app());
    let exact = (HostPattern::Exact("a.example.org".into()), app());
    assert_eq!(
        (&*servers.named, &servers.other),
        (&[below, exact][..], &None)
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let only_other = file(&[UPSTREAM, LISTENER, "upstream = \"app\"\n"]);
    let config = parse(&only_other).unwrap();
    assert_eq!(
        config.listeners[0].serves.upstreams().collect::<Vec<_>>(),
        ["app"]
    );
}

#[test]
fn listeners_that_cannot_relay_tls() {
    let tls = "wire = \"tls\"\nexpect = [\"any\"]\n[trust.\"example.org\"]\nbundle = \"ca.crt\"\n";
    let http = "health = { check = \"http\" }\n";
    let with = |name: &str| format!("servers = {{ \"{name}\" = \"app\" }}\n");
    let key = |name: &str| format!("listener[0] \"side\".servers.\"{name}\"");
    let in_tcp = LISTENER.replace("tls-passthrough", "tcp") + "upstream = \"app\"\n";
    for (parts, key, says) in [
        (
            vec![UPSTREAM, LISTENER],
            "listener[0] \"side\".servers".into(),
            "where connections go",
        ),
        (
            vec![UPSTREAM, LISTENER, &with("A.example.org")],
            key("A.example.org"),
            "lower case",
        ),
        (
            vec![UPSTREAM, LISTENER, &with("10.0.0.1")],
            key("10.0.0.1"),
            "not a DNS name",
        ),
        (
            vec![UPSTREAM, LISTENER, &with("a.*.example.org")],
            key("a.*.example.org"),
            "not a DNS name",
        ),
        (
            vec![UPSTREAM, LISTENER, &with("*")],
            key("*"),
            "not a DNS name",
        ),
        (
            vec![LISTENER, &with("a.example.org")],
            key("a.example.org"),
            "no [upstream.app]",
        ),
        (
            vec![UPSTREAM, tls, LISTENER, SERVERS],
            key("*.example.org"),
            "takes TLS of ours",
        ),
        (
            vec![UPSTREAM, http, LISTENER, SERVERS],
            key("*.example.org"),
            "down for ever",
        ),
        (
            vec![
                UPSTREAM,
                LISTENER,
                SERVERS,
                "tls = { mode = \"simple\", certificates = \"c\" }\n",
            ],
            "listener[0] \"side\".tls".into(),
            "shows no certificate",
        ),
        (
            vec![UPSTREAM, &in_tcp, SERVERS],
            "listener[0] \"side\".servers".into(),
            "only with mode",
        ),
    ] {
        check(&file(&parts), &key, says);
    }
}

//! The same programs through listeners in mode "http", in HTTP/1.1 and in HTTP/2.

use harness::{
    load,
    web::{Asking, CASES},
    webserver::curl,
};

use super::*;

/// Where the application of `b` speaks TLS, with HTTP/1.1 and 2 by ALPN.
const TLS_APP: u16 = 3443;

/// A sidecar in front of clients, to `far`.
pub(super) fn near(world: &World) -> Setup {
    Setup::new(world, &world.a).with(format!(
        r#"
[upstream.far]
addresses = ["{}"]
wire = "tls"
identity = "own"
expect = ["b.example.org"]
[[listener]]
name = "near"
bind = "127.0.0.1:{NEAR}"
mode = "http"
[[listener.route]]
name = "all"
upstream = "far"
"#,
        world.b.at(FAR)
    ))
}

/// A gateway in front of the application: TLS of this mode, or plain text without one.
pub(super) fn far(world: &World, tls: Option<&str>, http: &str) -> Setup {
    let tls = match tls {
        None => String::new(),
        Some("mutual") => {
            "tls = { mode = \"mutual\", identities = [\"own\"], allow = [\"a.example.org\"] }"
                .into()
        }
        Some(mode) => format!("tls = {{ mode = \"{mode}\", identities = [\"own\"] }}"),
    };
    Setup::new(world, &world.b).with(format!(
        r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
[upstream.app-tls]
addresses = ["127.0.0.1:{TLS_APP}"]
wire = "tls"
expect = ["b.example.org"]
[[listener]]
name = "far"
bind = "0.0.0.0:{FAR}"
mode = "http"
{tls}
[listener.http]
{http}
[[listener.route]]
name = "tls"
hosts = ["b.example.org"]
upstream = "app-tls"
[[listener.route]]
name = "all"
upstream = "app"
"#
    ))
}

#[track_caller]
fn served(daemon: &Daemon, least: u64) {
    let records = daemon.wait_records(least as usize);
    let refused: Vec<_> = records
        .iter()
        // Go and wrk drop connections that they find they do not need.
        .filter(|record| !fine(record.reason()) && record.bytes_up() > 0)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn gos_client_and_server_do_through_a_pair_in_mode_http_what_they_do_without_one() {
    let world = World::pair();
    let far = far(&world, Some("mutual"), "").start();
    let near = near(&world).start();
    let _server = world.b.go_server(local(APP), None);
    let asking = Asking {
        bytes: load(64 << 20),
        requests: load(1_000),
        ..Asking::default()
    };
    let url = format!("http://{}", local(NEAR));
    let found = world.a.go_client(&url, asking, &CASES);
    assert_eq!(found[0]["connections"], 1, "{}", found[0]);
    for daemon in [&near, &far] {
        served(daemon, load(1_000) * 2);
    }
}

/// In HTTP/2 at both ends, with messages that go both ways in one request.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn gos_client_and_server_do_in_http_2_through_a_gateway_what_they_do_without_one() {
    let world = World::pair();
    let far = far(&world, Some("simple"), "").start();
    let own = world.pki.credential('b', Flaw::None);
    let _server = world.b.go_server(local(TLS_APP), Some(&own));
    let _plain = world.b.go_server(local(APP), None);
    let mut asking = Asking {
        bytes: load(64 << 20),
        requests: load(1_000),
        http2: true,
        trusts: Some(&world.pki),
        shows: None,
        name: "b.example.org",
    };
    let mut cases = CASES.to_vec();
    // HTTP/2 has no upgrade, and hyper no 100 (Continue) in it.
    cases.retain(|case| !["upgrade", "continue"].contains(case));
    cases.push("messages");
    let url = format!("https://b.example.org:{FAR}");
    let found = world
        .a
        .go_client_at(&url, Some(world.b.at(FAR)), asking, &cases);
    for case in &found {
        assert_eq!(case["connections"], 1, "{case}");
        let proto = &case["proto"];
        assert!(proto.is_null() || proto == "HTTP/2.0", "{case}");
    }
    // From HTTP/2 to HTTP/1.1 and back, and the other way round.
    asking.requests = load(300);
    asking.bytes = load(8 << 20);
    cases.retain(|case| *case != "messages");
    let plain = format!("https://{}", world.b.at(FAR));
    let found = world.a.go_client(&plain, asking, &cases);
    assert_eq!(found[0]["connections"], 1, "{}", found[0]);
    asking.http2 = false;
    let found = world
        .a
        .go_client_at(&url, Some(world.b.at(FAR)), asking, &cases);
    let upload = found
        .iter()
        .find(|found| found["case"] == "upload")
        .unwrap();
    assert_eq!(
        (&upload["answered"], &upload["proto"]),
        (&"HTTP/1.1".into(), &"HTTP/2.0".into())
    );
    served(&far, load(2_000));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn wrk_and_h2load_lose_no_request_in_mode_http() {
    let world = World::pair();
    let far = far(&world, Some("simple"), "").start();
    let _server = world.b.go_server(local(APP), None);
    let url = format!("https://{}/bytes?n=1000", world.b.at(FAR));
    let total = load(20_000);
    let count = total.to_string();
    for more in [&["-c", "10", "-m", "50"][..], &["-c", "32", "--h1"]] {
        let made = world.a.h2load(&url, &[&["-n", &count], more].concat());
        assert_eq!(made, total);
    }
    served(&far, 2 * total);
    assert!(world.a.wrk(&url, &["-t2", "-c64", "-d2s"]) > 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn curl_and_nghttp_upload_in_all_ways_and_get_heads_in_mode_http() {
    let world = World::pair();
    let far = far(&world, None, "").start();
    let _server = world.b.go_server(local(APP), None);
    let to = world.b.at(FAR);
    let said = |more: &[&str]| curl(&world.a, to, more).expect_code(0);
    let file = world.a.dir().join("body").display().to_string();
    let length = load(8 << 20);
    said(&["-o", &file, &format!("http://{to}/bytes?n={length}")]);
    let data = format!("@{file}");
    let all = format!(r#""received":{length}"#);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let with = |more: &[&str]| {
            let got = said(&[&[version, "--data-binary", &data], more].concat());
            assert!(got.stdout.contains(&all), "{got}");
            got
        };
        let waited = with(&["-H", "Expect: 100-continue", "--verbose"]);
        // hyper sends none in HTTP/2: there curl goes on after a second.
        let told = waited.stderr.contains("HTTP/1.1 100 Continue");
        assert_eq!(told, version == "--http1.1", "{waited}");
        with(&["--limit-rate", "8M"]);
        let head = said(&[version, "--head"]);
        assert!(head.stdout.contains(" 200"), "{head}");
        let large = format!("X-Large: {}", "h".repeat(60_000));
        let large = said(&[version, "-H", &large]);
        assert!(large.stdout.contains(r#""head":60"#), "{large}");
        let larger = format!("X-Large: {}", "h".repeat(100_000));
        let refused = curl(
            &world.a,
            to,
            &[
                version,
                "-H",
                &larger,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
            ],
        );
        assert!(
            ["431", "000"].contains(&refused.stdout.as_str()),
            "{refused}"
        );
    }
    let chunks = said(&["--data-binary", &data, "-H", "Transfer-Encoding: chunked"]);
    assert!(chunks.stdout.contains(r#""chunked":true"#), "{chunks}");
    let url = format!("http://{to}/");
    let words = ["--verbose", "--expect-continue", "--data", &file, &url];
    let nghttp = world.a.run("nghttp", &words).expect_code(0);
    for word in [":status: 200", &all] {
        assert!(nghttp.stdout.contains(word), "no {word} in {nghttp}");
    }
    drop(far);
}

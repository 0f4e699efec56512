//! TLS that is not ours, by the server name that clients ask for.

use harness::{Running, process::Finished, webserver::haproxy_tls};

use super::*;

/// Where it listens, and the two servers behind it.
const FRONT: u16 = 8443;
const ONE: u16 = 4001;
const TWO: u16 = 4002;

fn front(world: &World, more: &str) -> Setup {
    Setup::new(world, &world.b).with(format!(
        r#"
[upstream.one]
addresses = ["127.0.0.1:{ONE}"]
send_proxy = "v2"
[upstream.two]
addresses = ["127.0.0.1:{TWO}"]
[[listener]]
name = "front"
bind = "0.0.0.0:{FRONT}"
mode = "tls-passthrough"
{more}
"#
    ))
}

const SERVERS: &str = "servers = { \"b.example.org\" = \"one\", \"*.b.example.org\" = \"two\" }";

/// Two servers that require a client certificate, of which the first requires a PROXY header.
fn servers(world: &World) -> Running {
    let credential = world.pki.credential('b', Flaw::None);
    let tls = haproxy_tls(&credential, &world.pki);
    let frontend = |name: &str, port: u16, more: &str| {
        format!(
            "frontend {name}\n    bind 127.0.0.1:{port} {tls} {more}\n    http-request return \
             status 200 content-type text/plain lf-string \"{name} %[ssl_fc_sni] \
             %[ssl_c_s_dn(cn)] %[src]\"\n"
        )
    };
    let body = frontend("one", ONE, "accept-proxy") + &frontend("two", TWO, "");
    haproxy(&world.b, &body, TWO)
}

/// Asks for a page of `name`, with a client certificate.
fn fetch(world: &World, name: &str, more: &[&str]) -> Finished {
    let own = world.pki.credential('a', Flaw::None);
    let [bundle, certificate, key] =
        [&world.pki.bundle(), &own.certificate, &own.key].map(|path| path.display().to_string());
    let at = format!("{name}:{FRONT}:{}", world.b.v4());
    let url = format!("https://{name}:{FRONT}/");
    let words = [
        &["--silent", "--show-error", "--max-time", "20"][..],
        &["--resolve", &at, "--cacert", &bundle],
        &["--cert", &certificate, "--key", &key, &url],
        more,
    ];
    world.a.run("curl", &words.concat())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_clients_tls_goes_as_it_is_to_the_server_that_has_its_name() {
    let world = World::pair();
    let daemon = front(&world, SERVERS).start();
    let _servers = servers(&world);
    // The server ends it: its certificate is verified, and the client's comes to it.
    let page = fetch(&world, "b.example.org", &[]).expect_code(0).stdout;
    assert_eq!(page, "one b.example.org a.example.org 10.88.0.1");
    for name in ["X.b.example.org", "y.x.b.example.org"] {
        let page = fetch(&world, name, &["--insecure"]).expect_code(0).stdout;
        let name = name.to_lowercase();
        assert_eq!(page, format!("two {name} a.example.org 127.0.0.1"));
    }
    let records = daemon.wait_records(3);
    let names = ["b.example.org", "x.b.example.org", "y.x.b.example.org"];
    for (record, (name, port)) in records.iter().zip(names.into_iter().zip([ONE, TWO, TWO])) {
        assert_eq!(record.server_name(), name, "{record}");
        assert_eq!(record.upstream(), local(port).to_string(), "{record}");
        // As it is: none of it is ours.
        assert_eq!(record.carriage(), "plain", "{record}");
        assert_eq!((record.tls_version(), record.own_identity()), ("", ""));
        assert_eq!(record.reason(), "", "{record}");
        assert!(record.bytes_up() > 1000, "the hello too: {record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_name_that_nobody_has_gets_the_alert_and_plain_text_a_reset_and_no_server_sees_either() {
    let world = World::pair();
    let daemon = front(&world, SERVERS).start();
    // What comes to a server is answered and counted by it.
    let apps = [ONE, TWO].map(|port| world.b.serve(&[local(port)], &[]));
    let to = world.b.at(FRONT);
    for words in [
        &["-servername", "b.example.org.evil.example"][..],
        &["-noservername"],
    ] {
        let said = world.a.openssl_client(to, None, words, "hello");
        assert!(said.stderr.contains("unrecognized name"), "{said}");
    }
    expect_reset(&world, to);
    let records = daemon.wait_records(3);
    assert_eq!(records[0].server_name(), "b.example.org.evil.example");
    let reasons: Vec<_> = records.iter().map(|record| record.reason()).collect();
    assert_eq!(
        reasons,
        ["unknown-server-name", "unknown-server-name", "plaintext"]
    );
    for app in &apps {
        assert!(app.accepted().is_empty());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_reload_takes_a_name_from_new_connections_and_gives_it_to_all_others_where_there_is_somebody() {
    let world = World::pair();
    let mut daemon = front(&world, SERVERS).start();
    let server = world.pki.credential('b', Flaw::None);
    let mut two = world.b.openssl_server(TWO, &server, &[]);
    let to = world.b.at(FRONT);
    let name = ["-servername", "x.b.example.org"];
    let mut open = world.a.start_openssl_client(to, None, &name, "first");
    two.line("its bytes", |line| line.contains("first").then_some(()));
    reload(&mut daemon, 1, "\"*.b.example.org\"", "\"*.c.example.org\"");
    let said = world.a.openssl_client(to, None, &name, "nobody");
    assert!(said.stderr.contains("unrecognized name"), "{said}");
    let mode = "mode = \"tls-passthrough\"";
    reload(&mut daemon, 2, mode, &format!("{mode}\nupstream = \"two\""));
    open.tell("second");
    two.line("its bytes", |line| line.contains("second").then_some(()));
    // s_server takes one after another.
    drop(open);
    let other = ["-noservername"];
    let _open = world.a.start_openssl_client(to, None, &other, "third");
    two.line("its bytes", |line| line.contains("third").then_some(()));
}

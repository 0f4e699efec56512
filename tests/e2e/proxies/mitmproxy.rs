//! mitmproxy from PyPI in its transparent mode, on top of `redirect`.

use std::net::SocketAddr;

use harness::{
    Credential, Flaw, Running, World,
    daemon::Setup,
    proxies::{mitmdump, redirect},
    webserver::nginx,
};

/// A page over HTTP and HTTPS, over both families.
fn page(credential: &Credential) -> String {
    format!(
        r#"    server {{
        listen 7000;
        listen [::]:7000;
        listen 7443 ssl;
        listen [::]:7443 ssl;
        ssl_certificate {};
        ssl_certificate_key {};
        return 200 "$scheme from $remote_addr\n";
    }}"#,
        credential.certificate.display(),
        credential.key.display(),
    )
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn mitmproxy_reads_redirected_http_and_https_of_both_families() {
    let world = World::pair();
    let credential = world.pki.credential('b', Flaw::None);
    let _server = nginx(&world.b, &page(&credential), 7443);
    let own = world.a.apps().child("mitmproxy");
    let folder = world.a.dir().join("mitmproxy");
    let mut command = world.a.command_in(own.path(), mitmdump());
    command
        .args(["--mode", "transparent", "--listen-port", "12345"])
        .arg("--set")
        .arg(format!("confdir={}", folder.display()))
        .arg("--set")
        .arg(format!(
            "ssl_verify_upstream_trusted_ca={}",
            world.pki.bundle().display()
        ));
    let mut mitmproxy = Running::spawn(command);
    let daemon = Setup::new(&world, &world.a)
        .with(redirect(
            "other",
            &["127.0.0.1:12345", "[::1]:12345"],
            "7000-7999",
        ))
        .start();
    daemon.wait_proxy("other", "serving");

    let authority = folder.join("mitmproxy-ca-cert.pem");
    let mut fetch = |scheme: &str, to: SocketAddr| {
        let url = format!("{scheme}://{to}/");
        let fetched = world
            .a
            .spawn(
                "curl",
                &[
                    "--silent",
                    "--show-error",
                    "--max-time",
                    "20",
                    "--cacert",
                    &authority.display().to_string(),
                    &url,
                ],
            )
            .finish()
            .expect_code(0);
        let from = if to.is_ipv4() { "10.88.0.1" } else { "fd88::1" };
        assert_eq!(fetched.stdout, format!("{scheme} from {from}"), "{fetched}");
        // Its log of what it read, encrypted or not; it writes no brackets.
        let read = format!("GET {scheme}://{}:{}/", to.ip(), to.port());
        mitmproxy.line(&read, |line| line.contains(&read).then_some(()));
    };
    fetch("http", world.b.at(7000));
    fetch("https", world.b.at(7443));
    fetch("http", world.b.at6(7000));
    fetch("https", world.b.at6(7443));
    let counters = daemon.ask("status")["counters"].clone();
    assert_eq!(counters["redirected_to_proxy"], 4, "{counters}");
}

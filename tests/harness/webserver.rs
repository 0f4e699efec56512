//! HAProxy and NGINX as Debian ships them, in the foreground with their files in a host's folder.

use std::net::SocketAddr;

use crate::{
    host::Host,
    pki::{Credential, Pki},
    process::Running,
    wait::holds,
};

/// HAProxy, with `body` for its frontends and backends.
#[track_caller]
pub fn haproxy(host: &Host, body: &str, port: u16) -> Running {
    let config = host.write(
        "haproxy.cfg",
        &format!(
            r"global
    maxconn 100
    log stderr local0
defaults
    mode http
    log global
    timeout connect 5s
    timeout client 20s
    timeout server 20s
{body}"
        ),
    );
    let path = config.display().to_string();
    let mut running = host.spawn("haproxy", &["-db", "-f", &path]);
    wait_listening(host, &mut running, port);
    running
}

/// NGINX in a single process, with `body` inside `http { }`.
#[track_caller]
pub fn nginx(host: &Host, body: &str, port: u16) -> Running {
    run_nginx(host, "master_process off;", body, port)
}

/// NGINX with a master, which starts new workers on SIGHUP.
#[track_caller]
pub fn nginx_with_workers(host: &Host, body: &str, port: u16, workers: u32) -> Running {
    let processes = format!("worker_processes {workers};");
    run_nginx(host, &processes, body, port)
}

#[track_caller]
fn run_nginx(host: &Host, processes: &str, body: &str, port: u16) -> Running {
    let dir = host.dir().join("nginx");
    std::fs::create_dir_all(&dir).expect("make a folder");
    let at = dir.display();
    let config = host.write(
        "nginx.conf",
        &format!(
            r"daemon off;
{processes}
user root;
pid {at}/pid;
error_log stderr info;
events {{ worker_connections 100; }}
http {{
    access_log {at}/access.log;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
{body}
}}
"
        ),
    );
    let path = config.display().to_string();
    let mut running = host.spawn("nginx", &["-e", "stderr", "-c", &path]);
    wait_listening(host, &mut running, port);
    running
}

/// `bind` or `server` options of HAProxy for mutual TLS 1.3.
pub fn haproxy_tls(credential: &Credential, pki: &Pki) -> String {
    format!(
        "ssl crt {} ca-file {} verify required ssl-min-ver TLSv1.3",
        credential.both.display(),
        pki.bundle().display()
    )
}

/// An NGINX server that answers mutual TLS 1.3 with the name in the client's certificate.
pub fn nginx_tls_page(credential: &Credential, pki: &Pki, port: u16) -> String {
    format!(
        r#"    server {{
        listen {port} ssl;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_client_certificate {};
        ssl_verify_client on;
        ssl_protocols TLSv1.3;
        return 200 "client $ssl_client_s_dn over $ssl_protocol from $remote_addr\n";
    }}"#,
        credential.certificate.display(),
        credential.key.display(),
        pki.bundle().display()
    )
}

/// Fetches with an unmodified curl.
#[track_caller]
pub fn curl(host: &Host, to: SocketAddr, more: &[&str]) -> crate::process::Finished {
    let url = format!("http://{to}/");
    let words = [
        &["--silent", "--show-error", "--max-time", "20"],
        more,
        &[&url],
    ]
    .concat();
    host.run("curl", &words)
}

/// Asks the kernel rather than connecting: a connection would be counted and logged.
#[track_caller]
fn wait_listening(host: &Host, running: &mut Running, port: u16) {
    holds(&format!("a listener on port {port}"), || {
        assert!(!running.has_ended(), "it ended\n{}", running.said());
        let sockets = host.run("ss", &["-Hltn", &format!("sport = :{port}")]);
        !sockets.stdout.trim().is_empty()
    });
}

//! The mesh: an unmodified HTTP server on one host, unmodified curl on the other, and mutual TLS
//! between them that neither knows of.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::{
    capture::Capture,
    daemon::Daemon,
    host::{Host, Running},
    proof::Proofs,
    stage::Stage,
};
use crate::cmd;

mod claims;
mod views;

/// Where the server listens; the rules of the example name this port.
const SERVER: &str = "10.77.0.2:8080";
/// The same pages on a port that no rule names: the way without Sidetrack.
const DIRECT: &str = "10.77.0.2:8000";
const CLIENT_ID: &str = "spiffe://example.org/front";
const SERVER_ID: &str = "spiffe://example.org/web";

/// What the server serves.
struct Site {
    /// A text that occurs nowhere else, all over the page.
    marker: String,
    page: Vec<u8>,
}

/// Everything that stands while claims are judged.
struct Mesh<'a> {
    a: &'a Host<'a>,
    b: &'a Host<'a>,
    client: &'a Daemon<'a>,
    server: &'a Daemon<'a>,
    http: &'a Running,
    site: &'a Site,
}

pub(super) fn play(stage: &Stage, proofs: &mut Proofs) -> Result<()> {
    println!(
        "\n\
         host A 10.77.0.1                                            host B 10.77.0.2\n\
         curl ── sidetrack ═════════════ TLS 1.3 ═════════════ sidetrack ── python3 -m http.server\n"
    );
    let (a, b) = Host::pair(stage)?;
    let site = Site::make(stage)?;
    certificates(stage)?;
    // Before the daemons, so that the first handshake is in it.
    let capture = Capture::start(&b)?;
    let http = http_server(&b, "http", SERVER)?;
    let server = Daemon::start(&b, "mesh", "server.toml")?;
    let client = Daemon::start(&a, "mesh", "client.toml")?;
    let mesh = Mesh {
        a: &a,
        b: &b,
        client: &client,
        server: &server,
        http: &http,
        site: &site,
    };

    proofs.judge(
        &format!("curl http://{SERVER}/ on host A gets the page"),
        mesh.page_arrives(),
    );
    let captured = capture.finish()?;
    proofs.judge(
        "the wire carried TLS 1.3 and nothing that can be read",
        mesh.wire_is_encrypted(&captured),
    );
    proofs.judge(
        "the server's own log shows the client's real address",
        mesh.server_saw_client(),
    );
    proofs.judge(
        "no iptables or nftables rule exists on either host",
        mesh.no_rules(),
    );
    proofs.judge(
        "both ends recorded the connection, with both identities",
        mesh.records(),
    );
    proofs.judge(
        "plain text from outside the redirected cgroup is refused",
        mesh.plaintext_is_refused(),
    );
    proofs.judge("status says what is attached on both hosts", mesh.status());
    proofs.judge(
        "connections shows a slow download while it runs",
        mesh.connections(),
    );
    let _direct = http_server(&b, "direct", DIRECT)?;
    proofs.judge("latency to the first byte", mesh.latency());
    Ok(())
}

impl Site {
    fn make(stage: &Stage) -> Result<Self> {
        let marker = stage.name("this-page-is-a-secret");
        let page = format!(
            "<html>{}</html>\n",
            format!("<p>{marker}</p>\n").repeat(500)
        )
        .into_bytes();
        let folder = stage.folder().join("site");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
        };
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        write("index.html", &page)?;
        write("small.txt", b"hello\n")?;
        write("large.bin", b"")?;
        // Sparse; more than all buffers on the way can take.
        fs::File::options()
            .write(true)
            .open(folder.join("large.bin"))
            .and_then(|file| file.set_len(256 << 20))
            .context("making large.bin")?;
        Ok(Self { marker, page })
    }
}

/// A CA, and one leaf for each host, made by Sidetrack's own `certs`.
fn certificates(stage: &Stage) -> Result<()> {
    let sidetrack = || {
        let mut command = Command::new(stage.binary());
        command.arg("certs").current_dir(stage.folder());
        command
    };
    cmd::output(sidetrack().args(["init", "--dir", ".", "--trust-domain", "example.org"]))?;
    for (name, id) in [("front", CLIENT_ID), ("web", SERVER_ID)] {
        cmd::output(sidetrack().args(["issue", "--dir", ".", name, "--spiffe", id]))?;
    }
    Ok(())
}

/// The unmodified server; returns when it listens.
fn http_server(host: &Host<'_>, name: &str, address: &str) -> Result<Running> {
    let (ip, port) = address.split_once(':').context("an address has a port")?;
    let mut command = host.application("python3");
    command.args([
        "-u",
        "-m",
        "http.server",
        port,
        "--bind",
        ip,
        "--directory",
        "site",
    ]);
    let mut running = Running::start(host.stage, name, &mut command)?;
    running.wait_until("serving", |server| {
        server.output().contains("Serving HTTP on")
    })?;
    Ok(running)
}

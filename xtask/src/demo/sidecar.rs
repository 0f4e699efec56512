//! The sidecar pair: an HTTP server and curl speak plain text to the Sidetrack beside them, which is
//! mutual TLS between the hosts. Nothing is intercepted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    capture::Capture,
    daemon::Daemon,
    host::{Host, Running, output_of, poll},
    proof::Proofs,
    stage::Stage,
};

/// Where the application on host A is pointed, and the server's side on host B.
const NEAR: &str = "http://127.0.0.1:8080/";
const FAR: &str = "10.77.0.2:8081";
const CLIENT_ID: &str = "spiffe://example.org/client";
const SERVER_ID: &str = "spiffe://example.org/server";

type Verdict = Result<String, String>;

/// Everything that stands while claims are judged.
struct Pair<'a> {
    a: &'a Host<'a>,
    b: &'a Host<'a>,
    client: &'a Daemon<'a>,
    server: &'a Daemon<'a>,
}

pub(super) fn play(stage: &Stage, proofs: &mut Proofs) -> Result<()> {
    println!(
        "\n\
         host A                                                          host B 10.77.0.2\n\
         curl ── 127.0.0.1:8080 sidetrack ═════ TLS 1.3 ═════ :8081 sidetrack ── 127.0.0.1:3000 http.server\n"
    );
    stage.certificates()?;
    let (a, b) = Host::pair(stage)?;
    let capture = Capture::start(&b)?;
    let there = [("addresses", format!("[{FAR:?}]"))];
    // Whichever starts first waits for the other.
    let client = Daemon::with(&a, "sidecar", "client.toml", &there)?;
    let server = Daemon::with(&b, "sidecar", "server.toml", &[])?;
    let http = http_server(&b)?;
    let pair = Pair {
        a: &a,
        b: &b,
        client: &client,
        server: &server,
    };
    proofs.judge(
        &format!("curl {NEAR} on host A gets the page of host B"),
        pair.page_arrives(),
    );
    let captured = capture.finish()?;
    proofs.judge(
        "the wire carried TLS and nothing that can be read",
        captured.is_encrypted(&["GET /", "HTTP/1.", "Directory listing"]),
    );
    proofs.judge(
        "both ends recorded the connection, with both identities",
        pair.records(),
    );
    proofs.judge(
        "a client without a certificate is told that one is required",
        pair.refuses(),
    );
    drop(http);
    proofs.judge(
        "while the server is down connections are refused at once",
        pair.is_down(),
    );
    let _http = http_server(&b)?;
    proofs.judge("that it is back is noticed", pair.is_back());
    Ok(())
}

fn http_server(host: &Host<'_>) -> Result<Running> {
    let mut command = host.application("python3");
    command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "3000"]);
    command.current_dir(host.stage.folder());
    let mut running = Running::start(host.stage, "http", &mut command)?;
    let mut probe = host.application("curl");
    probe.args([
        "--silent",
        "--output",
        "/dev/null",
        "http://127.0.0.1:3000/",
    ]);
    running.wait_until("listening", |_| {
        output_of(&mut probe).is_ok_and(|output| output.status.success())
    })?;
    Ok(running)
}

impl Pair<'_> {
    fn page_arrives(&self) -> Verdict {
        // The server's side may still be on its way up for the client's.
        let page = poll(Duration::from_secs(10), || {
            let output = output_of(&mut self.a.curl(&[NEAR])).ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.contains("Directory listing").then_some(text)
        });
        let page = page.ok_or("expected the page, and got none within 10 s")?;
        Ok(format!("{} bytes", page.len()))
    }

    fn records(&self) -> Verdict {
        let of = |daemon: &Daemon<'_>, own: &str, peer: &str| {
            let wanted = |record: &Value| {
                record["identity"] == own
                    && record["peer_identity"] == peer
                    && record["reason"].is_null()
            };
            daemon.record(wanted).map_err(|error| format!("{error:#}"))
        };
        let near = of(self.client, CLIENT_ID, SERVER_ID)?;
        let far = of(self.server, SERVER_ID, CLIENT_ID)?;
        Ok(format!("A {near}\n    B {far}"))
    }

    fn refuses(&self) -> Verdict {
        let url = format!("https://{FAR}/");
        let output = output_of(&mut self.a.curl(&["--insecure", &url]))
            .map_err(|error| format!("{error:#}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("certificate required") {
            Ok(said)
        } else {
            Err(format!(
                "expected the alert \"certificate required\", curl said: {said:?}"
            ))
        }
    }

    fn is_down(&self) -> Verdict {
        let down = poll(Duration::from_secs(10), || {
            let _ = output_of(&mut self.a.curl(&[NEAR]));
            let status = self.server.says_json("status").ok()?;
            let endpoint = status.pointer("/upstreams/0/endpoints/0")?.clone();
            (endpoint.pointer("/up") == Some(&Value::Bool(false))).then_some(endpoint)
        });
        let endpoint =
            down.ok_or("expected status to say that it is down, and it did not within 10 s")?;
        let output = output_of(&mut self.a.curl(&[NEAR])).map_err(|error| format!("{error:#}"))?;
        if output.status.success() {
            return Err("expected a refusal, and curl got an answer".into());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(format!("{said}\n    status: {endpoint}"))
    }

    fn is_back(&self) -> Verdict {
        let answered = poll(Duration::from_secs(10), || {
            let output = output_of(&mut self.a.curl(&[NEAR])).ok()?;
            output.status.success().then_some(())
        });
        answered.ok_or("expected an answer within 10 s")?;
        Ok(format!(
            "curl on host A is answered again by host {}",
            self.b.letter
        ))
    }
}

impl Daemon<'_> {
    /// What a reading command of the daemon says as JSON, also while it exits with 1.
    fn says_json(&self, command: &str) -> Result<Value> {
        let text = self.says_with(&[command, "--json"])?;
        serde_json::from_str(&text).context("reading JSON")
    }
}

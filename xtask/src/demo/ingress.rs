//! The ingress gateway, and the reverse proxy in front of it, which shows it a certificate.

use std::{process::Command, time::Duration};

use anyhow::Result;

use super::{
    capture::Capture,
    daemon::Daemon,
    example,
    host::{Host, Running, output_of, poll},
    proof::Proofs,
    stage::Stage,
};

const SITE: &str = "www.example.org";
const GATEWAY: &str = "10.77.0.2:8443";
const CLIENT_ID: &str = "spiffe://example.org/client";
const APP: &str = "http://127.0.0.1:8000/status/200";
/// What a client must not be able to say of itself.
const FORGED: &str = "192.0.2.66";

type Verdict = Result<String, String>;

/// Everything that stands while claims are judged.
struct Ingress<'a> {
    stage: &'a Stage,
    a: &'a Host<'a>,
    proxy: &'a Daemon<'a>,
}

pub(super) fn play(stage: &Stage, proofs: &mut Proofs) -> Result<()> {
    println!(
        "\n\
         host A                                                    host B 10.77.0.2\n\
         curl ── :80, :443 sidetrack proxy ═════ mutual TLS 1.3 ═════ :8443 sidetrack gateway ── 127.0.0.1:8000 app\n"
    );
    stage.certificates()?;
    let (a, b) = Host::pair(stage)?;
    let capture = Capture::start(&b)?;
    let there = [("addresses", format!("[{GATEWAY:?}]"))];
    let proxy = Daemon::with(&a, "ingress", "proxy.toml", &there)?;
    let _gateway = Daemon::with(&b, "ingress", "gateway.toml", &[])?;
    let app = app(&b)?;
    let ingress = Ingress {
        stage,
        a: &a,
        proxy: &proxy,
    };
    proofs.judge("port 80 answers 301 to https", ingress.redirects());
    for (path, expected, claim) in [
        ("/status/418", "2 418", "/status/418 is routed, by HTTP/2"),
        ("/statusx", "2 404", "/statusx is not below /status: 404"),
        ("/", "2 404", "what no route fits is answered 404"),
        ("/delay/1", "2 200", "/delay/1 is routed"),
        (
            "/delay/5",
            "2 504",
            "/delay/5 takes longer than its route lets it",
        ),
    ] {
        proofs.judge(claim, ingress.answers(path, expected));
    }
    proofs.judge(
        "what a client says of itself in forwarded headers does not reach the application",
        ingress.announces(),
    );
    proofs.judge(
        "a client that shows its certificate is known by it, at the proxy and to the application",
        ingress.knows(),
    );
    proofs.judge(
        "without a certificate the gateway says that one is required",
        ingress.refuses(),
    );
    proofs.judge("a WebSocket passes both", ingress.upgrades());
    let captured = capture.finish()?;
    proofs.judge(
        "the wire carried TLS and nothing that can be read",
        captured.is_encrypted(&["/status", "HTTP/1.", SITE]),
    );
    drop(app);
    proofs.judge(
        "while the application is down clients are answered 503",
        ingress.answers_at_last("/status/200", "2 503"),
    );
    let _app = self::app(&b)?;
    proofs.judge(
        "that it is back is noticed",
        ingress.answers_at_last("/status/200", "2 200"),
    );
    Ok(())
}

fn app(host: &Host<'_>) -> Result<Running> {
    let mut command = host.application("python3");
    command.arg("-u").arg(example("ingress").join("app.py"));
    let mut running = Running::start(host.stage, "app", &mut command)?;
    let mut probe = host.curl(&["--output", "/dev/null", APP]);
    running.wait_until("listening", |_| {
        output_of(&mut probe).is_ok_and(|output| output.status.success())
    })?;
    Ok(running)
}

impl Ingress<'_> {
    /// curl as somebody from outside, who trusts the CA and knows where the site is.
    fn curl(&self, more: &[&str]) -> Command {
        let bundle = self.certificate("ca.crt");
        let at = |port: u16| format!("{SITE}:{port}:127.0.0.1");
        let (http, https) = (at(80), at(443));
        let mut all = vec!["--cacert", &bundle, "--resolve", &http, "--resolve", &https];
        all.extend_from_slice(more);
        self.a.curl(&all)
    }

    fn certificate(&self, file: &str) -> String {
        let file = self.stage.certificates_folder().join(file);
        file.to_string_lossy().into_owned()
    }

    fn said(&self, arguments: &[&str]) -> Result<String, String> {
        let output = output_of(&mut self.curl(arguments)).map_err(|error| format!("{error:#}"))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(text);
        }
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("curl failed: {error} {text}"))
    }

    fn redirects(&self) -> Verdict {
        let asked = format!("http://{SITE}/status/200?x=1");
        let format = "%{http_code} %{redirect_url}";
        let said = self.said(&["--output", "/dev/null", "--write-out", format, &asked])?;
        expect(said, &format!("301 https://{SITE}/status/200?x=1"))
    }

    fn answers(&self, path: &str, expected: &str) -> Verdict {
        let asked = format!("https://{SITE}{path}");
        let format = "%{http_version} %{http_code}";
        let said = self.said(&["--output", "/dev/null", "--write-out", format, &asked])?;
        expect(said, expected)
    }

    fn answers_at_last(&self, path: &str, expected: &str) -> Verdict {
        let found = poll(Duration::from_secs(10), || {
            self.answers(path, expected).ok()
        });
        found.ok_or_else(|| format!("expected {expected:?}, and it did not come within 10 s"))
    }

    fn announces(&self) -> Verdict {
        let asked = format!("https://{SITE}/status/200");
        let forged = [
            format!("X-Forwarded-For: {FORGED}"),
            format!("Forwarded: for={FORGED}"),
            format!("X-Forwarded-Client-Cert: URI={FORGED}"),
        ];
        let mut arguments = vec![asked.as_str()];
        for header in &forged {
            arguments.extend_from_slice(&["--header", header]);
        }
        let said = self.said(&arguments)?;
        let lower = said.to_ascii_lowercase();
        if said.contains(FORGED) || !lower.contains("x-forwarded-for") {
            return Err(format!("the application saw {said}"));
        }
        Ok(said)
    }

    fn knows(&self) -> Verdict {
        let asked = format!("https://{SITE}/status/200");
        let (certificate, key) = (
            self.certificate("client.crt"),
            self.certificate("client.key"),
        );
        // The gateway adds the proxy's certificate, which is of the same name in this example.
        for (shown, expected) in [
            (&[][..], 1),
            (&["--cert", certificate.as_str(), "--key", key.as_str()], 2),
        ] {
            let said = self.said(&[shown, &[asked.as_str()]].concat())?;
            let told = said.matches(&format!("URI={CLIENT_ID}")).count();
            if told != expected {
                return Err(format!(
                    "expected {expected} certificates in what the application was told, and it saw {said}"
                ));
            }
        }
        let record = self.proxy.record(|record| {
            record["direction"] == "listener"
                && record["peer_identity"] == CLIENT_ID
                && record["reason"].is_null()
        });
        let record = record.map_err(|error| format!("{error:#}"))?;
        Ok(record.to_string())
    }

    fn refuses(&self) -> Verdict {
        let asked = format!("https://{GATEWAY}/status/200");
        let output = output_of(&mut self.curl(&["--insecure", &asked]))
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

    fn upgrades(&self) -> Verdict {
        let asked = format!("https://{SITE}/status/101");
        let mut curl = self.curl(&[
            "--http1.1",
            "--include",
            "--no-buffer",
            // It stays open, for as long as somebody is there.
            "--max-time",
            "2",
            "--header",
            "Connection: Upgrade",
            "--header",
            "Upgrade: websocket",
            "--header",
            "Sec-WebSocket-Version: 13",
            "--header",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            &asked,
        ]);
        let output = output_of(&mut curl).map_err(|error| format!("{error:#}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // Of the key, by RFC 6455, section 1.3.
        for expected in [
            "101 Switching Protocols",
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "hello from the application",
        ] {
            if !said.contains(expected) {
                return Err(format!("expected {expected:?} in {said:?}"));
            }
        }
        Ok("101, and the application's greeting".into())
    }
}

fn expect(said: String, expected: &str) -> Verdict {
    if said == expected {
        Ok(said)
    } else {
        Err(format!("expected {expected:?}, and curl said {said:?}"))
    }
}

//! What the mesh claims, each judged by what was seen: `Ok` is what was seen, `Err` what was
//! expected and what was seen instead.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{
    cmd,
    demo::{
        capture::Captured,
        host::{Host, output_of},
        wire,
    },
};

use super::{CLIENT_ID, Mesh, SERVER, SERVER_ID};

pub(super) type Verdict = Result<String, String>;

impl Mesh<'_> {
    pub(super) fn page_arrives(&self) -> Verdict {
        let output = curl(&mut self.a.application("curl"), "")?;
        if !output.status.success() {
            return Err(format!("curl failed: {}", errors(&output)));
        }
        if output.stdout != self.site.page {
            return Err(format!(
                "expected the {} bytes of the page on disk, got {} other bytes",
                self.site.page.len(),
                output.stdout.len()
            ));
        }
        Ok(format!(
            "{} bytes, the same as on host B's disk",
            output.stdout.len()
        ))
    }

    pub(super) fn wire_is_encrypted(&self, captured: &Captured) -> Verdict {
        for secret in [self.site.marker.as_str(), "GET /", "HTTP/1."] {
            if wire::contains(&captured.raw, secret.as_bytes()) {
                return Err(format!(
                    "expected only TLS, and read {secret:?} in the capture"
                ));
            }
        }
        let (mut data, mut tls13, mut ciphertext) = (0, false, 0);
        for stream in &captured.streams {
            let ends = [stream.from, stream.to].map(|end| end.to_string());
            if !ends.iter().any(|end| end == SERVER) {
                return Err(format!(
                    "expected only streams of {SERVER}, and saw one of {} and {}",
                    stream.from, stream.to
                ));
            }
            let records = wire::records(&stream.bytes)
                .map_err(|what| format!("from {} to {}: {what}", stream.from, stream.to))?;
            data += records.application_data;
            tls13 |= records.chose_tls13;
            ciphertext += stream.bytes.len();
        }
        if !tls13 || data == 0 || ciphertext < self.site.page.len() {
            return Err(format!(
                "expected a TLS 1.3 ServerHello and the page in application data; \
                 saw {} streams, {data} such records, {ciphertext} bytes",
                captured.streams.len()
            ));
        }
        Ok(format!(
            "{data} application data records after a TLS 1.3 ServerHello, {ciphertext} bytes; \
             neither the page nor \"GET /\" among them"
        ))
    }

    pub(super) fn server_saw_client(&self) -> Verdict {
        let log = self.http.errors();
        let seen = log.lines().find(|line| line.contains("\"GET / "));
        match seen {
            Some(line) if line.starts_with("10.77.0.1 ") => Ok(line.to_owned()),
            Some(line) => Err(format!("expected 10.77.0.1, saw: {line}")),
            None => Err(format!(
                "expected a line of the request in {}",
                self.http.log.display()
            )),
        }
    }

    pub(super) fn no_rules(&self) -> Verdict {
        let listings = [
            ("nft", &["list", "ruleset"][..]),
            ("iptables-save", &[]),
            ("ip6tables-save", &[]),
        ];
        for host in [self.a, self.b] {
            for (program, args) in listings {
                let rules = rules(host, program, args)?;
                if !rules.is_empty() {
                    return Err(format!(
                        "expected no rule, {program} on host {} shows: {rules}",
                        host.letter
                    ));
                }
            }
        }
        Ok("nft list ruleset, iptables-save and ip6tables-save show none".to_owned())
    }

    pub(super) fn plaintext_is_refused(&self) -> Verdict {
        let before = self.http.errors();
        let output = curl(&mut self.a.outsider("curl"), "")?;
        if output.status.success() || !output.stdout.is_empty() {
            return Err(format!(
                "expected a refusal, curl got {} bytes",
                output.stdout.len()
            ));
        }
        if self.http.errors() != before {
            return Err(
                "expected the server to see nothing, and its log has a new line".to_owned(),
            );
        }
        Ok(errors(&output))
    }

    pub(super) fn records(&self) -> Verdict {
        let client = self
            .client
            .record(|record| names(record, CLIENT_ID, SERVER_ID))
            .map_err(|error| format!("host A: expected {CLIENT_ID} to {SERVER_ID}: {error:#}"))?;
        let id = client.get("id");
        let server = self
            .server
            .record(|record| names(record, SERVER_ID, CLIENT_ID) && record.get("id") == id)
            .map_err(|error| {
                format!("host B: expected the connection {id:?} of host A: {error:#}")
            })?;
        for (record, key, expected) in [
            (&client, "destination", SERVER),
            (&server, "destination", SERVER),
            (&server, "source", "10.77.0.1:"),
        ] {
            let seen = record.get(key).and_then(Value::as_str).unwrap_or_default();
            if !seen.starts_with(expected) {
                return Err(format!("expected the {key} {expected}, saw {record}"));
            }
        }
        Ok(format!(
            "A {}\n    B {}",
            shorten(&client),
            shorten(&server)
        ))
    }
}

fn names(record: &Value, own: &str, peer: &str) -> bool {
    record.get("identity").is_some_and(|id| id == own)
        && record.get("peer_identity").is_some_and(|id| id == peer)
        && record.get("reason").is_none()
}

/// A record without what a screen has no room for.
fn shorten(record: &Value) -> String {
    let mut shown = record.clone();
    if let Some(fields) = shown.as_object_mut() {
        for key in ["time", "direction", "upstream", "pid", "uid", "duration_ms"] {
            fields.shift_remove(key);
        }
    }
    shown.to_string()
}

/// One request as a person would make it.
fn curl(command: &mut Command, path: &str) -> Result<Output, String> {
    command.args(["--silent", "--show-error", "--max-time", "10"]);
    command.arg(format!("http://{SERVER}/{path}"));
    output_of(command).map_err(|error| format!("{error:#}"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// The rules that a program lists, without comments and empty chains.
fn rules(host: &Host<'_>, program: &str, args: &[&str]) -> Result<String, String> {
    let path = cmd::which(program).ok_or_else(|| format!("{program} is not installed"))?;
    let listed =
        cmd::output(host.outsider(path).args(args)).map_err(|error| format!("{error:#}"))?;
    let rules = listed.lines().filter(|line| match program {
        "nft" => !line.is_empty(),
        _ => line.starts_with("-A"),
    });
    Ok(rules.collect::<Vec<_>>().join("; "))
}

use clap::Parser;
use tempfile::TempDir;

use super::*;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    certs: CertsArgs,
}

/// What a command line prints, or why it fails. `DIR` stands for the folder.
fn typed(dir: &TempDir, line: &str) -> Result<String, String> {
    let words = line
        .split_whitespace()
        .map(|word| word.replace("DIR", dir.path().to_str().unwrap()));
    let words = std::iter::once("certs".to_owned()).chain(words);
    let parsed = Typed::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    match &parsed.certs.command {
        Command::Init(args) => init(args, &mut out),
        Command::Issue(args) => issue(args, &mut out),
        Command::Show(args) => show(args, &mut out),
        Command::Dev(args) => dev(args, &mut out),
    }
    .map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_examples_of_the_help_work_and_say_what_comes_next() {
    let dir = TempDir::new().unwrap();
    let out = typed(&dir, "init --dir DIR/pki --trust-domain example.org").unwrap();
    assert!(out.contains("Next: issue a certificate"), "{out}");
    let line = "issue --dir DIR/pki web --spiffe spiffe://example.org/web --dns web.example.org";
    let out = typed(&dir, line).unwrap();
    assert!(out.contains("[identity.web]"), "{out}");
    typed(
        &dir,
        "issue --dir DIR/pki api --ip 10.1.0.5 --ip ::1 --hours 2",
    )
    .unwrap();
    let out = typed(
        &dir,
        "show DIR/pki/web.crt DIR/pki/api.crt --ca DIR/pki/ca.crt",
    )
    .unwrap();
    assert!(out.contains("spiffe://example.org/web"), "{out}");
    assert!(out.contains("yes, as a TLS client and server"), "{out}");
    let out = typed(&dir, "show DIR/pki/api.crt --json").unwrap();
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["ips"], serde_json::json!(["10.1.0.5", "::1"]));
    assert_eq!(json[0]["days_left"], 0);
}

#[test]
fn what_no_peer_would_accept_is_not_issued() {
    let dir = TempDir::new().unwrap();
    let early = typed(&dir, "issue --dir DIR web --dns a.example").unwrap_err();
    assert!(early.contains("sidetrack certs init --dir"), "{early}");
    typed(&dir, "init --dir DIR --trust-domain example.org").unwrap();
    for (line, says) in [
        ("issue --dir DIR web", "without names"),
        (
            "issue --dir DIR web --spiffe spiffe://other.example/web",
            "trust domain example.org",
        ),
        (
            "issue --dir DIR ../web --dns a.example",
            "becomes a file name",
        ),
        ("issue --dir DIR ca --dns a.example", "the authority"),
        (
            "issue --dir DIR web --dns a.example --days 0",
            "at least an hour",
        ),
        ("issue --dir DIR web --dns a..example", "DNS name"),
        (
            "issue --dir DIR web --spiffe http://example.org",
            "SPIFFE ID",
        ),
    ] {
        let error = typed(&dir, line).unwrap_err();
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[test]
fn an_authority_is_replaced_only_by_force_and_then_vouches_no_more() {
    let dir = TempDir::new().unwrap();
    typed(&dir, "init --dir DIR").unwrap();
    typed(&dir, "issue --dir DIR web --dns web.example").unwrap();
    let error = typed(&dir, "init --dir DIR").unwrap_err();
    assert!(error.contains("--force"), "{error}");
    typed(&dir, "show DIR/web.crt --ca DIR/ca.crt").unwrap();
    typed(&dir, "init --dir DIR --force").unwrap();
    let error = typed(&dir, "show DIR/web.crt --ca DIR/ca.crt").unwrap_err();
    assert!(error.contains("1 of 1"), "{error}");
}

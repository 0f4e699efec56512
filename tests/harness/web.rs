//! HTTP by programs of others: Go's net/http at both ends (`tests/clients/web`), wrk, h2load.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{
    clients::go,
    host::Host,
    peer::{self, parse},
    pki::{Credential, Pki},
    process::{Finished, Running},
    wait::DEADLINE,
};

/// What Go's client does beside its cases.
#[derive(Clone, Copy, Default)]
pub struct Asking<'a> {
    /// Bytes of each large body.
    pub bytes: u64,
    /// Requests of each case that makes many.
    pub requests: u64,
    /// HTTP/2 and nothing else.
    pub http2: bool,
    /// With TLS: whose authorities sign the server's certificate.
    pub trusts: Option<&'a Pki>,
    /// With TLS: its own certificate.
    pub shows: Option<&'a Credential>,
    /// With TLS: the server's name.
    pub name: &'a str,
}

/// The cases of Go's client that go through whatever carries bytes.
pub const CASES: [&str; 14] = [
    "keep-alive",
    "concurrent",
    "upload",
    "chunked",
    "download",
    "trailers",
    "head",
    "continue",
    "refused",
    "early-hints",
    "headers",
    "events",
    "pieces",
    "upgrade",
];

impl Host {
    /// Starts Go's server: in plain text, or with HTTP/1.1 and 2 in TLS.
    #[track_caller]
    pub fn go_server(&self, listen: SocketAddr, tls: Option<&Credential>) -> Running {
        let listen = listen.to_string();
        let mut words = vec!["serve", "-listen", &listen];
        let files = tls.map(|tls| [text(&tls.certificate), text(&tls.key)]);
        if let Some([certificate, key]) = &files {
            words.extend(["-cert", certificate, "-key", key]);
        }
        let mut running = self.spawn(binary(), &words);
        running.line("it listens", |line| {
            (parse(line)?["event"] == "ready").then_some(())
        });
        running
    }

    /// Runs these cases of Go's client, which judges each by itself, and gives what each found.
    #[track_caller]
    pub fn go_client(&self, url: &str, asking: Asking<'_>, cases: &[&str]) -> Vec<Value> {
        self.go_client_at(url, None, asking, cases)
    }

    /// The same for an URL with a name, which is at this address.
    #[track_caller]
    pub fn go_client_at(
        &self,
        url: &str,
        at: Option<SocketAddr>,
        asking: Asking<'_>,
        cases: &[&str],
    ) -> Vec<Value> {
        let (bytes, requests) = (asking.bytes.to_string(), asking.requests.to_string());
        let mut words = vec![
            "ask",
            "-to",
            url,
            "-bytes",
            &bytes,
            "-requests",
            &requests,
            "-name",
            asking.name,
        ];
        words.extend(asking.http2.then_some("-h2"));
        let at = at.map(|at| at.to_string());
        if let Some(at) = &at {
            words.extend(["-at", at]);
        }
        let bundle = asking.trusts.map(|pki| text(&pki.bundle()));
        if let Some(bundle) = &bundle {
            words.extend(["-ca", bundle]);
        }
        let own = asking
            .shows
            .map(|own| [text(&own.certificate), text(&own.key)]);
        if let Some([certificate, key]) = &own {
            words.extend(["-cert", certificate, "-key", key]);
        }
        words.extend(cases);
        let ended = self
            .spawn(binary(), &words)
            .finish_within(DEADLINE * 4)
            .expect_code(0);
        let found: Vec<_> = ended.stdout.lines().filter_map(parse).collect();
        assert_eq!(found.len(), cases.len(), "{ended}");
        found
    }

    /// Runs wrk, of which no request may fail, and gives how many there were.
    #[track_caller]
    pub fn wrk(&self, url: &str, more: &[&str]) -> u64 {
        let ended = self
            .spawn("wrk", &[more, &[url]].concat())
            .finish_within(DEADLINE * 2)
            .expect_code(0);
        for word in ["Socket errors", "Non-2xx"] {
            assert!(!ended.stdout.contains(word), "{ended}");
        }
        number_before(&ended, "requests in")
    }

    /// Runs h2load, of which no request may fail, and gives how many there were.
    #[track_caller]
    pub fn h2load(&self, url: &str, more: &[&str]) -> u64 {
        let ended = self
            .spawn("h2load", &[more, &[url]].concat())
            .finish_within(DEADLINE * 2)
            .expect_code(0);
        let all = number_before(&ended, "total,");
        for wanted in [
            format!("{all} succeeded, 0 failed, 0 errored, 0 timeout"),
            format!("{all} 2xx, 0 3xx, 0 4xx, 0 5xx"),
        ] {
            assert!(ended.stdout.contains(&wanted), "no {wanted:?} in {ended}");
        }
        all
    }
}

#[track_caller]
fn number_before(ended: &Finished, words: &str) -> u64 {
    let before = ended.stdout.split(words).next().unwrap_or_default();
    let number = before.split_whitespace().next_back().unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|error| panic!("{number:?} before {words:?}, {error}: {ended}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Compiled once for all tests of a run.
#[track_caller]
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/web");
        let sources = ["main.go", "server.go", "client.go"].map(|name| folder.join(name));
        let binary = peer::binary().with_file_name("web-go");
        go(&sources, &binary);
        binary
    })
}

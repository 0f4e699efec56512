//! An HTTP server that tells what came (`tests/clients/server.py`), and what curl saw.

use std::{net::SocketAddr, path::PathBuf};

use serde_json::Value;

use crate::{
    host::Host,
    process::{Finished, Running},
};

impl Host {
    /// The server, at `at`.
    #[track_caller]
    pub fn http_server(&self, at: SocketAddr) -> Running {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/server.py");
        let mut command = self.command("python3");
        command.arg(source);
        command.args([at.ip().to_string(), at.port().to_string()]);
        let mut server = Running::spawn(command);
        server.line("that it is ready", |line| {
            line.contains("ready").then_some(())
        });
        server
    }

    /// Fetches `url` with an unmodified curl. What it wrote begins with the heads of the answers.
    #[track_caller]
    pub fn fetch(&self, url: &str, more: &[&str]) -> Fetched {
        let words = [&["-sS", "-i", "--max-time", "20"], more, &[url]].concat();
        Fetched(self.run("curl", &words))
    }
}

/// What curl saw.
#[derive(Debug)]
pub struct Fetched(pub Finished);

impl Fetched {
    /// The whole of what it wrote.
    pub fn text(&self) -> &str {
        &self.0.stdout
    }

    /// The last head: `HTTP/2 200` and the headers.
    #[track_caller]
    pub fn head(&self) -> &str {
        let heads = self.text().split("\r\n\r\n");
        let head = heads.filter(|part| part.starts_with("HTTP/")).last();
        head.unwrap_or_else(|| panic!("no answer: {}", self.0))
    }

    /// The status of the answer.
    #[track_caller]
    pub fn status(&self) -> u16 {
        let status = self.head().split(' ').nth(1);
        let status = status.and_then(|status| status.get(..3)?.parse().ok());
        status.unwrap_or_else(|| panic!("no status: {}", self.0))
    }

    /// What follows the last head.
    #[track_caller]
    pub fn body(&self) -> &str {
        let end = self.text().find(self.head()).expect("it is there") + self.head().len() + 4;
        self.text().get(end..).unwrap_or_default()
    }

    /// The request as the server saw it.
    #[track_caller]
    pub fn echoed(&self) -> Value {
        let parsed = serde_json::from_str(self.body());
        parsed.unwrap_or_else(|error| panic!("no echo, {error}: {}", self.0))
    }

    /// The values of one header of the request, as the server saw it.
    #[track_caller]
    pub fn passed(&self, name: &str) -> Vec<String> {
        let echoed = self.echoed();
        let headers = echoed["headers"].as_array().expect("a list").clone();
        headers
            .into_iter()
            .filter(|header| {
                header[0]
                    .as_str()
                    .is_some_and(|found| found.eq_ignore_ascii_case(name))
            })
            .map(|header| header[1].as_str().expect("a text").to_owned())
            .collect()
    }
}

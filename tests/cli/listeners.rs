//! What is said of listeners before anything listens.

use std::{net::TcpListener, path::PathBuf};

use harness::Finished;
use serde_json::Value;
use tempfile::TempDir;

use super::sidetrack;

const FILE: &str = r#"
version = 1
[daemon]
instance = "nobody-home"
runtime_dir = "DIR"
[upstream.app]
addresses = ["127.0.0.1:3000", "127.0.0.1:3001"]
[[listener]]
name = "bytes"
mode = "tcp"
bind = "127.0.0.1:PORT"
upstream = "app"
[[listener]]
name = "web"
bind = "127.0.0.1:8080"
mode = "http"
[[listener.route]]
name = "status"
prefix = "/status"
upstream = "app"
rewrite = { prefix = "/health" }
[[listener.route]]
name = "rest"
redirect = { scheme = "https" }
"#;

/// A configuration file in a folder of its own.
struct Written {
    _dir: TempDir,
    file: PathBuf,
}

impl Written {
    fn at(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sidetrack.toml");
        let text = FILE
            .replace("DIR", dir.path().to_str().unwrap())
            .replace("PORT", &port.to_string());
        std::fs::write(&file, text).unwrap();
        Self { _dir: dir, file }
    }

    fn run(&self, args: &[&str]) -> Finished {
        let config = ["--config", self.file.to_str().unwrap()];
        sidetrack(&[args, &config[..]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let ended = self.run(&[args, &["--json"]].concat()).expect_code(0);
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

#[test]
fn explain_says_which_route_a_request_takes_and_why_no_other_does() {
    let written = Written::at(5432);
    let explain = ["explain", "--listener", "web"];
    let asked = [
        &explain[..],
        &["--host", "www.example.org", "--path", "/status/418"],
    ]
    .concat();
    written.run(&asked).expect_code(0).expect_said(&[
        "listener \"web\" at 127.0.0.1:8080: mode http, TLS off",
        "takes the route \"status\"",
        "the upstream app at 127.0.0.1:3000, 127.0.0.1:3001, in plain text",
        "GET /health/418 of www.example.org",
        "not \"rest\": \"status\" stands before it",
    ]);
    let said = written.json(&[&explain[..], &["--host", "h", "--path", "/statusx"]].concat());
    let request = &said["explained"]["request"];
    assert_eq!(request["route"], "rest", "{said}");
    assert_eq!(request["status"], 301, "{said}");
    assert_eq!(request["lost"][0]["rule"], "status", "{said}");
    let unknown = written.run(&["explain", "--listener", "wbe"]);
    unknown
        .expect_code(1)
        .expect_words(&["wbe", "bytes", "web"]);
    let bytes = ["explain", "--listener", "bytes"];
    written
        .run(&bytes)
        .expect_code(0)
        .expect_said(&["mode tcp", "its bytes go to the upstream app"]);
    written
        .run(&[&bytes[..], &["--path", "/"]].concat())
        .expect_code(1);
    sidetrack(&["explain", "--path", "/"]).expect_code(2);
}

#[test]
fn check_lists_listeners_and_their_routes() {
    let written = Written::at(5432);
    written.run(&["check"]).expect_code(0).expect_said(&[
        "2 listeners",
        "intercepts nothing",
        "Routes of web, the first that fits decides",
        "/status and below",
        "redirect (301)",
    ]);
    let said = written.json(&["check"]);
    assert_eq!(said["listeners"][0]["upstreams"][0], "app", "{said}");
    let routes = &said["listeners"][1]["routes"];
    assert_eq!(routes[0]["action"], "upstream (app)", "{said}");
    assert_eq!(routes[1]["name"], "rest", "{said}");
}

#[test]
fn a_simulated_start_names_where_it_would_listen_and_who_listens_there_already() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let written = Written::at(at.port());
    let simulate = ["run", "--simulate"];
    written
        .run(&simulate)
        .expect_code(1)
        .expect_said(&["somebody listens at", &at.to_string()]);
    drop(taken);
    written.run(&simulate).expect_code(0).expect_said(&[
        "nothing is intercepted",
        "listener bytes: tcp, TLS off",
        "listener web: http, TLS off",
        "upstream app: at 127.0.0.1:3000",
    ]);
    let said = written.json(&simulate);
    let listeners = said["listeners"].as_array().unwrap();
    let web = listeners
        .iter()
        .find(|one| one["listener"]["name"] == "web");
    assert_eq!(web.unwrap()["at"], "127.0.0.1:8080", "{said}");
    assert!(
        listeners.iter().all(|one| one["takes"] != "outbound"),
        "{said}"
    );
    assert_eq!(said["programs"], serde_json::json!([]), "{said}");
}

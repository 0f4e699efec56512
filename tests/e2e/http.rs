//! Requests: listeners of mode "http".

use std::net::SocketAddr;

use harness::{Daemon, Flaw, Record, Running, World, daemon::Setup};

mod bodies;
mod changes;
mod clients;
mod routes;

/// Where the listener in TLS is, the one in plain text, and the application of `b`.
const TLS: u16 = 8443;
const PLAIN: u16 = 8080;
const APP: u16 = 3000;

fn app() -> SocketAddr {
    ([127, 0, 0, 1], APP).into()
}

/// A daemon of `b` with both listeners, `routes` and what else stands in `more`, in front of a server
/// that tells what came.
struct Front {
    daemon: Daemon,
    app: Running,
    world: World,
}

impl Front {
    #[track_caller]
    fn new(mode: &str, routes: &str) -> Self {
        let world = World::pair();
        let app = world.b.http_server(app());
        Self {
            daemon: setup(&world, mode, "", routes).start(),
            app,
            world,
        }
    }

    /// A URL of the listener in plain text.
    fn plain(&self, path: &str) -> String {
        format!("http://{}{path}", self.world.b.at(PLAIN))
    }

    /// A URL of the one in TLS, and the words by which curl verifies it.
    fn tls(&self, path: &str) -> (String, Vec<String>) {
        let at = self.world.b.at(TLS);
        let words = [
            "--cacert".to_owned(),
            self.world.pki.bundle().display().to_string(),
            "--resolve".to_owned(),
            format!("b.example.org:{TLS}:{}", at.ip()),
        ];
        (format!("https://b.example.org:{TLS}{path}"), words.into())
    }

    /// Fetches by TLS, with the certificate of `a` if `shown`.
    #[track_caller]
    fn fetch_tls(&self, path: &str, shown: bool, more: &[&str]) -> harness::http::Fetched {
        let (url, mut words) = self.tls(path);
        if shown {
            let a = self.world.pki.credential('a', Flaw::None);
            words.extend(["--cert".to_owned(), a.certificate.display().to_string()]);
            words.extend(["--key".to_owned(), a.key.display().to_string()]);
        }
        let words: Vec<_> = words
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        self.world.a.fetch(&url, &words)
    }

    /// Waits until there are `count` records of requests.
    #[track_caller]
    fn requests(&self, count: usize) -> Vec<Record> {
        let of_requests = |records: &[Record]| -> Vec<Record> {
            let records = records
                .iter()
                .filter(|record| record.direction() == "request");
            records.cloned().collect()
        };
        let what = format!("{count} records of requests");
        let found = self
            .daemon
            .wait_for_records(&what, |records| of_requests(records).len() >= count);
        of_requests(&found)
    }
}

fn setup(world: &World, mode: &str, http: &str, routes: &str) -> Setup {
    let allow = match mode {
        "simple" => "",
        _ => ", allow = [\"a.example.org\"]",
    };
    let listener = |name: &str, port: u16, tls: &str| {
        // Who is asked for no certificate cannot be named by a route.
        let asks = tls.contains("allow");
        let routes = routes.lines();
        let routes: Vec<_> = routes
            .filter(|line| asks || !line.starts_with("allow"))
            .collect();
        let routes = routes.join("\n");
        format!(
            r#"
[[listener]]
name = "{name}"
bind = "0.0.0.0:{port}"
mode = "http"
{tls}
[listener.http]
{http}
{routes}
"#
        )
    };
    let tls = format!("tls = {{ mode = \"{mode}\", identities = [\"own\"]{allow} }}");
    Setup::new(world, &world.b)
        .with(format!(
            r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
"#
        ))
        .with(listener("front", TLS, &tls))
        .with(listener("plain", PLAIN, ""))
}

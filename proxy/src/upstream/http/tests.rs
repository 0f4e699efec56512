//! Requests over real sockets, to servers that do what is asked of them.

use std::{
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{
    Request,
    body::{Bytes, Frame, SizeHint},
};
use tokio::time::{sleep, timeout};

use super::{Answered, Body, Failed};
use crate::{
    config::Config,
    data::{DataPath, Parts},
    inbound::owners::Owners,
    kernel::{FlowTable, cgroup::whose::Finder, rules::Scope},
    netns::Namespace,
    policy::Policy,
    proxy_header::Announced,
    record::RecordSink,
    upstream::Upstream,
};

mod checks;
mod doubts;
mod ends;
mod one;
mod server;
mod two;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// A daemon's data path, with one upstream.
struct Bed {
    data: Arc<DataPath>,
    upstream: Arc<Upstream>,
}

fn policy(upstream: &str, folder: &Path, generation: u32) -> Policy {
    let text = format!(
        "version = 1\n[upstream.up]\n{upstream}\n[[listener]]\nname = \"in\"\n\
         bind = \"127.0.0.1:1\"\nmode = \"http\"\nupstream = \"up\"\n"
    );
    let config = Config::parse(&text, &folder.join("sidetrack.toml"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    Policy::build(config, Scope::Selections, generation, None).unwrap()
}

impl Bed {
    fn new(upstream: &str) -> Self {
        Self::in_folder(upstream, Path::new("/nonexistent"))
    }

    fn to(at: std::net::SocketAddr) -> Self {
        Self::new(&format!("addresses = [\"{at}\"]"))
    }

    fn in_folder(upstream: &str, folder: &Path) -> Self {
        let namespace = Namespace::own(0).unwrap();
        let policy = Arc::new(policy(upstream, folder, 1));
        let upstream = Arc::clone(policy.upstream("up").unwrap());
        let data = Arc::new(DataPath::new(Parts {
            flows: FlowTable::of_nothing(),
            policy,
            sink: RecordSink::off(),
            owners: Owners::new(namespace.clone(), "".into()),
            cgroups: Finder::new("".into()),
            namespace,
            exempt_by_socket: false,
        }));
        Self { data, upstream }
    }

    /// Switches to another configuration of the upstream.
    fn reload(&self, upstream: &str) {
        let policy = policy(upstream, Path::new("/nonexistent"), 2);
        self.data.policy.store(Arc::new(policy));
        self.data.switched_to(2);
    }

    async fn send(&self, request: Request<Body>) -> Result<Answered, Failed> {
        let client = Announced {
            client: "192.0.2.7:4000".parse().unwrap(),
            destination: "192.0.2.1:80".parse().unwrap(),
            tls: None,
        };
        let answer = self.upstream.request(&self.data, &client, request);
        timeout(SOON, answer).await.expect("it takes too long")
    }

    /// Asks for `path`, and answers the body.
    async fn get(&self, path: &str) -> String {
        text(self.send(get(path)).await.unwrap()).await
    }

    /// How many connections are open, and how many are kept for further requests.
    fn connections(&self) -> (usize, usize) {
        (self.upstream.http.open(), self.upstream.http.kept())
    }

    async fn until(&self, connections: (usize, usize)) {
        until(
            || self.connections() == connections,
            || format!("{:?} is not {connections:?}", self.connections()),
        )
        .await;
    }
}

async fn until(reached: impl Fn() -> bool, what: impl Fn() -> String) {
    let waited = timeout(SOON, async {
        while !reached() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    if waited.await.is_err() {
        panic!("{}", what());
    }
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "app.example.org");
    let body = Empty::new().map_err(|never| match never {});
    request.body(body.boxed_unsync()).unwrap()
}

fn post(path: &str, body: &'static str) -> Request<Body> {
    let request = Request::post(path).header("host", "app.example.org");
    let body = Full::new(Bytes::from_static(body.as_bytes()));
    let body = body.map_err(|never| match never {});
    request.body(body.boxed_unsync()).unwrap()
}

/// A body of which something comes, and never the end.
#[derive(Default)]
struct Endless {
    /// How much that is, if it says so: by that it is whole.
    length: Option<u64>,
    given: bool,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if std::mem::replace(&mut self.given, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"some")))))
    }

    fn size_hint(&self) -> SizeHint {
        let left = |length| if self.given { 0 } else { length };
        self.length.map_or_else(SizeHint::default, |length| {
            SizeHint::with_exact(left(length))
        })
    }
}

async fn text(answered: Answered) -> String {
    let body = timeout(SOON, answered.response.into_body().collect()).await;
    let body = body.expect("it takes too long").unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

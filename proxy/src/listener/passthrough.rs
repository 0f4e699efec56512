//! `mode = "tls-passthrough"`: TLS between clients and upstreams, as it is.

use tokio::net::TcpStream;

use super::Permitted;
use crate::{
    data::HandshakeDeadline,
    policy::passthrough::Passthrough,
    record::Record,
    refusal::{Reason, Refusal},
    relay::{Moved, Transport as _},
    tls::{
        alert::refuse_name,
        hello::{FirstBytes, PlainText, first_bytes},
    },
};

/// A ClientHello that nobody here answers.
pub(super) struct Hello {
    /// The name that it asks for, in lower case: with encrypted ClientHellos the outer one.
    server_name: Option<String>,
    /// All that was read.
    pub(super) bytes: Vec<u8>,
}

/// Reads what a client begins with, which must be TLS.
pub(super) async fn read(
    stream: TcpStream,
    deadline: &HandshakeDeadline,
    record: &mut Record,
) -> Result<(TcpStream, Hello), Refusal> {
    let first = Box::pin(first_bytes(stream, PlainText::RefusedKeepingTls));
    match deadline.bound(first).await? {
        FirstBytes::Tls(read) => {
            let server_name = read.server_name();
            record.server_name.clone_from(&server_name);
            let hello = Hello {
                server_name,
                bytes: read.raw,
            };
            Ok((read.tcp, hello))
        }
        FirstBytes::Plain { mut tcp, .. } => {
            tcp.abort();
            Err(Refusal::new(
                Reason::Plaintext,
                "the listener takes TLS alone",
            ))
        }
    }
}

impl Permitted<'_> {
    pub(super) async fn passthrough(
        self,
        servers: &Passthrough,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let hello = self.met.hello.as_ref();
        let name = hello.and_then(|hello| hello.server_name.as_deref());
        let Some(upstream) = servers.find(name) else {
            let detail = match name {
                Some(name) => {
                    format!("the client asks for {name:?}, which no entry of servers has")
                }
                None => {
                    "the client asks for no server name, and there is no upstream for that".into()
                }
            };
            refuse_name(self.met.stream.into_socket()).await;
            return Err(Refusal::new(Reason::UnknownServerName, detail));
        };
        self.tcp(upstream, record, moved).await
    }
}

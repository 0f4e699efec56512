//! `mode = "tcp"`: bytes go to the upstream as they are.

use super::{Client, Met};
use crate::{
    data::DataPath,
    live::Place,
    record::{Carriage, Record},
    refusal::Refusal,
    relay::{Moved, Start, Transport, relay},
    upstream::{Connected, Stream, Upstream},
};

pub(super) async fn serve(
    data: &DataPath,
    upstream: &Upstream,
    met: Met,
    place: &Place,
    record: &mut Record,
    moved: &mut Moved,
) -> Result<(), Refusal> {
    let connected = match Box::pin(upstream.connect(data)).await {
        Ok(connected) => connected,
        Err(refusal) => {
            // At once: who connects to what is not there learns it as if by connecting there.
            met.stream.abort();
            return Err(refusal);
        }
    };
    note(record, upstream, &connected);
    place.describe(record);
    let _until_the_end = connected.under_way;
    let idle = data.limits.idle;
    match (met.stream, connected.stream) {
        (Client::Plain(client), Stream::Plain(server)) => carry(client, server, idle, moved).await,
        (Client::Plain(client), Stream::Tls(server)) => {
            carry(client, server.stream, idle, moved).await
        }
        (Client::Tls(client), Stream::Plain(server)) => {
            carry(client.stream, server, idle, moved).await
        }
        (Client::Tls(client), Stream::Tls(server)) => {
            carry(client.stream, server.stream, idle, moved).await
        }
    }
}

async fn carry(
    mut client: impl Transport,
    mut server: impl Transport,
    idle: Option<std::time::Duration>,
    moved: &mut Moved,
) -> Result<(), Refusal> {
    relay(&mut client, &mut server, Start::default(), idle, moved).await
}

/// What the record says of the far side. The client's own identity and TLS, if it has them, come
/// first: they are what it was let in by.
fn note(record: &mut Record, upstream: &Upstream, connected: &Connected) {
    record.upstream = Some(connected.at);
    let Stream::Tls(server) = &connected.stream else {
        return;
    };
    let identity = Some(server.peer.to_string().into());
    if record.carriage == Carriage::Tls {
        record.upstream_identity = identity;
    } else {
        record.own_identity.clone_from(&upstream.own);
        record.peer_identity = identity;
        record.tls = Some(server.facts.clone());
        record.carriage = Carriage::Tls;
    }
}

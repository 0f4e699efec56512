//! `mode = "tcp"`: bytes go to the upstream as they are.

use std::{sync::Arc, time::Duration};

use super::{Client, Permitted};
use crate::{
    policy::Policy,
    proxy_header::{Announced, AnnouncedTls},
    record::{Carriage, Record},
    refusal::Refusal,
    relay::{Moved, Start, Transport, relay},
    upstream::{Connected, Stream, Upstream},
};

impl Permitted<'_> {
    pub(super) async fn tcp(
        mut self,
        upstream: &Upstream,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let announced = Announced {
            client: self.met.client,
            destination: self.met.local,
            tls: match &self.met.stream {
                Client::Plain(_) => None,
                Client::Tls(met) => Some(AnnouncedTls {
                    facts: &met.facts,
                    common_name: self.met.common_name(),
                    certificate: self.met.identity.is_some(),
                }),
            },
        };
        let connected = match Box::pin(upstream.connect(self.data, &announced)).await {
            Ok(connected) => connected,
            Err(refusal) => {
                // At once: who connects to what is not there learns it as if by connecting there.
                self.met.stream.abort();
                return Err(refusal);
            }
        };
        note(record, upstream, &connected);
        self.place.describe(record);
        let judge_client = self.judge_client();
        let (name, at) = (Arc::clone(&upstream.name), connected.at);
        let server = match &connected.stream {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(Arc::clone(&tls.peer)),
        };
        let judge = |policy: &Policy| {
            judge_client(policy)?;
            policy.upstream_again(&name, server.as_deref(), at)
        };
        let idle = self.data.limits.idle;
        let start = Start {
            to_b: self.met.hello.map_or_else(Vec::new, |hello| hello.bytes),
            to_a: Vec::new(),
        };
        tokio::select! {
            biased;
            refusal = self.reloads.refused(judge) => Err(refusal),
            end = carry(self.met.stream, connected, (start, idle), moved) => end,
        }
    }
}

async fn carry(
    client: Client,
    server: Connected,
    how: (Start, Option<Duration>),
    moved: &mut Moved,
) -> Result<(), Refusal> {
    let _until_the_end = server.under_way;
    match (client, server.stream) {
        (Client::Plain(client), Stream::Plain(server)) => between(client, server, how, moved).await,
        (Client::Plain(client), Stream::Tls(server)) => {
            between(client, server.stream, how, moved).await
        }
        (Client::Tls(client), Stream::Plain(server)) => {
            between(client.stream, server, how, moved).await
        }
        (Client::Tls(client), Stream::Tls(server)) => {
            between(client.stream, server.stream, how, moved).await
        }
    }
}

async fn between(
    mut client: impl Transport,
    mut server: impl Transport,
    (start, idle): (Start, Option<Duration>),
    moved: &mut Moved,
) -> Result<(), Refusal> {
    relay(&mut client, &mut server, start, idle, moved).await
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

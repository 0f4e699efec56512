//! The last phase: bytes move, in one of three ways.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpStream;

use super::{
    Permitted,
    upstream::{self, TunnelIo},
};
use crate::{
    addr::{ClientAddr, LocalAddr, UpstreamAddr},
    config::Wire,
    live::Place,
    policy::{MtlsRoute, Route, Towards, again::Carried},
    record::{Carriage, Record},
    refusal::{Reason, Refusal},
    relay::{Moved, Start, relay},
    tls::client::Originated,
    tunnel::{OPENED_LATEST, Open, Opening, Outcome, Patience, PoolKey, Tunnel},
};

/// How often a lease that its server never took is tried on another tunnel. Each attempt takes
/// another tunnel out of the pool; the last makes a new one.
const ATTEMPTS: u32 = 4;

/// Who is at the other end of a connection that we made.
enum Met {
    /// A peer that proved who it is.
    Peer(Box<Originated>, LocalAddr),
    /// This host itself.
    OwnHost(TcpStream, LocalAddr),
}

impl Permitted<'_> {
    pub(super) async fn carry(
        self,
        place: &Place,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        record.upstream = Some(self.destination());
        match self.permit.route.clone() {
            Route::Passthrough => {
                // Before it is connected: a reload meanwhile may say mTLS.
                place.carry(Carried::Plain);
                Box::pin(self.carry_plain(place, record, moved)).await
            }
            Route::Mtls(route) => {
                record.own_identity = Some(Arc::clone(&route.own));
                match route.wire {
                    Wire::Tls => Box::pin(self.carry_tls(&route, place, record, moved)).await,
                    Wire::Tunnel => Box::pin(self.carry_tunnel(&route, place, record, moved)).await,
                }
            }
        }
    }

    async fn carry_plain(
        mut self,
        place: &Place,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let (mut upstream, local) = upstream::connect(
            self.data,
            self.namespace,
            &self.permit,
            self.destination(),
            self.bound_source(),
        )
        .await?;
        record.source = self.source_seen_from(local);
        record.carriage = Carriage::Plain;
        place.describe(record);
        self.app.begin_relay();
        let idle = self.data.limits.idle;
        relay(&mut self.app, &mut upstream, Start::default(), idle, moved).await
    }

    async fn carry_tls(
        mut self,
        route: &MtlsRoute,
        place: &Place,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let (originated, local) = match self.originate(route, self.destination()).await? {
            Met::Peer(originated, local) => (originated, local),
            Met::OwnHost(stream, local) => {
                return self.carry_home(stream, local, place, record, moved).await;
            }
        };
        record.source = self.source_seen_from(local);
        record.peer_identity = Some(originated.peer.to_string().into());
        record.tls = Some(originated.facts);
        record.carriage = Carriage::Tls;
        place.describe(record);
        place.carry(Carried::Mtls {
            peer: Arc::new(originated.peer),
            at: self.destination(),
            through_gateway: false,
        });
        self.app.begin_relay();
        let (idle, mut stream) = (self.data.limits.idle, originated.stream);
        relay(&mut self.app, &mut stream, Start::default(), idle, moved).await
    }

    async fn carry_tunnel(
        self,
        route: &MtlsRoute,
        place: &Place,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let mut first = Opening::default();
        let mut this = self;
        for attempt in 1..=ATTEMPTS {
            // A peer that was restarted has left its tunnels in the pool: the last attempt trusts
            // none of them.
            let pooled = if attempt < ATTEMPTS {
                this.pooled(route)
            } else {
                None
            };
            let (tunnel, to) = match pooled {
                Some(pooled) => {
                    record.carriage = Carriage::TunnelReused;
                    pooled
                }
                None => {
                    let (met, to) = this.meet(route, record).await?;
                    let (originated, local) = match met {
                        Met::Peer(originated, local) => (originated, local),
                        Met::OwnHost(stream, local) => {
                            return this.carry_home(stream, local, place, record, moved).await;
                        }
                    };
                    record.carriage = Carriage::TunnelNew;
                    (this.new_tunnel(route, originated, local), to)
                }
            };
            record.upstream = Some(to);
            record.source = this.source_seen_from(tunnel.io().local);
            record.peer_identity = Some(Arc::clone(&tunnel.io().peer));
            record.tls = Some(tunnel.io().facts.clone());
            place.describe(record);
            place.carry(Carried::Mtls {
                peer: Arc::clone(&tunnel.io().proven),
                at: to,
                through_gateway: matches!(route.towards, Towards::Gateway(_)),
            });
            let open = Open {
                id: record.id,
                source: record.source,
                destination: this.permit.destination,
            };
            let key = this.pool_key(route, to);
            let Self {
                data,
                namespace,
                mut app,
                peer,
                permit,
            } = this;
            if first.bytes.is_empty() && !first.ended {
                first.bytes = app.already_sent();
            }
            app.begin_relay();
            let limits = &data.limits;
            let patience = Patience {
                // What a connection of its own might have taken.
                answer: limits.connect_timeout + limits.handshake_timeout + OPENED_LATEST,
                idle: limits.idle,
            };
            let end = tunnel.lease(&open, app, first, patience, moved).await;
            if let Some(tunnel) = end.tunnel {
                data.pool.put(key, tunnel);
                // After it, so that an end meanwhile is not missed: a tunnel would keep the
                // namespace that nobody is in.
                if namespace.has_ended() {
                    data.pool.forget_namespace(namespace.cookie());
                }
            }
            match end.outcome {
                Outcome::Clean => return Ok(()),
                Outcome::Refused(refusal) => return Err(refusal),
                Outcome::NotAccepted { mut app, replay } => {
                    app.end_relay();
                    tracing::debug!(attempt, peer = %to, "lease not taken; trying another tunnel");
                    first = replay;
                    this = Self {
                        data,
                        namespace,
                        app,
                        peer,
                        permit,
                    };
                }
            }
        }
        Err(Refusal::new(
            Reason::TunnelLost,
            format!("the peer closed {ATTEMPTS} tunnels before it took the connection"),
        ))
    }

    /// What is connected from the very address that it is connected to has not left this host:
    /// the application is at home, and traffic of this host to itself is left as it is.
    async fn carry_home(
        mut self,
        mut stream: TcpStream,
        local: LocalAddr,
        place: &Place,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        place.carry(Carried::Home);
        record.own_identity = None;
        record.source = self.source_seen_from(local);
        record.carriage = Carriage::Plain;
        place.describe(record);
        self.app.begin_relay();
        let idle = self.data.limits.idle;
        relay(&mut self.app, &mut stream, Start::default(), idle, moved).await
    }

    /// An idle tunnel of the route.
    fn pooled(&self, route: &MtlsRoute) -> Option<(Tunnel<TunnelIo>, UpstreamAddr)> {
        let take = |to| {
            let tunnel = self.data.pool.take(&self.pool_key(route, to))?;
            Some((tunnel, to))
        };
        match &route.towards {
            Towards::Destination => take(self.destination()),
            Towards::Gateway(gateways) => gateways
                .in_turn(self.bound_source())
                .find_map(|to| take(UpstreamAddr::new(to))),
        }
    }

    /// Connects to whom the route is for; of a gateway's addresses to the first that answers.
    async fn meet(
        &self,
        route: &MtlsRoute,
        record: &mut Record,
    ) -> Result<(Met, UpstreamAddr), Refusal> {
        let gateways = match &route.towards {
            Towards::Destination => {
                let to = self.destination();
                return Ok((self.originate(route, to).await?, to));
            }
            Towards::Gateway(gateways) => gateways,
        };
        let mut refusal = Refusal::new(
            Reason::Unreachable,
            "the gateway has no address of the family of the source that the application bound",
        );
        for at in gateways.in_turn(self.bound_source()) {
            let to = UpstreamAddr::new(at);
            record.upstream = Some(to);
            match self.originate(route, to).await {
                Ok(met) => {
                    gateways.answers(at);
                    return Ok((met, to));
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    async fn originate(&self, route: &MtlsRoute, to: UpstreamAddr) -> Result<Met, Refusal> {
        let (stream, local) = upstream::connect(
            self.data,
            self.namespace,
            &self.permit,
            to,
            self.bound_source(),
        )
        .await?;
        // A gateway of this host is not the application.
        if local.ip() == to.ip() && matches!(route.towards, Towards::Destination) {
            return Ok(Met::OwnHost(stream, local));
        }
        let _place = self.data.begin_handshake().await?;
        let handshake = Box::pin(route.originator.originate(stream, to));
        let originated = self.data.within_handshake(handshake).await?;
        Ok(Met::Peer(Box::new(originated), local))
    }

    fn new_tunnel(
        &self,
        route: &MtlsRoute,
        originated: Box<Originated>,
        local: LocalAddr,
    ) -> Tunnel<TunnelIo> {
        let age = self.data.limits.tunnel_age;
        // A certificate that expires, of either end, takes its tunnels with it.
        let expires = originated.peer.identity.not_after.min(route.own_expires);
        let left = expires
            .duration_since(std::time::SystemTime::now())
            .unwrap_or_default();
        Tunnel::new(TunnelIo::new(*originated, local))
            .expiring(tokio::time::Instant::now() + age.min(left))
    }

    fn destination(&self) -> UpstreamAddr {
        UpstreamAddr::new(self.permit.destination.get())
    }

    fn bound_source(&self) -> Option<std::net::IpAddr> {
        self.permit.bound_source(self.peer.ip())
    }

    /// The application as the far end may know it: its own port, and the address that our
    /// connection leaves from. At our end it shows only the loopback address.
    fn source_seen_from(&self, local: LocalAddr) -> ClientAddr {
        ClientAddr::new(SocketAddr::new(local.ip(), self.peer.port()))
    }

    fn pool_key(&self, route: &MtlsRoute, to: UpstreamAddr) -> PoolKey {
        PoolKey {
            netns: self.namespace.cookie(),
            bind: self.bound_source(),
            device: self.permit.device,
            mark: self.permit.mark,
            tos: self.permit.tos,
            peer: to.get(),
            own: Arc::clone(&route.own),
            expect: Arc::clone(&route.expect),
            generation: route.generation,
        }
    }
}

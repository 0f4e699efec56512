//! Permits for what comes to listeners, and the upstreams behind them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{Policy, PolicyError, again::of_peer, http::HttpPolicy, passthrough::Passthrough};
use crate::{
    addr::{ClientAddr, UpstreamAddr},
    config::{self, Config, Serves, TlsMode},
    refusal::{Reason, Refusal},
    tls::{
        Proven, certificates::Certificates, client::Originator, downstream::Downstream,
        material::Material,
    },
    upstream::Upstream,
};

/// What one generation of policy says of one listener.
#[derive(Debug)]
pub struct ListenerPolicy {
    /// Its name in records.
    pub name: Arc<str>,
    /// Its own identity, for records; `None` in plain text.
    pub own: Option<Arc<str>>,
    /// How clients are met; `None` is plain text.
    pub tls: Option<Downstream>,
    /// What is done with what comes.
    pub serves: Serving,
    proxy_from: Vec<IpNet>,
}

/// What a listener does with what comes.
#[derive(Clone, Debug)]
pub enum Serving {
    /// Bytes go to this upstream as they are.
    Tcp(Arc<Upstream>),
    /// Each request goes where its route says.
    Http(Arc<HttpPolicy>),
    /// TLS goes as it is to the upstream that has the server name.
    TlsPassthrough(Arc<Passthrough>),
}

/// A connection to a listener that policy lets go on. Only [`ListenerPolicy::permit`] makes one.
#[derive(Debug)]
pub struct ListenerPermit {
    client: ClientAddr,
    serves: Serving,
}

impl ListenerPermit {
    /// Who connected, by the PROXY header of who may say so.
    pub fn client(&self) -> ClientAddr {
        self.client
    }

    /// What is done with it.
    pub fn serves(&self) -> &Serving {
        &self.serves
    }
}

impl ListenerPolicy {
    fn build(
        listener: &config::Listener,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        material: &Material,
    ) -> Result<Self, PolicyError> {
        let no_identity = |identity: &str| PolicyError::NoIdentity {
            rule: listener.name.clone(),
            identity: identity.to_owned(),
        };
        let mut own = None;
        let tls = match &listener.tls {
            None => None,
            Some(tls) => {
                let named = tls.identities.iter().map(|name| {
                    let found = material.identities.get(name);
                    found.cloned().ok_or_else(|| no_identity(name))
                });
                let mut shown = named.collect::<Result<Vec<_>, _>>()?;
                let folder = tls.certificates.as_ref();
                shown.extend(
                    folder
                        .into_iter()
                        .flat_map(|folder| material.in_folder(folder)),
                );
                let mut shown = shown.into_iter();
                let first = shown.next().ok_or_else(|| no_identity("any"))?;
                own = Some(Arc::clone(&first.label));
                let certificates = Certificates::new(first, shown);
                let protocols: &[&[u8]] = match listener.serves {
                    Serves::Tcp { .. } | Serves::TlsPassthrough(_) => &[],
                    Serves::Http(_) => &[b"h2", b"http/1.1"],
                };
                let certificates = Arc::new(certificates);
                let downstream = Downstream::new(certificates, &material.trust, tls, protocols);
                Some(downstream.map_err(|source| PolicyError::Listener {
                    listener: listener.name.clone(),
                    source,
                })?)
            }
        };
        let upstream = |name: &String| {
            let found = upstreams.get(name);
            found.cloned().ok_or_else(|| PolicyError::NoUpstream {
                rule: listener.name.clone(),
                upstream: name.clone(),
            })
        };
        Ok(Self {
            name: listener.name.as_str().into(),
            own,
            tls,
            serves: match &listener.serves {
                Serves::Tcp { upstream: name } => Serving::Tcp(upstream(name)?),
                Serves::Http(http) => Serving::Http(Arc::new(HttpPolicy::build(http, upstream)?)),
                Serves::TlsPassthrough(servers) => {
                    Serving::TlsPassthrough(Arc::new(Passthrough::build(servers, upstream)?))
                }
            },
            proxy_from: listener.proxy_from.clone(),
        })
    }

    /// Whether a client at `from` begins with a PROXY header, which is believed.
    pub fn announces(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        self.proxy_from.iter().any(|prefix| prefix.contains(&from))
    }

    /// Lets a client in that was met at `from` and speaks for `client`. Its certificate was judged
    /// in the handshake, where the listener's mode asks for one.
    ///
    /// # Errors
    /// [`Reason::NoCertificate`] if it had to show one.
    pub fn permit(
        &self,
        peer: Option<&Proven>,
        client: SocketAddr,
    ) -> Result<ListenerPermit, Refusal> {
        let mutual = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.mode() == TlsMode::Mutual);
        if mutual && peer.is_none() {
            return Err(Refusal::new(
                Reason::NoCertificate,
                "the client proved no identity",
            ));
        }
        Ok(ListenerPermit {
            client: ClientAddr::new(client),
            serves: self.serves.clone(),
        })
    }
}

impl Policy {
    /// What is said of the listener `name`.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`] if a reload has taken it away.
    pub fn listener(&self, name: &str) -> Result<Arc<ListenerPolicy>, Refusal> {
        self.listeners.get(name).cloned().ok_or_else(|| {
            Refusal::new(
                Reason::PolicyChanged,
                format!("a reload has taken the listener {name:?} out of the configuration"),
            )
        })
    }

    /// Whether a connection to the listener `name` may go on. That of a listener that is gone may:
    /// nobody else listens there because of it.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`], or what is wrong with the client's certificate by now.
    pub fn listener_again(
        &self,
        name: &str,
        peer: Option<&Proven>,
        from: SocketAddr,
    ) -> Result<(), Refusal> {
        let Some(listener) = self.listeners.get(name) else {
            return Ok(());
        };
        let Some(tls) = &listener.tls else {
            return Ok(());
        };
        tls.still_accepts(peer, from).map_err(of_peer)
    }

    /// Whether a connection to the upstream `name` may go on; `server` is whom its endpoint proved to
    /// be, in TLS.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`] if it is in plain text and must not be any more, or what is wrong
    /// with the certificate by now.
    pub fn upstream_again(
        &self,
        name: &str,
        server: Option<&Proven>,
        at: UpstreamAddr,
    ) -> Result<(), Refusal> {
        match (self.upstreams.get(name), server) {
            (Some(upstream), Some(server)) => upstream.still_accepts(server, at).map_err(of_peer),
            (Some(upstream), None) if upstream.spec.tls.is_some() => Err(Refusal::new(
                Reason::PolicyChanged,
                format!("connections to {name} are in TLS by now, and it is plain"),
            )),
            (Some(_), None) | (None, _) => Ok(()),
        }
    }

    /// The upstream `name` of listeners.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }

    /// The upstreams of listeners.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }
}

/// The upstreams that listeners name.
pub(super) fn upstreams(
    config: &Config,
    material: &Material,
    before: Option<&Policy>,
) -> Result<BTreeMap<String, Arc<Upstream>>, PolicyError> {
    let named = config
        .listeners
        .iter()
        .flat_map(|listener| listener.serves.upstreams());
    let mut found = BTreeMap::new();
    for name in named {
        if found.contains_key(name) {
            continue;
        }
        let no_upstream = || PolicyError::NoUpstream {
            rule: "listener".into(),
            upstream: name.to_owned(),
        };
        let spec = config.upstreams.get(name).ok_or_else(no_upstream)?;
        let before = before.and_then(|policy| policy.upstreams.get(name));
        let upstream = upstream(name, spec, material, before.map(|before| &**before))?;
        found.insert(name.to_owned(), Arc::new(upstream));
    }
    Ok(found)
}

fn upstream(
    name: &str,
    spec: &config::Upstream,
    material: &Material,
    before: Option<&Upstream>,
) -> Result<Upstream, PolicyError> {
    let Some(tls) = &spec.tls else {
        return Ok(Upstream::new(name.into(), spec.clone(), None, None, before));
    };
    let own = match &tls.identity {
        None => None,
        Some(identity) => {
            let found = material.identities.get(identity);
            Some(found.ok_or_else(|| PolicyError::NoIdentity {
                rule: name.to_owned(),
                identity: identity.clone(),
            })?)
        }
    };
    let host = spec.addresses.iter().find_map(|address| match address {
        config::Address::Name { host, .. } => Some(host.clone()),
        config::Address::Socket(_) => None,
    });
    let expects_name = tls.expect.iter().any(
        |entry| matches!(entry, crate::identity::Expected::Dns(name) if !name.starts_with("*.")),
    );
    let server_name = tls
        .server_name
        .clone()
        .or_else(|| host.filter(|_| !expects_name));
    let originator = Originator::to_servers(
        own,
        &material.trust,
        tls.expect.as_slice().into(),
        server_name,
        &[],
    )
    .map_err(|source| PolicyError::Upstream {
        upstream: name.to_owned(),
        source,
    })?;
    let own = own.map(|own| Arc::clone(&own.label));
    Ok(Upstream::new(
        name.into(),
        spec.clone(),
        own,
        Some(originator),
        before,
    ))
}

/// The listeners of `config`, by name.
pub(super) fn listeners(
    config: &Config,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    material: &Material,
) -> Result<BTreeMap<Arc<str>, Arc<ListenerPolicy>>, PolicyError> {
    let built = config.listeners.iter().map(|listener| {
        let policy = ListenerPolicy::build(listener, upstreams, material)?;
        Ok((Arc::clone(&policy.name), Arc::new(policy)))
    });
    built.collect()
}

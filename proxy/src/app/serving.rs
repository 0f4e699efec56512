//! `[[listener]]`: bound before anything begins, and again at a reload, whose listeners are bound
//! before it changes anything. What stays keeps its socket, and nobody in its queue is lost.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{BindError, heartbeat::Heartbeat};
use crate::{
    addr::UpstreamAddr,
    config::{Config, Listener},
    data::DataPath,
    listener,
    policy::Policy,
    socket::{self, Turn},
    upstream,
};

/// All listeners that are served, and the health of what is behind them.
#[derive(Default)]
pub(super) struct Serving {
    bound: Mutex<HashMap<SocketAddr, Bound>>,
    watched: Mutex<JoinSet<()>>,
}

/// What is served, for `status`.
#[derive(Debug, Serialize)]
pub struct ServingReport {
    /// `[[listener]]`
    pub listeners: Vec<ListenerReport>,
    /// The upstreams behind them.
    pub upstreams: Vec<UpstreamReport>,
}

/// One listener.
#[derive(Debug, Serialize)]
pub struct ListenerReport {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub at: SocketAddr,
    /// What it does with what comes: `mode` in the configuration.
    pub mode: &'static str,
    /// `tls.mode` there; `off` in plain text, `passed` where it is the upstream's.
    pub tls: &'static str,
}

/// One upstream.
#[derive(Debug, Serialize)]
pub struct UpstreamReport {
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses.
    pub endpoints: Vec<EndpointReport>,
}

/// One address of an upstream.
#[derive(Debug, Serialize)]
pub struct EndpointReport {
    /// Where it is.
    pub at: UpstreamAddr,
    /// Whether it gets connections.
    pub up: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Connections and requests that are under way to it.
    pub under_way: usize,
}

impl UpstreamReport {
    /// Each of its endpoints in words.
    pub(super) fn states(&self) -> impl Iterator<Item = String> {
        let endpoints = self.endpoints.iter();
        endpoints.map(|endpoint| match (endpoint.up, &endpoint.why) {
            (true, _) => format!("{} is up", endpoint.at),
            (false, Some(why)) => format!("{} is down: {why}", endpoint.at),
            (false, None) => format!("{} is down", endpoint.at),
        })
    }
}

struct Bound {
    name: watch::Sender<Arc<str>>,
    stop: watch::Sender<bool>,
    turn: Turn,
    accepting: tokio::task::JoinHandle<()>,
}

/// Sockets for the listeners that are new in a configuration.
pub(super) struct Prepared {
    wanted: BTreeMap<SocketAddr, Arc<str>>,
    new: Vec<(SocketAddr, TcpListener)>,
}

impl Serving {
    /// Binds what `config` has and is not bound yet.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, BindError> {
        let bound = self.bound.lock();
        let mut wanted = BTreeMap::new();
        let mut new = Vec::new();
        for listener in &config.listeners {
            for at in &listener.bind {
                wanted.insert(*at, Arc::from(listener.name.as_str()));
                if !bound.contains_key(at) {
                    let socket =
                        socket::listen_at(*at, &config.limits).map_err(|source| BindError {
                            listener: listener.name.clone(),
                            at: *at,
                            source,
                        })?;
                    new.push((*at, socket));
                }
            }
        }
        Ok(Prepared { wanted, new })
    }

    /// Serves what was prepared for `policy`, which is in force, and no longer what it lacks.
    pub(super) async fn begin(
        &self,
        prepared: Prepared,
        policy: &Policy,
        data: &Arc<DataPath>,
        heartbeat: &Heartbeat,
    ) {
        let upstreams = policy.upstreams().cloned().collect();
        // The checks of before end here: what they knew is in the endpoints.
        *self.watched.lock() = upstream::watch(upstreams, data).await;
        let mut bound = self.bound.lock();
        bound.retain(|at, bound| match prepared.wanted.get(at) {
            Some(name) => {
                bound.name.send_replace(Arc::clone(name));
                true
            }
            None => {
                bound.stop.send_replace(true);
                heartbeat.forget(&bound.turn);
                false
            }
        });
        for (at, socket) in prepared.new {
            let Some(name) = prepared.wanted.get(&at) else {
                continue;
            };
            let (name, named) = watch::channel(Arc::clone(name));
            let (stop, stopped) = watch::channel(false);
            let turn = heartbeat.turn();
            let accept = listener::accept(Arc::clone(data), named, socket, stopped, turn.clone());
            let accepting = tokio::spawn(accept);
            bound.insert(
                at,
                Bound {
                    name,
                    stop,
                    turn,
                    accepting,
                },
            );
        }
    }

    /// Takes no new connections; those in the queues are still served.
    pub(super) async fn end(&self) {
        let bound: Vec<_> = self.bound.lock().drain().map(|(_, bound)| bound).collect();
        for bound in bound {
            bound.stop.send_replace(true);
            let _ = bound.accepting.await;
        }
    }

    /// What is served, by `policy`, which is in force.
    pub(super) fn report(&self, policy: &Policy) -> ServingReport {
        let bound = self.bound.lock();
        let configured = &policy.config.listeners;
        let mut listeners: Vec<_> = bound
            .iter()
            .map(|(at, bound)| {
                let name = Arc::clone(&bound.name.borrow());
                let said = configured.iter().find(|listener| *listener.name == *name);
                ListenerReport {
                    at: *at,
                    mode: said.map_or("gone", |listener| listener.serves.mode()),
                    tls: said.map_or("gone", Listener::tls_mode),
                    name,
                }
            })
            .collect();
        listeners.sort_by(|a, b| (&a.name, a.at).cmp(&(&b.name, b.at)));
        let upstreams = policy.upstreams().map(|upstream| UpstreamReport {
            name: Arc::clone(&upstream.name),
            endpoints: upstream
                .endpoints()
                .iter()
                .map(|endpoint| EndpointReport {
                    at: endpoint.at,
                    up: endpoint.is_up(),
                    why: endpoint.cause(),
                    under_way: endpoint.under_way(),
                })
                .collect(),
        });
        ServingReport {
            listeners,
            upstreams: upstreams.collect(),
        }
    }
}

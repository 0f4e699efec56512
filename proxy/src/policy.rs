//! Who may do what: one generation of rules with the keys and trust that they need.
//!
//! Only this module makes a [`OutboundPermit`] or an [`InboundPermit`], and only with one of
//! those are bytes moved.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sidetrack_abi::{Redirected, executable::NO_EXECUTABLE, rules::RULE_UNCLASSIFIED};

use crate::{
    config::{Address, Config, Handshakes, Instance, Mtls, OutboundAction, Wire},
    kernel::rules::{RuleTables, Scope},
    refusal::{Reason, Refusal},
    tls::{
        client::OriginatorError,
        material::{Material, MaterialErrors},
        server::TerminatorError,
    },
    upstream::Upstream,
};

pub mod again;
mod claim;
pub mod egress;
pub mod explain;
pub mod http;
pub mod inbound;
pub mod listener;
pub mod outbound;
pub mod passthrough;
pub mod unclassified;

pub use egress::{EgressPermit, EgressPolicy};
pub use inbound::{InboundPermit, InboundRoute};
use outbound::Gateways;
pub use outbound::{MtlsRoute, OutboundPermit, Route, Towards};

/// One generation of policy.
pub struct Policy {
    /// Number of the rules, as the kernel knows it. Never 0.
    pub generation: u32,
    /// The configuration that it was made from.
    pub config: Config,
    /// Its rules as the kernel looks them up.
    pub tables: Arc<RuleTables>,
    /// Keys and trust.
    pub material: Material,
    outbound: Vec<OutboundRule>,
    inbound: HashMap<u16, Arc<InboundRoute>>,
    egress: Option<Arc<EgressPolicy>>,
    listeners: BTreeMap<Arc<str>, Arc<listener::ListenerPolicy>>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    /// Rule names of the generation before: the kernel may tell after the switch of connections that
    /// its rules refused.
    before: Option<(u32, Vec<Arc<str>>)>,
    /// Since this generation the kernel tells the executables of these rules from all others.
    executables_since: u32,
}

struct OutboundRule {
    name: Arc<str>,
    route: Option<Route>,
}

/// Why a configuration does not become policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Files that it names.
    #[error(transparent)]
    Material(#[from] MaterialErrors),
    /// A rule of connections that are made.
    #[error("outbound rule {rule:?}: {source}")]
    Outbound {
        /// Its name.
        rule: String,
        /// What is wrong.
        source: OriginatorError,
    },
    /// A rule of connections that come.
    #[error("inbound rule {rule:?}: {source}")]
    Inbound {
        /// Its name.
        rule: String,
        /// What is wrong.
        source: TerminatorError,
    },
    /// What is for peers that connect through this gateway.
    #[error("[gateway]: {0}")]
    Gateway(#[source] TerminatorError),
    /// TLS of a listener.
    #[error("listener {listener:?}: preparing TLS: {source}")]
    Listener {
        /// Its name.
        listener: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// TLS to an upstream.
    #[error("upstream {upstream:?}: {source}")]
    Upstream {
        /// Its name.
        upstream: String,
        /// What is wrong.
        source: OriginatorError,
    },
    /// The upstream that a rule names is not there; `check` finds this first.
    #[error("rule {rule:?} names the upstream {upstream:?}, which is not configured")]
    NoUpstream {
        /// The rule.
        rule: String,
        /// What it names.
        upstream: String,
    },
    /// The identity that a rule names is not there; `check` finds this first.
    #[error("rule {rule:?} names the identity {identity:?}, which is not configured")]
    NoIdentity {
        /// The rule.
        rule: String,
        /// What it names.
        identity: String,
    },
}

impl Policy {
    /// Loads what `config` names and makes policy of it, for `scope`. `before` is what it replaces.
    ///
    /// # Errors
    /// [`PolicyError`]; what was before stays as it is.
    pub fn build(
        config: Config,
        scope: Scope,
        generation: u32,
        before: Option<&Policy>,
    ) -> Result<Self, PolicyError> {
        let material = Material::load(&config)?;
        for warning in config.warnings.iter().chain(&material.warnings) {
            tracing::warn!("{warning}");
        }
        let mut outbound_rules = Vec::with_capacity(config.outbound.len());
        for rule in &config.outbound {
            let route = match &rule.action {
                OutboundAction::Passthrough => Some(Route::Passthrough),
                // The kernel acts on these; a connection of theirs never gets here.
                OutboundAction::Redirect { .. }
                | OutboundAction::Deny { .. }
                | OutboundAction::Ignore => None,
                OutboundAction::Mtls(mtls) => {
                    let route = MtlsRoute::build(
                        &rule.name,
                        mtls,
                        Towards::Destination,
                        &material,
                        generation,
                    )?;
                    Some(Route::Mtls(Arc::new(route)))
                }
                OutboundAction::Gateway { upstream, identity } => {
                    let upstream =
                        config
                            .upstreams
                            .get(upstream)
                            .ok_or_else(|| PolicyError::NoUpstream {
                                rule: rule.name.clone(),
                                upstream: upstream.clone(),
                            })?;
                    let tls = upstream.tls.as_ref();
                    let mtls = Mtls {
                        wire: Wire::Tunnel,
                        identity: identity.clone(),
                        expect: tls.map(|tls| tls.expect.clone()).unwrap_or_default(),
                        server_name: tls.and_then(|tls| tls.server_name.clone()),
                        handshakes: Handshakes::default(),
                    };
                    let addresses = upstream.addresses.iter();
                    let gateways = Gateways::new(addresses.filter_map(Address::socket).collect());
                    let towards = Towards::Gateway(gateways);
                    let route =
                        MtlsRoute::build(&rule.name, &mtls, towards, &material, generation)?;
                    Some(Route::Mtls(Arc::new(route)))
                }
            };
            outbound_rules.push(OutboundRule {
                name: rule.name.as_str().into(),
                route,
            });
        }
        let mut inbound = HashMap::new();
        for rule in &config.inbound {
            let route = Arc::new(InboundRoute::build(&config, rule, &material)?);
            for port in rule.ports.iter().flat_map(|range| range.clone()) {
                inbound.insert(port, Arc::clone(&route));
            }
        }
        let egress = match &config.gateway {
            Some(gateway) => Some(EgressPolicy::build(gateway, &material)?),
            None => None,
        };
        let upstreams = listener::upstreams(&config, &material, before)?;
        let tables = RuleTables::compile(&config, scope, generation);
        let told_before = before.filter(|policy| tables.names_no_more_executables(&policy.tables));
        Ok(Self {
            generation,
            listeners: listener::listeners(&config, &upstreams, &material)?,
            upstreams,
            executables_since: told_before.map_or(generation, |policy| policy.executables_since),
            tables: Arc::new(tables),
            config,
            material,
            outbound: outbound_rules,
            inbound,
            egress: egress.map(Arc::new),
            before: before.map(|policy| {
                let names = policy
                    .outbound
                    .iter()
                    .map(|rule| Arc::clone(&rule.name))
                    .collect();
                (policy.generation, names)
            }),
        })
    }

    /// Whether the kernel decided by these very rules and for a task that it knew: else
    /// [`Self::unclassified`] decides.
    pub fn has_decided(&self, redirected: &Redirected) -> bool {
        redirected.generation == self.generation && redirected.rule != RULE_UNCLASSIFIED
    }

    /// Whether these rules ask for an executable that those did not by which a connection was redirected.
    pub fn may_miss_executable(&self, redirected: &Redirected) -> bool {
        let age = |of: u32| self.generation.wrapping_sub(of);
        self.tables.asks_for_executables()
            && redirected.executable == NO_EXECUTABLE
            && age(redirected.generation) > age(self.executables_since)
    }

    /// Judges a connection that the kernel redirected by one of these rules.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`] if it is not one of these rules that redirects it.
    pub fn outbound(&self, redirected: &Redirected) -> Result<OutboundPermit, Refusal> {
        let rule = self.outbound.get(redirected.rule as usize);
        let decided = rule
            .filter(|_| self.has_decided(redirected))
            .and_then(|rule| Some((&rule.name, rule.route.clone()?)));
        let (name, route) = decided.ok_or_else(|| {
            Refusal::new(
                Reason::PolicyChanged,
                "the rule that redirected the connection is gone; the application may try again",
            )
        })?;
        Ok(OutboundPermit::new(
            redirected,
            Some(Arc::clone(name)),
            route,
        ))
    }

    /// The rule for connections that come to `port`.
    ///
    /// # Errors
    /// [`Reason::NoInboundRule`]
    pub fn inbound(&self, port: u16) -> Result<Arc<InboundRoute>, Refusal> {
        self.inbound.get(&port).cloned().ok_or_else(|| {
            Refusal::new(
                Reason::NoInboundRule,
                format!("no inbound rule names port {port}"),
            )
        })
    }

    /// What peers may reach through this host.
    ///
    /// # Errors
    /// [`Reason::EgressDenied`] if it is no gateway any more.
    pub fn egress(&self) -> Result<Arc<EgressPolicy>, Refusal> {
        self.egress.clone().ok_or_else(|| {
            Refusal::new(
                Reason::EgressDenied,
                "a reload has taken [gateway] out of the configuration",
            )
        })
    }

    /// The name of the rule by which the kernel decided, if it is known.
    pub fn rule_name(&self, decided: &Redirected) -> Option<Arc<str>> {
        let index = decided.rule as usize;
        if decided.generation == self.generation {
            return self.outbound.get(index).map(|rule| Arc::clone(&rule.name));
        }
        let (generation, names) = self.before.as_ref()?;
        names
            .get(index)
            .filter(|_| *generation == decided.generation)
            .cloned()
    }

    /// The instance that this is the policy of.
    pub fn instance(&self) -> &Instance {
        &self.config.daemon.instance
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

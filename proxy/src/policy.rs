//! Who may do what: one generation of rules with the keys and trust that they need.
//!
//! Only this module makes a [`OutboundPermit`] or an [`InboundPermit`], and only with one of
//! those are bytes moved.

use std::{collections::HashMap, sync::Arc};

use sidetrack_abi::Redirected;

use crate::{
    config::{Config, Instance, OutboundAction},
    kernel::rules::{RuleTables, Scope},
    refusal::{Reason, Refusal},
    tls::{
        client::{Originator, OriginatorError},
        material::{Material, MaterialErrors},
        server::TerminatorError,
    },
};

pub mod inbound;
pub mod outbound;
pub mod unclassified;

pub use inbound::{InboundPermit, InboundRoute};
pub use outbound::{MtlsRoute, OutboundPermit, Route};

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
    /// Rule names of the generation before: connections that the kernel redirected by its rules
    /// may be accepted after the switch.
    before: Option<(u32, Vec<Arc<str>>)>,
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
                    let own = material.identities.get(&mtls.identity).ok_or_else(|| {
                        PolicyError::NoIdentity {
                            rule: rule.name.clone(),
                            identity: mtls.identity.clone(),
                        }
                    })?;
                    let expect = mtls.expect.clone().into();
                    let originator = Originator::new(
                        own,
                        &material.trust,
                        Arc::clone(&expect),
                        mtls.wire,
                        mtls.server_name.clone(),
                    )
                    .map_err(|source| PolicyError::Outbound {
                        rule: rule.name.clone(),
                        source,
                    })?;
                    Some(Route::Mtls(Arc::new(MtlsRoute {
                        originator,
                        wire: mtls.wire,
                        own: Arc::clone(&own.label),
                        own_expires: own.not_after,
                        expect,
                        generation: u64::from(generation),
                    })))
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
        Ok(Self {
            generation,
            tables: Arc::new(RuleTables::compile(&config, scope, generation)),
            config,
            material,
            outbound: outbound_rules,
            inbound,
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

    /// Judges a connection that the kernel redirected.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`] if a reload took away the rule by which it was redirected.
    pub fn outbound(&self, redirected: &Redirected) -> Result<OutboundPermit, Refusal> {
        let index = redirected.rule as usize;
        let rule = if redirected.generation == self.generation {
            // The kernel decided by these very rules and by the same function.
            self.outbound.get(index)
        } else {
            let name = self.rule_name(redirected);
            name.and_then(|name| self.outbound.iter().find(|rule| rule.name == name))
        };
        let changed = || {
            Refusal::new(
                Reason::PolicyChanged,
                "the rule that redirected the connection is gone; the application may try again",
            )
        };
        let rule = rule.ok_or_else(changed)?;
        let route = rule.route.clone().ok_or_else(changed)?;
        Ok(OutboundPermit::new(
            redirected,
            Some(Arc::clone(&rule.name)),
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

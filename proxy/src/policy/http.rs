//! What one generation of policy says of the requests of one listener.

use std::{collections::BTreeMap, sync::Arc};

use super::PolicyError;
use crate::{config, upstream::Upstream};

/// The routes of one listener, and what is behind them.
#[derive(Debug)]
pub struct HttpPolicy {
    /// As it is configured.
    pub spec: config::Http,
    /// By name, all that the routes name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
}

impl HttpPolicy {
    /// Puts it together of the upstreams that `named` finds.
    pub(super) fn build(
        http: &config::Http,
        named: impl Fn(&String) -> Result<Arc<Upstream>, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let forwards = http.routes.iter().filter_map(|route| match &route.action {
            config::http::RouteAction::Forward(forward) => Some(&forward.upstream),
            _ => None,
        });
        let found = forwards.map(|name| Ok((name.clone(), named(name)?)));
        Ok(Self {
            spec: http.clone(),
            upstreams: found.collect::<Result<_, PolicyError>>()?,
        })
    }
}

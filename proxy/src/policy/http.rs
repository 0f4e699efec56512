//! What one generation of policy says of the requests of one listener.

use std::sync::Arc;

use super::PolicyError;
use crate::{
    config::{
        self,
        http::{Route, RouteAction},
    },
    http::route::Routes,
    upstream::Upstream,
};

/// The routes of one listener, and what is behind them.
#[derive(Debug)]
pub struct HttpPolicy {
    /// As it is configured.
    pub spec: config::Http,
    /// Which of its routes is for a request.
    pub routes: Routes,
    /// What records and requests need of each route.
    behind: Vec<Behind>,
}

#[derive(Debug)]
struct Behind {
    name: Arc<str>,
    upstream: Option<Arc<Upstream>>,
}

/// The route that a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// As it is configured.
    pub route: &'a Route,
    /// Its name in records.
    pub name: &'a Arc<str>,
    /// Where it goes, if it goes anywhere.
    pub upstream: Option<&'a Arc<Upstream>>,
}

impl HttpPolicy {
    /// Puts it together of the upstreams that `named` finds.
    pub(super) fn build(
        http: &config::Http,
        named: impl Fn(&String) -> Result<Arc<Upstream>, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let behind = http.routes.iter().map(|route| {
            let upstream = match &route.action {
                RouteAction::Forward(forward) => Some(named(&forward.upstream)?),
                RouteAction::Redirect(_) | RouteAction::Answer(_) => None,
            };
            let name = route.name.as_str().into();
            Ok(Behind { name, upstream })
        });
        Ok(Self {
            behind: behind.collect::<Result<_, PolicyError>>()?,
            routes: Routes::build(http),
            spec: http.clone(),
        })
    }

    /// The route of this index.
    pub fn routed(&self, index: usize) -> Option<Routed<'_>> {
        let Behind { name, upstream } = self.behind.get(index)?;
        Some(Routed {
            route: self.spec.routes.get(index)?,
            name,
            upstream: upstream.as_ref(),
        })
    }
}

//! Either kind of daemon, for what both do.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    App, Plain, ReloadError, ServingReport, explain::ExplainedListener, serving::UpstreamReport,
};
use crate::{
    data::DataPath,
    policy::explain::{Asked, NotServed, served},
};

/// A running daemon. Cheap to clone.
#[derive(Clone)]
pub enum Daemon {
    /// It intercepts.
    Intercepting(Arc<App>),
    /// It serves listeners alone.
    Plain(Arc<Plain>),
}

impl Daemon {
    /// What connections use.
    pub fn data(&self) -> &Arc<DataPath> {
        match self {
            Self::Intercepting(app) => &app.data,
            Self::Plain(plain) => &plain.data,
        }
    }

    /// See [`App::reload`].
    ///
    /// # Errors
    /// [`ReloadError`]
    pub async fn reload(&self) -> Result<u32, ReloadError> {
        match self {
            Self::Intercepting(app) => app.reload().await,
            Self::Plain(plain) => plain.reload().await,
        }
    }

    /// Explains who comes to a listener, and what becomes of a request there.
    ///
    /// # Errors
    /// [`NotServed`]
    pub fn explain_listener(
        &self,
        name: &str,
        from: Option<IpAddr>,
        asked: Option<&Asked>,
    ) -> Result<ExplainedListener, NotServed> {
        let policy = self.data().policy.load();
        let explained = served(&policy.config, name, from, asked)?;
        let ServingReport { upstreams, .. } = match self {
            Self::Intercepting(app) => app.serving(),
            Self::Plain(plain) => plain.serving(),
        };
        let behind =
            |one: &&UpstreamReport| explained.upstreams.iter().any(|name| **name == *one.name);
        let states = upstreams.iter().filter(behind);
        let states: Vec<String> = states.flat_map(UpstreamReport::states).collect();
        let draining = self.data().live.is_draining();
        let now = match (draining, states.as_slice()) {
            (true, _) => "the daemon is stopping, and takes no new connections".to_owned(),
            (false, []) => "the daemon serves it".to_owned(),
            (false, states) => format!("the daemon serves it; {}", states.join(", ")),
        };
        Ok(ExplainedListener { explained, now })
    }

    /// See [`App::drain`].
    pub async fn drain(&self, within: Duration) -> bool {
        match self {
            Self::Intercepting(app) => app.drain(within).await,
            Self::Plain(plain) => plain.drain(within).await,
        }
    }
}

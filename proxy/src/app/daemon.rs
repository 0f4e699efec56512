//! Either kind of daemon, for what both do.

use std::{sync::Arc, time::Duration};

use super::{App, Plain, ReloadError};
use crate::data::DataPath;

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

    /// See [`App::drain`].
    pub async fn drain(&self, within: Duration) -> bool {
        match self {
            Self::Intercepting(app) => app.drain(within).await,
            Self::Plain(plain) => plain.drain(within).await,
        }
    }
}

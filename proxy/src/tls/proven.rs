//! A peer after its handshake, as it can be judged again.

use std::{
    fmt,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use rustls::CommonState;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::identity::PeerIdentity;

/// Who a peer proved to be, and the certificates that it showed for it.
#[derive(Clone, Debug)]
pub struct Proven {
    /// What the leaf names.
    pub identity: PeerIdentity,
    /// Leaf first. A copy: the connection has them too, and is in the hands of whoever relays it.
    chain: Vec<CertificateDer<'static>>,
    /// The leaf as text, for those behind us, once somebody has asked for it.
    shown: OnceLock<Box<str>>,
}

impl Proven {
    pub(super) fn new(identity: PeerIdentity, connection: &CommonState) -> Self {
        let shown = connection.peer_certificates().unwrap_or_default();
        Self {
            identity,
            chain: shown
                .iter()
                .cloned()
                .map(CertificateDer::into_owned)
                .collect(),
            shown: OnceLock::new(),
        }
    }

    /// The leaf.
    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// What `show` makes of it, which is asked once for the whole connection.
    pub(crate) fn shown(&self, show: impl FnOnce(&Self) -> String) -> &str {
        self.shown.get_or_init(|| show(self).into())
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The time by which a connection that lives is judged: now, or the last moment in which all of
    /// its certificates were valid. What they say holds until the connection ends, however long that
    /// takes; else each renewal of our own certificate, which is a reload, would cut off whoever
    /// connected before the last of his.
    pub(super) fn as_it_was_valid(&self) -> UnixTime {
        let until = self.identity.not_after.min(SystemTime::now());
        let since_epoch = until.duration_since(SystemTime::UNIX_EPOCH);
        UnixTime::since_unix_epoch(since_epoch.unwrap_or(Duration::ZERO))
    }
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}

#[cfg(test)]
impl Proven {
    /// Who shows this leaf.
    pub(crate) fn of(leaf: CertificateDer<'static>) -> Self {
        Self {
            identity: super::leaf::identity(&leaf).unwrap(),
            chain: vec![leaf],
            shown: OnceLock::new(),
        }
    }
}

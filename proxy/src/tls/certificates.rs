//! The certificates of a listener, by the server name that a client asks for.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::material::OwnIdentity;

/// The certificates of one listener. One lookup for a name, or two where a wildcard has it.
pub struct Certificates {
    first: Arc<OwnIdentity>,
    /// Names in lower case; `*.` stands for one label, as in the certificate.
    by_name: HashMap<Arc<str>, Arc<OwnIdentity>>,
}

impl Certificates {
    /// Those of `identities`; `first` is shown to whoever asks for no name or an unknown one. Of two
    /// with the same name, the one that comes first has it.
    pub fn new(
        first: Arc<OwnIdentity>,
        others: impl IntoIterator<Item = Arc<OwnIdentity>>,
    ) -> Self {
        let mut by_name = HashMap::new();
        for identity in std::iter::once(Arc::clone(&first)).chain(others) {
            for name in &identity.names {
                by_name
                    .entry(Arc::clone(name))
                    .or_insert_with(|| Arc::clone(&identity));
            }
        }
        Self { first, by_name }
    }

    /// Which is shown to a client that asks for `name`.
    pub fn of(&self, name: Option<&str>) -> &Arc<OwnIdentity> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.by_name.get(name.as_str()).or_else(|| {
                let (_, rest) = name.split_once('.')?;
                self.by_name.get(format!("*.{rest}").as_str())
            })
        });
        found.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.of(hello.server_name()).certified_key))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("first", &self.first.label)
            .field("names", &self.by_name.len())
            .finish()
    }
}

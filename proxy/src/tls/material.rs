//! Keys, certificates, bundles and revocation lists, as their files hold them now.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::parse_x509_certificate;

use super::{judge::TrustStore, leaf};
use crate::{
    config::{Config, IdentityFiles, TrustFiles},
    identity::TrustDomain,
};

mod folder;
mod pem;
mod trust;

/// Tells one set of keys and trust from the one before: pools and session stores of different
/// generations share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u64);

impl Generation {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// All key material of one configuration, loaded and checked.
#[derive(Debug)]
pub struct Material {
    /// See [`Generation`].
    pub generation: Generation,
    /// Own identities by their name in the configuration.
    pub identities: BTreeMap<String, Arc<OwnIdentity>>,
    /// Further ones, of the folders that listeners name.
    folders: BTreeMap<PathBuf, Vec<Arc<OwnIdentity>>>,
    /// Whom we trust to vouch for peers.
    pub trust: Arc<TrustStore>,
    /// What works now and deserves a word: a certificate that has expired, a private key that
    /// others can read.
    pub warnings: Vec<String>,
}

/// Who we are on the wire.
#[derive(Debug)]
pub struct OwnIdentity {
    /// Its name in the configuration.
    pub name: String,
    /// Its name in records: the SPIFFE ID, else `dns:`, `ip:` or `cn:` and the first such name.
    pub label: Arc<str>,
    /// DNS names of the leaf, in lower case.
    pub names: Vec<Arc<str>>,
    /// Certificate chain and private key.
    pub certified_key: Arc<CertifiedKey>,
    /// When the leaf expires, or the first of the authorities that come with it.
    pub not_after: SystemTime,
}

/// Everything that is wrong with the files, at once.
#[derive(Debug, thiserror::Error)]
pub struct MaterialErrors(
    /// Never empty.
    pub Vec<MaterialError>,
);

/// What is wrong with one file.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {}: {problem}; {fix}", path.display())]
pub struct MaterialError {
    /// The key of the configuration that names it, `identity.web.private_key`.
    pub place: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for MaterialErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl Material {
    /// Reads every file that `config` names.
    ///
    /// # Errors
    /// All that is wrong with all of them.
    pub fn load(config: &Config) -> Result<Self, MaterialErrors> {
        let tls = config
            .listeners
            .iter()
            .filter_map(|listener| listener.tls.as_ref());
        let folders = tls.filter_map(|tls| tls.certificates.as_deref());
        Self::load_all(&config.identities, &config.trust, folders)
    }

    /// [`Material::load`] of these files alone.
    ///
    /// # Errors
    /// All that is wrong with all of them.
    pub fn load_files(
        identities: &BTreeMap<String, IdentityFiles>,
        trust: &BTreeMap<TrustDomain, TrustFiles>,
    ) -> Result<Self, MaterialErrors> {
        Self::load_all(identities, trust, std::iter::empty())
    }

    fn load_all<'a>(
        identities: &BTreeMap<String, IdentityFiles>,
        trust: &BTreeMap<TrustDomain, TrustFiles>,
        folders: impl Iterator<Item = &'a Path>,
    ) -> Result<Self, MaterialErrors> {
        let mut found = Findings::at(SystemTime::now());
        let identities: BTreeMap<_, _> = identities
            .iter()
            .filter_map(|(name, files)| {
                let identity = identity(name, files, &mut found)?;
                Some((name.clone(), Arc::new(identity)))
            })
            .collect();
        let bundles = trust
            .iter()
            .map(|(domain, files)| (domain.clone(), trust::bundle(domain, files, &mut found)))
            .collect();
        // Several listeners may name the same one.
        let folders: BTreeSet<_> = folders.collect();
        let folders = folders
            .into_iter()
            .map(|folder| (folder.to_owned(), folder::identities(folder, &mut found)))
            .collect();
        if !found.errors.is_empty() {
            return Err(MaterialErrors(found.errors));
        }
        Ok(Self {
            folders,
            generation: Generation::next(),
            identities,
            trust: Arc::new(TrustStore::new(bundles)),
            warnings: found.warnings,
        })
    }
}

impl Material {
    /// The identities of a folder of certificates, in the order of their files' names.
    pub fn in_folder(&self, folder: &Path) -> impl Iterator<Item = Arc<OwnIdentity>> {
        self.folders.get(folder).into_iter().flatten().cloned()
    }
}

/// What loading found so far.
struct Findings {
    now: SystemTime,
    warnings: Vec<String>,
    errors: Vec<MaterialError>,
}

impl Findings {
    fn at(now: SystemTime) -> Self {
        Self {
            now,
            warnings: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// A file that the configuration names.
struct Named {
    place: String,
    path: PathBuf,
}

impl Named {
    fn new(place: String, path: &Path) -> Self {
        Self {
            place,
            path: path.to_owned(),
        }
    }

    fn wrong(&self, problem: impl Into<String>, fix: impl Into<String>) -> MaterialError {
        MaterialError {
            place: self.place.clone(),
            path: self.path.clone(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

fn identity(name: &str, files: &IdentityFiles, found: &mut Findings) -> Option<OwnIdentity> {
    let certificate = Named::new(format!("identity.{name}.certificate"), &files.certificate);
    let private_key = Named::new(format!("identity.{name}.private_key"), &files.private_key);
    pair(name, &certificate, &private_key, found)
}

fn pair(
    name: &str,
    certificate: &Named,
    private_key: &Named,
    found: &mut Findings,
) -> Option<OwnIdentity> {
    // Both are read before either's failure ends it: every error is told at once.
    let chain = own_chain(certificate).map_err(|error| found.errors.push(error));
    let key = pem::private_key(private_key, &mut found.warnings)
        .map_err(|error| found.errors.push(error));
    let (own, key) = chain.ok().zip(key.ok())?;
    let OwnChain {
        chain,
        names,
        label,
        not_after,
    } = own;
    let key = match any_supported_type(&key) {
        Ok(key) => key,
        Err(error) => {
            found.errors.push(private_key.wrong(
                format!("the key cannot be used: {error}"),
                "use an ECDSA P-256 or P-384, Ed25519 or RSA key of at least 2,048 bits",
            ));
            return None;
        }
    };
    let certified_key = CertifiedKey::new(chain, key);
    if let Err(error) = certified_key.keys_match() {
        found.errors.push(private_key.wrong(
            format!(
                "it is not the key of the certificate {} ({error})",
                certificate.path.display()
            ),
            "name the key that the certificate was issued for",
        ));
        return None;
    }
    if not_after < found.now {
        found.warnings.push(format!(
            "{}: {}: the certificate of {label} expired at {}; peers will refuse it until it is renewed",
            certificate.place,
            certificate.path.display(),
            humantime::format_rfc3339_seconds(not_after),
        ));
    }
    Some(OwnIdentity {
        name: name.to_owned(),
        label,
        names,
        certified_key: Arc::new(certified_key),
        not_after,
    })
}

/// A chain that can be shown, leaf first.
struct OwnChain {
    chain: Vec<CertificateDer<'static>>,
    names: Vec<Arc<str>>,
    label: Arc<str>,
    not_after: SystemTime,
}

fn own_chain(file: &Named) -> Result<OwnChain, MaterialError> {
    let chain = pem::certificates(file)?;
    let Some(first) = chain.first() else {
        return Err(pem::no_certificate(file));
    };
    let (_, parsed) = parse_x509_certificate(first).map_err(|error| {
        file.wrong(
            format!("its first certificate cannot be parsed: {error}"),
            "inspect it with `openssl x509 -text -in FILE`",
        )
    })?;
    if parsed.is_ca() {
        return Err(file.wrong(
            "its first certificate is an authority's, which peers refuse",
            "put the leaf first, or issue one: `sidetrack certs issue`",
        ));
    }
    let identity = leaf::identity(first).map_err(|refusal| {
        file.wrong(
            refusal.detail,
            "issue a certificate with one SPIFFE ID and no other URI",
        )
    })?;
    let intermediates = chain.get(1..).unwrap_or_default();
    let not_after = leaf::first_to_expire(intermediates, UnixTime::now())
        .map_or(identity.not_after, |first| first.min(identity.not_after));
    Ok(OwnChain {
        label: identity.to_string().into(),
        names: identity.dns.into_iter().map(Arc::from).collect(),
        chain,
        not_after,
    })
}

#[cfg(test)]
mod tests;

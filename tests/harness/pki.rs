//! Certificates made for one test: good ones, and each flaw that must be refused.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType,
};
use time::{Duration, OffsetDateTime};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// The authorities of one world and the folder of its files.
pub struct Pki {
    dir: PathBuf,
    ours: Ca,
    stranger: Ca,
    next_serial: AtomicU64,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, PKCS#8.
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
    serial: u64,
}

/// How long a certificate with [`Flaw::ShortLived`] is good: two daemons start meanwhile.
pub const SHORT_LIFE: std::time::Duration = std::time::Duration::from_secs(12);

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// Signed by an authority that nobody trusts.
    WrongCa,
    /// Its time is over.
    Expired,
    /// Good for [`SHORT_LIFE`], and then not.
    ShortLived,
    /// Its time has not come.
    NotYetValid,
    /// Valid, but of a workload that is neither expected nor allowed.
    WrongIdentity,
    /// An identity of `other.example` signed by the authority of `example.org`.
    OtherDomain,
}

impl Pki {
    /// New authorities: `example.org`, `other.example`, and one that nobody trusts.
    pub fn create(dir: &Path) -> Self {
        std::fs::create_dir(dir).expect("make a folder");
        let made = Self {
            dir: dir.to_owned(),
            ours: authority("example.org"),
            stranger: authority("stranger"),
            next_serial: AtomicU64::new(1),
        };
        made.write("example.org.crt", &made.ours.pem());
        made.write("other.example.crt", &authority("other.example").pem());
        made
    }

    /// The bundle of `example.org`.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("example.org.crt")
    }

    /// The bundle of `other.example`.
    pub fn other_bundle(&self) -> PathBuf {
        self.dir.join("other.example.crt")
    }

    /// A credential of host `a` or `b`: `spiffe://example.org/a`, `a.example.org`, its addresses.
    pub fn credential(&self, letter: char, flaw: Flaw) -> Credential {
        let name = format!("{letter}-{flaw:?}");
        let (domain, path) = match flaw {
            Flaw::OtherDomain => ("other.example", letter.to_string()),
            Flaw::WrongIdentity => ("example.org", "somebody-else".to_owned()),
            _ => ("example.org", letter.to_string()),
        };
        let number = if letter == 'a' { 1 } else { 2 };
        let mut params = CertificateParams::new([format!("{path}.{domain}")]).expect("a DNS name");
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{path}.{domain}"));
        let uri = format!("spiffe://{domain}/{path}");
        params.subject_alt_names.extend([
            SanType::URI(uri.try_into().expect("ASCII")),
            SanType::IpAddress(IpAddr::from(Ipv4Addr::new(10, 88, 0, number))),
            SanType::IpAddress(IpAddr::from(Ipv6Addr::new(
                0xfd88,
                0,
                0,
                0,
                0,
                0,
                0,
                number.into(),
            ))),
        ]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let now = OffsetDateTime::now_utc();
        let (from, to) = match flaw {
            Flaw::Expired => (-48, -24),
            Flaw::NotYetValid => (24, 48),
            _ => (-1, 24),
        };
        params.not_before = now + Duration::hours(from);
        params.not_after = match flaw {
            Flaw::ShortLived => now + SHORT_LIFE,
            _ => now + Duration::hours(to),
        };
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        let issuer = if flaw == Flaw::WrongCa {
            &self.stranger
        } else {
            &self.ours
        };
        let key = KeyPair::generate().expect("make a key");
        let certificate = params.signed_by(&key, issuer).expect("sign").pem();
        Credential {
            serial,
            certificate: self.write(&format!("{name}.crt"), &certificate),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
            both: self.write(
                &format!("{name}.pem"),
                &(certificate + &key.serialize_pem()),
            ),
        }
    }

    /// A folder of `count` certificates, `n0.example.org` and so on, each with a key of its own.
    pub fn many(&self, count: u64) -> PathBuf {
        let folder = self.dir.join("many");
        std::fs::create_dir(&folder).expect("make a folder");
        let threads =
            std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
        std::thread::scope(|scope| {
            for first in 0..threads {
                scope.spawn(move || {
                    let step = usize::try_from(threads).expect("a few");
                    for index in (first..count).step_by(step) {
                        self.one_of_many(index);
                    }
                });
            }
        });
        folder
    }

    /// A new certificate in that folder in place of the one before; gives it as PEM.
    pub fn one_of_many(&self, index: u64) -> String {
        let name = format!("n{index}.example.org");
        let params = CertificateParams::new([name]).expect("a DNS name");
        let key = KeyPair::generate().expect("make a key");
        let certificate = params.signed_by(&key, &self.ours).expect("sign").pem();
        self.write(&format!("many/{index}.key"), &key.serialize_pem());
        self.write(&format!("many/{index}.crt"), &certificate);
        certificate
    }

    /// A list of `example.org` that revokes these certificates.
    pub fn revoke(&self, credentials: &[Credential]) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let list = CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + Duration::hours(24),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: credentials
                .iter()
                .map(|credential| RevokedCertParams {
                    serial_number: credential.serial.into(),
                    revocation_time: now,
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.ours).expect("sign the list");
        self.write("example.org.crl", &signed.pem().expect("write the list"))
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.dir.join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, content.as_bytes()))
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }
}

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{name} test CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let uri = format!("spiffe://{name}");
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("make a key")).expect("sign")
}

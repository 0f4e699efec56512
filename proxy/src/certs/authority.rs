//! Making an authority, and certificates by it. All keys are ECDSA P-256: the cheapest to sign
//! with that every peer verifies.

use std::{fmt, net::IpAddr, path::Path};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};
use zeroize::Zeroizing;

use super::{
    CertsError,
    files::{self, Existing, Secrecy},
    validity::Validity,
};
use crate::{
    identity::{SpiffeId, TrustDomain},
    tls,
};

/// A certificate that somebody wants.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// Common name, for people.
    pub name: String,
    /// SPIFFE IDs. Peers refuse a leaf with more than one.
    pub spiffe: Vec<SpiffeId>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// When it is valid.
    pub validity: Validity,
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct Issued {
    certificate: Certificate,
    key: KeyPair,
    serial: Serial,
}

/// The serial number by which a revocation list names a certificate.
#[derive(Clone, Debug)]
pub struct Serial(SerialNumber);

/// A certificate authority that can sign.
pub struct Authority {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
    domain: Option<TrustDomain>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a self-signed authority. Its trust domain is written into its certificate (as
    /// X509-SVID section 4.2 has it), so that it cannot be forgotten.
    ///
    /// # Errors
    /// If the name cannot be written into a certificate.
    pub fn create(
        name: &str,
        domain: Option<TrustDomain>,
        validity: Validity,
    ) -> Result<Self, CertsError> {
        let failed = |source| CertsError::Make {
            what: format!("the authority {name}"),
            source,
        };
        let key = new_key().map_err(failed)?;
        let mut params = params(name, validity);
        params.serial_number = Some(new_serial()?);
        // It signs leaves and no other authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if let Some(domain) = &domain {
            let uri = format!("spiffe://{domain}").try_into().map_err(failed)?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            certificate_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
            domain,
            issuer: Issuer::new(params, key),
        })
    }

    /// Opens the authority that [`Authority::write`] wrote, or another one's PEM files.
    ///
    /// # Errors
    /// If a file is missing, is no authority's, or the key is another's.
    pub fn open(certificate: &Path, private_key: &Path) -> Result<Self, CertsError> {
        let certificate_pem = files::read_text(certificate)?;
        let key_pem = Zeroizing::new(files::read_text(private_key)?);
        let unfit = |path: &Path, problem: String, fix| CertsError::Unfit {
            path: path.into(),
            problem,
            fix,
        };
        let key = KeyPair::from_pem(&key_pem).map_err(|error| {
            unfit(
                private_key,
                error.to_string(),
                "it must hold a PKCS#8 or SEC1 private key",
            )
        })?;
        let (_, block) =
            x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).map_err(|error| {
                unfit(
                    certificate,
                    error.to_string(),
                    "it must hold one PEM certificate",
                )
            })?;
        let (_, parsed) = parse_x509_certificate(&block.contents).map_err(|error| {
            unfit(
                certificate,
                error.to_string(),
                "it must hold one PEM certificate",
            )
        })?;
        if !parsed.is_ca() {
            return Err(unfit(
                certificate,
                "it is not an authority's certificate".into(),
                "make an authority: `sidetrack certs init`",
            ));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(unfit(
                private_key,
                format!("it is not the key of {}", certificate.display()),
                "name the two files of one authority",
            ));
        }
        let domain = parsed
            .subject_alternative_name()
            .ok()
            .flatten()
            .into_iter()
            .flat_map(|names| &names.value.general_names)
            .find_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix("spiffe://")?.parse().ok(),
                _ => None,
            });
        let issuer =
            Issuer::from_ca_cert_der(&block.contents.as_slice().into(), key).map_err(|error| {
                unfit(
                    certificate,
                    error.to_string(),
                    "it must be a CA certificate",
                )
            })?;
        Ok(Self {
            certificate_pem,
            key_pem,
            domain,
            issuer,
        })
    }

    /// The trust domain that its certificate names.
    pub fn trust_domain(&self) -> Option<&TrustDomain> {
        self.domain.as_ref()
    }

    /// Its certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Writes both files, the key first: a certificate without a key is no use, and says so.
    ///
    /// # Errors
    /// If one exists and is to be kept, or cannot be written.
    pub fn write(
        &self,
        certificate: &Path,
        key: &Path,
        existing: Existing,
    ) -> Result<(), CertsError> {
        files::write(key, self.key_pem.as_bytes(), Secrecy::Private, existing)?;
        files::write(
            certificate,
            self.certificate_pem.as_bytes(),
            Secrecy::Public,
            existing,
        )
    }

    /// Makes a key and signs a certificate for it, usable as a TLS client and server. The
    /// request is taken as it is: tests need bad ones.
    ///
    /// # Errors
    /// If a name cannot be written into a certificate.
    pub fn issue(&self, request: &LeafRequest) -> Result<Issued, CertsError> {
        let failed = |source| CertsError::Make {
            what: format!("the certificate of {}", request.name),
            source,
        };
        let key = new_key().map_err(failed)?;
        let serial = new_serial()?;
        let mut params = params(&request.name, request.validity);
        params.serial_number = Some(serial.clone());
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        for id in &request.spiffe {
            let uri = id.as_str().try_into().map_err(failed)?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        for name in &request.dns {
            let name = name.as_str().try_into().map_err(failed)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let ips = request.ips.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(ips);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued {
            certificate,
            key,
            serial: Serial(serial),
        })
    }

    /// A revocation list, PEM, that names `revoked`.
    ///
    /// # Errors
    /// If signing fails.
    pub fn revocation_list<'a>(
        &self,
        revoked: impl IntoIterator<Item = &'a Serial>,
        validity: Validity,
    ) -> Result<String, CertsError> {
        let revoked_certs = revoked
            .into_iter()
            .map(|Serial(serial)| RevokedCertParams {
                serial_number: serial.clone(),
                revocation_time: validity.not_before,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect();
        CertificateRevocationListParams {
            this_update: validity.not_before,
            next_update: validity.not_after,
            // Later lists of one issuer have greater numbers (RFC 5280 section 5.2.3).
            crl_number: validity.not_before.unix_timestamp().unsigned_abs().into(),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .and_then(|list| list.pem())
        .map_err(|source| CertsError::Make {
            what: "a revocation list".into(),
            source,
        })
    }
}

/// Without the key, which a derived one would print.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl Issued {
    /// What a revocation list needs to name it.
    pub fn revocation(&self) -> Serial {
        self.serial.clone()
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// Writes both files, the key first.
    ///
    /// # Errors
    /// If one exists and is to be kept, or cannot be written.
    pub fn write(
        &self,
        certificate: &Path,
        key: &Path,
        existing: Existing,
    ) -> Result<(), CertsError> {
        files::write(key, self.key_pem().as_bytes(), Secrecy::Private, existing)?;
        files::write(
            certificate,
            self.certificate_pem().as_bytes(),
            Secrecy::Public,
            existing,
        )
    }
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// 127 random bits: positive, and never twice (RFC 5280 section 4.1.2.2).
fn new_serial() -> Result<SerialNumber, CertsError> {
    let mut bytes = [0; 16];
    tls::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| CertsError::Make {
            what: "a serial number".into(),
            source: rcgen::Error::RingUnspecified,
        })?;
    let positive = u128::from_be_bytes(bytes) >> 1 | 1;
    Ok(SerialNumber::from_slice(&positive.to_be_bytes()))
}

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::*;
use crate::certs::{
    authority::{Authority, Issued, LeafRequest},
    files::Existing,
    validity::Validity,
};

const HOUR: i64 = 3600;

fn authority() -> Authority {
    let validity = Validity::offset(-HOUR, 100 * HOUR).unwrap();
    Authority::create("test CA", None, validity).unwrap()
}

fn issue(ca: &Authority, ids: &[&str], until: i64) -> Issued {
    ca.issue(&LeafRequest {
        name: "web".into(),
        spiffe: ids.iter().map(|id| id.parse().unwrap()).collect(),
        dns: Vec::new(),
        ips: Vec::new(),
        validity: Validity::offset(-2 * HOUR, until).unwrap(),
    })
    .unwrap()
}

/// A folder with a good `web.crt`, `web.key`, `ca.crt` and `ca.key`.
fn folder() -> (TempDir, Authority) {
    let dir = TempDir::new().unwrap();
    let ca = authority();
    let path = |name: &str| dir.path().join(name);
    ca.write(&path("ca.crt"), &path("ca.key"), Existing::Keep)
        .unwrap();
    issue(&ca, &["spiffe://example.org/web"], HOUR)
        .write(&path("web.crt"), &path("web.key"), Existing::Keep)
        .unwrap();
    (dir, ca)
}

fn load(
    dir: &TempDir,
    certificate: &str,
    key: &str,
    bundle: &str,
) -> Result<Material, MaterialErrors> {
    let identity = IdentityFiles {
        certificate: dir.path().join(certificate),
        private_key: dir.path().join(key),
    };
    let trust = TrustFiles {
        bundle: dir.path().join(bundle),
        crl: None,
    };
    Material::load_files(
        &BTreeMap::from([("web".to_owned(), identity)]),
        &BTreeMap::from([("example.org".parse().unwrap(), trust)]),
    )
}

/// The one error of loading, as it is printed.
fn error(dir: &TempDir, certificate: &str, key: &str, bundle: &str) -> String {
    let errors = load(dir, certificate, key, bundle).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn good_files_make_an_identity_and_each_load_a_generation_of_its_own() {
    let (dir, _) = folder();
    let first = load(&dir, "web.crt", "web.key", "ca.crt").unwrap();
    let second = load(&dir, "web.crt", "web.key", "ca.crt").unwrap();
    assert_eq!(&*first.identities["web"].label, "spiffe://example.org/web");
    assert_eq!(first.warnings, [""; 0]);
    assert_ne!(first.generation, second.generation);
}

#[test]
fn every_error_is_told_at_once_with_its_place() {
    let (dir, _) = folder();
    let errors = load(&dir, "no.crt", "no.key", "no-ca.crt").unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), 3, "{text}");
    for place in [
        "identity.web.certificate",
        "identity.web.private_key",
        "trust.\"example.org\".bundle",
    ] {
        assert!(text.contains(place), "{text}");
    }
    assert!(text.contains("there is no such file"), "{text}");
}

#[test]
fn each_usual_mistake_has_its_answer() {
    let (dir, ca) = folder();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("noise"), b"\x30\x82\x01\x00").unwrap();
    fs::write(path("empty"), b"").unwrap();
    fs::write(
        path("locked.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    issue(
        &ca,
        &["spiffe://example.org/a", "spiffe://example.org/b"],
        HOUR,
    )
    .write(&path("two.crt"), &path("two.key"), Existing::Keep)
    .unwrap();

    for (certificate, key, bundle, says) in [
        ("noise", "web.key", "ca.crt", "it is not PEM"),
        ("empty", "web.key", "ca.crt", "it is empty"),
        (".", "web.key", "ca.crt", "not a regular file"),
        ("web.key", "web.key", "ca.crt", "it holds no certificate"),
        ("web.crt", "web.crt", "ca.crt", "may be swapped"),
        ("web.crt", "locked.key", "ca.crt", "encrypted"),
        (
            "web.crt",
            "ca.key",
            "ca.crt",
            "not the key of the certificate",
        ),
        ("ca.crt", "ca.key", "ca.crt", "put the leaf first"),
        ("two.crt", "two.key", "ca.crt", "more than one SPIFFE ID"),
        ("web.crt", "web.key", "web.crt", "is not an authority's"),
        ("web.crt", "web.key", "web.key", "it holds no certificate"),
    ] {
        let text = error(&dir, certificate, key, bundle);
        assert!(text.contains(says), "{certificate} {key} {bundle}: {text}");
    }
}

#[test]
fn an_expired_authority_or_revocation_list_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let past = Validity::offset(-2 * HOUR, -HOUR).unwrap();
    let ca = Authority::create("old CA", None, past).unwrap();
    fs::write(path("ca.crt"), ca.certificate_pem()).unwrap();
    fs::write(path("ca.crl"), ca.revocation_list([], past).unwrap()).unwrap();
    let trust = TrustFiles {
        bundle: path("ca.crt"),
        crl: Some(path("ca.crl")),
    };
    let trust = BTreeMap::from([("example.org".parse().unwrap(), trust)]);
    let warnings = Material::load_files(&BTreeMap::new(), &trust)
        .unwrap()
        .warnings;
    let text = warnings.join("\n");
    assert_eq!(warnings.len(), 2, "{text}");
    assert!(text.contains("the authority CN=old CA expired"), "{text}");
    assert!(text.contains("a revocation list expired"), "{text}");
}

#[test]
fn what_works_but_should_not_stay_is_a_warning() {
    let (dir, ca) = folder();
    let path = |name: &str| dir.path().join(name);
    issue(&ca, &["spiffe://example.org/old"], -HOUR)
        .write(&path("old.crt"), &path("old.key"), Existing::Keep)
        .unwrap();
    fs::set_permissions(path("old.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let warnings = load(&dir, "old.crt", "old.key", "ca.crt").unwrap().warnings;
    let text = warnings.join("\n");
    assert_eq!(warnings.len(), 2, "{text}");
    assert!(
        text.contains("mode 640") && text.contains("chmod 600"),
        "{text}"
    );
    assert!(text.contains("expired at"), "{text}");
}

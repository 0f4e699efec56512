//! Against the real `openssl`: it reads what we write, and we read what it writes.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use super::{
    CertsError,
    files::{self, Existing, Secrecy},
    profiles,
    show::{self, Verified},
};
use crate::{
    config::{IdentityFiles, TrustFiles},
    tls::material::Material,
};

const PROFILES: &str = include_str!("../../../certs/profiles.toml");

fn openssl(dir: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("openssl is installed (Debian package openssl)")
}

/// Standard output of a command that must succeed.
fn succeeds(dir: &Path, arguments: &str) -> String {
    let output = openssl(dir, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn development_set() -> TempDir {
    let dir = TempDir::new().unwrap();
    profiles::write(PROFILES, dir.path(), Existing::Keep).unwrap();
    dir
}

#[test]
fn openssl_verifies_the_good_ones_and_refuses_the_bad_ones() {
    let dir = development_set();
    for name in ["client", "server"] {
        for purpose in ["sslclient", "sslserver"] {
            let arguments =
                format!("verify -x509_strict -CAfile ca.crt -purpose {purpose} {name}.crt");
            assert_eq!(
                succeeds(dir.path(), &arguments),
                format!("{name}.crt: OK\n")
            );
        }
    }
    for (name, says) in [
        ("other-client", "error 7"),
        ("other-server", "error 7"),
        ("expired", "certificate has expired"),
        ("not-yet-valid", "certificate is not yet valid"),
        ("revoked", "certificate revoked"),
    ] {
        let arguments = format!("verify -crl_check -CRLfile ca.crl -CAfile ca.crt {name}.crt");
        let output = openssl(dir.path(), &arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name}");
        // An authority of the same name and another key is told by its key identifier.
        let unknown = errors.contains("unable to get local issuer certificate");
        assert!(
            errors.contains(says) || (says == "error 7" && unknown),
            "{name}: {errors}"
        );
    }
}

#[test]
fn openssl_reads_the_names_that_were_asked_for() {
    let dir = development_set();
    let text = succeeds(dir.path(), "x509 -in server.crt -noout -text");
    for part in [
        "URI:spiffe://example.org/server",
        "DNS:server.example.org, DNS:localhost",
        "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "CA:FALSE",
        "prime256v1",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let wrong = succeeds(
        dir.path(),
        "x509 -in wrong-domain.crt -noout -ext subjectAltName",
    );
    assert!(wrong.contains("spiffe://other.example/client"), "{wrong}");
}

#[test]
fn keys_are_for_their_owner_only_and_nothing_is_overwritten_by_accident() {
    let dir = development_set();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("key") => assert_eq!(mode, 0o600, "{}", path.display()),
            Some("crt" | "crl") => assert_eq!(mode & 0o133, 0, "{}", path.display()),
            _ => panic!("{} was left behind", path.display()),
        }
    }
    let before = fs::read(dir.path().join("ca.key")).unwrap();
    let again = profiles::write(PROFILES, dir.path(), Existing::Keep);
    assert!(matches!(again, Err(CertsError::Exists { .. })), "{again:?}");
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), before);
    profiles::write(PROFILES, dir.path(), Existing::Replace).unwrap();
    assert_ne!(fs::read(dir.path().join("ca.key")).unwrap(), before);
}

#[test]
fn a_private_file_replaces_a_wider_one_with_its_own_mode() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.key");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let kept = files::write(&path, b"new", Secrecy::Private, Existing::Keep);
    assert!(matches!(kept, Err(CertsError::Exists { .. })), "{kept:?}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    files::write(&path, b"new", Secrecy::Private, Existing::Replace).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_daemon_loads_what_openssl_made_in_every_form_of_key() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let extensions =
        "subjectAltName=URI:spiffe://example.org/openssl\nextendedKeyUsage=clientAuth,serverAuth\n";
    fs::write(dir.join("leaf.ext"), extensions).unwrap();
    succeeds(dir, "ecparam -name prime256v1 -genkey -noout -out ca.key");
    succeeds(
        dir,
        "req -x509 -new -key ca.key -subj /CN=openssl -days 30 -out ca.crt",
    );
    succeeds(dir, "ecparam -name prime256v1 -genkey -noout -out sec1.key");
    succeeds(dir, "pkcs8 -topk8 -nocrypt -in sec1.key -out pkcs8.key");
    succeeds(
        dir,
        "ecparam -name prime256v1 -genkey -out with-parameters.key",
    );
    succeeds(dir, "genrsa -traditional -out pkcs1.key 2048");
    for key in ["sec1", "pkcs8", "with-parameters", "pkcs1"] {
        succeeds(
            dir,
            &format!("req -new -key {key}.key -subj /CN=leaf -out {key}.csr"),
        );
        succeeds(
            dir,
            &format!(
                "x509 -req -in {key}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3 \
                 -extfile leaf.ext -out {key}.crt"
            ),
        );
        let identity = IdentityFiles {
            certificate: dir.join(format!("{key}.crt")),
            private_key: dir.join(format!("{key}.key")),
        };
        let trust = TrustFiles {
            bundle: dir.join("ca.crt"),
            crl: None,
        };
        let material = Material::load_files(
            &BTreeMap::from([("own".to_owned(), identity)]),
            &BTreeMap::from([("example.org".parse().unwrap(), trust)]),
        )
        .unwrap();
        assert_eq!(
            &*material.identities["own"].label,
            "spiffe://example.org/openssl"
        );
        let shown = show::show(
            &dir.join(format!("{key}.crt")),
            Some(&show::authorities(&dir.join("ca.crt")).unwrap()),
        )
        .unwrap();
        assert_eq!(shown[0].verified, Some(Verified::Yes));
    }
}

#[test]
fn show_tells_who_until_when_and_whether_an_authority_vouches() {
    let dir = development_set();
    let path = |name: &str| dir.path().join(name);
    let authorities = show::authorities(&path("ca.crt")).unwrap();
    let server = &show::show(&path("server.crt"), Some(&authorities)).unwrap()[0];
    assert_eq!(server.uris, ["spiffe://example.org/server"]);
    assert_eq!(server.ips, ["127.0.0.1", "::1"]);
    assert!((364..=365).contains(&server.days_left), "{server}");
    assert_eq!(server.state, "valid");
    assert_eq!(server.verified, Some(Verified::Yes));
    let expired = &show::show(&path("expired.crt"), Some(&authorities)).unwrap()[0];
    assert_eq!(expired.state, "expired");
    assert!((-2..=-1).contains(&expired.days_left), "{expired}");
    let other = &show::show(&path("other-client.crt"), Some(&authorities)).unwrap()[0];
    assert!(matches!(other.verified, Some(Verified::No(_))), "{other}");
    assert_eq!(
        show::show(&path("not-yet-valid.crt"), None).unwrap()[0].state,
        "not yet valid"
    );
    assert!(matches!(
        show::show(&path("ca.key"), None),
        Err(CertsError::Unfit { .. })
    ));
}

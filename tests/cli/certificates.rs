//! `sidetrack certs`, and certificates that were made by others.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{Finished, Running};

use crate::sidetrack;

fn openssl(dir: &Path, args: &str) -> Finished {
    let mut command = Command::new("openssl");
    command.args(args.split(' ')).current_dir(dir);
    Running::spawn(command).finish()
}

/// A configuration with one identity, as short as it may be.
fn check(dir: &Path, certificate: &str, key: &str, bundle: &str) -> Finished {
    let path = dir.join("sidetrack.toml");
    let toml = format!(
        "version = 1\n[identity.own]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n\
         [trust.\"example.org\"]\nbundle = \"{bundle}\"\n{}",
        harness::rules::outbound_mtls("tunnel", "spiffe://example.org/b"),
    );
    fs::write(&path, toml).unwrap();
    sidetrack(&["check", "--config", path.to_str().unwrap()])
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn certs_makes_an_authority_and_a_leaf_that_openssl_and_check_accept() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    sidetrack(&[
        "certs",
        "init",
        "--dir",
        at,
        "--trust-domain",
        "example.org",
    ])
    .expect_code(0);
    let id = "spiffe://example.org/web";
    let names = [
        "--spiffe",
        id,
        "--dns",
        "web.example.org",
        "--ip",
        "10.1.0.5",
    ];
    sidetrack(&[&["certs", "issue", "--dir", at, "web"], &names[..]].concat()).expect_code(0);
    openssl(dir.path(), "verify -x509_strict -CAfile ca.crt web.crt").expect_code(0);
    let leaf = openssl(dir.path(), "x509 -in web.crt -noout -ext subjectAltName").expect_code(0);
    for name in [id, "web.example.org", "10.1.0.5"] {
        assert!(leaf.stdout.contains(name), "{leaf}");
    }
    assert_eq!(mode(dir.path().join("ca.key")), 0o600);
    assert_eq!(mode(dir.path().join("web.key")), 0o600);
    check(dir.path(), "web.crt", "web.key", "ca.crt").expect_code(0);
    let crt = dir.path().join("web.crt").display().to_string();
    let ca = dir.path().join("ca.crt").display().to_string();
    let shown = sidetrack(&["certs", "show", &crt, "--ca", &ca]).expect_code(0);
    assert!(shown.stdout.contains(id), "{shown}");
}

#[test]
fn certs_replaces_nothing_unless_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let init = [
        "certs",
        "init",
        "--dir",
        at,
        "--trust-domain",
        "example.org",
    ];
    sidetrack(&init).expect_code(0);
    let before = fs::read(dir.path().join("ca.key")).unwrap();
    sidetrack(&init)
        .expect_code(1)
        .expect_words(&["ca.", "--force"]);
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), before);
}

#[test]
fn keys_and_certificates_that_openssl_made_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let ca = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt \
              -days 2 -subj /CN=ca -addext keyUsage=critical,keyCertSign";
    openssl(at, &ca.split_whitespace().collect::<Vec<_>>().join(" ")).expect_code(0);
    fs::write(
        at.join("ext"),
        "subjectAltName=URI:spiffe://example.org/a,DNS:a.example.org\n\
         extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n",
    )
    .unwrap();
    // PKCS#8, PKCS#1 and SEC1, as `openssl` writes each.
    for (name, make) in [
        (
            "pkcs8",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out pkcs8.key",
        ),
        ("pkcs1", "genrsa -traditional -out pkcs1.key 2048"),
        (
            "sec1",
            "ecparam -name prime256v1 -genkey -noout -out sec1.key",
        ),
    ] {
        openssl(at, make).expect_code(0);
        openssl(
            at,
            &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"),
        )
        .expect_code(0);
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -extfile ext -out {name}.crt"
        );
        openssl(at, &sign).expect_code(0);
        check(at, &format!("{name}.crt"), &format!("{name}.key"), "ca.crt").expect_code(0);
    }
}

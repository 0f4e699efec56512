//! Reading PEM files (RFC 7468), with an answer for each of the usual mistakes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
};

use nix::unistd::geteuid;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{PemObject, SectionKind},
};
use zeroize::Zeroizing;

use super::{MaterialError, Named};

/// No bundle is larger; a path that names a device or a disk image ends here.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Every certificate of a file, at least one.
pub(super) fn certificates(file: &Named) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let (bytes, _) = read(file)?;
    let found = collect(file, &bytes)?;
    if found.is_empty() {
        return Err(no_certificate(file));
    }
    Ok(found)
}

/// Every revocation list of a file, at least one.
pub(super) fn revocation_lists(
    file: &Named,
) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let (bytes, _) = read(file)?;
    let found = collect(file, &bytes)?;
    if found.is_empty() {
        return Err(file.wrong(
            "it holds no revocation list",
            "it must have a block BEGIN X509 CRL; convert DER with `openssl crl -inform der -in FILE`",
        ));
    }
    Ok(found)
}

/// The first private key of a file: PKCS#8, SEC1 or PKCS#1. Warns if others may read it.
pub(super) fn private_key(
    file: &Named,
    warnings: &mut Vec<String>,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, MaterialError> {
    let (bytes, mode) = read(file)?;
    if mode & 0o077 != 0 {
        warnings.push(format!(
            "{}: {}: its mode {:o} lets others than its owner at the private key; chmod 600 it",
            file.place,
            file.path.display(),
            mode & 0o777,
        ));
    }
    let mut keys = collect::<PrivateKeyDer<'static>>(file, &bytes)?.into_iter();
    if let Some(key) = keys.next() {
        return Ok(Zeroizing::new(key));
    }
    if find(&bytes, b"ENCRYPTED PRIVATE KEY") {
        return Err(file.wrong(
            "the private key is encrypted, and nobody is there to type its passphrase",
            "decrypt it with `openssl pkey -in FILE -out NEW` and protect NEW by its mode",
        ));
    }
    if find(&bytes, b"BEGIN CERTIFICATE") {
        return Err(file.wrong(
            "it holds a certificate and no private key",
            "name the key's file; certificate and private_key may be swapped",
        ));
    }
    Err(file.wrong(
        "it holds no private key",
        "it must have a block BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY",
    ))
}

/// The error of a file in which a certificate was looked for in vain.
pub(super) fn no_certificate(file: &Named) -> MaterialError {
    file.wrong(
        "it holds no certificate",
        "it must have a block BEGIN CERTIFICATE; the key belongs into private_key",
    )
}

/// All objects of one kind; others beside them are passed over.
fn collect<T: PemObject>(file: &Named, bytes: &[u8]) -> Result<Vec<T>, MaterialError> {
    if !find(bytes, b"-----BEGIN ") {
        return Err(file.wrong(
            if bytes.is_empty() {
                "it is empty"
            } else {
                "it is not PEM"
            },
            "it must be text with -----BEGIN …----- lines; convert DER with \
             `openssl x509|pkey|crl -inform der -in FILE`",
        ));
    }
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>) as PemObject>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error| {
            file.wrong(
                format!("its PEM is damaged: {error}"),
                "copy it again, whole, with its BEGIN and END lines",
            )
        })?;
        found.extend(T::from_pem(kind, der));
    }
    Ok(found)
}

fn find(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// A file's bytes, wiped when dropped, and its mode. Type, mode and size are those of the very
/// file that is read.
fn read(file: &Named) -> Result<(Zeroizing<Vec<u8>>, u32), MaterialError> {
    let open = || -> io::Result<_> {
        let opened = File::open(&file.path)?;
        let metadata = opened.metadata()?;
        Ok((opened, metadata))
    };
    let (opened, metadata) = open().map_err(|error| unreadable(file, &error))?;
    if !metadata.is_file() {
        return Err(file.wrong("it is not a regular file", "name a PEM file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(file.wrong("it is larger than 16 MiB", "name a PEM file"));
    }
    // Room for all of it at once: growing would leave copies of a key in freed memory.
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    opened
        .take(metadata.len())
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(file, &error))?;
    Ok((bytes, metadata.mode()))
}

fn unreadable(file: &Named, error: &io::Error) -> MaterialError {
    match error.kind() {
        io::ErrorKind::NotFound => file.wrong(
            "there is no such file",
            "create it, or correct the path; relative paths start at the configuration's folder",
        ),
        io::ErrorKind::PermissionDenied => {
            let hint = match file.path.metadata() {
                Ok(meta) => format!(
                    "its mode is {:o}, its owner uid {} and group gid {}",
                    meta.mode() & 0o777,
                    meta.uid(),
                    meta.gid()
                ),
                Err(_) => "a folder above it may not be entered".to_owned(),
            };
            file.wrong(
                format!("permission denied to uid {}: {hint}", geteuid()),
                "let the daemon's user read it, and nobody else",
            )
        }
        _ => file.wrong(format!("reading it failed: {error}"), "see the error"),
    }
}

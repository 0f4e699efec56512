//! An element of `X-Forwarded-Client-Cert`, as Envoy writes it.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use x509_parser::{
    asn1_rs::ToDer,
    objects::{oid_registry, oid2abbrev},
    parse_x509_certificate,
    x509::{AttributeTypeAndValue, X509Name},
};

use crate::tls::Proven;

/// `By`, if we have a SPIFFE ID ourselves, and what a certificate says: `Hash`, `Subject`, `URI` (its
/// SPIFFE ID), `DNS`.
pub(super) fn element(proven: &Proven, own: Option<&str>) -> String {
    // A digest for each request would cost more than all the rest.
    let shown = proven.shown(shown);
    match own.filter(|own| own.starts_with("spiffe://")) {
        Some(own) => format!("By={own};{shown}"),
        None => shown.to_owned(),
    }
}

fn shown(proven: &Proven) -> String {
    let leaf = proven.leaf().map_or(&[][..], |leaf| leaf.as_ref());
    let mut text = format!("Hash={}", hex(&Sha256::digest(leaf)));
    let subject = parse_x509_certificate(leaf).map(|(_, leaf)| name(leaf.subject()));
    // No quotes of its own end it: they are escaped already.
    let _ = write!(text, ";Subject=\"{}\"", subject.unwrap_or_default());
    if let Some(id) = &proven.identity.spiffe {
        let _ = write!(text, ";URI={id}");
    }
    for name in &proven.identity.dns {
        let _ = write!(text, ";DNS={name}");
    }
    text
}

/// A name as RFC 2253 writes it, its last part first, in ASCII alone.
fn name(name: &X509Name<'_>) -> String {
    let parts = name.iter_rdn().collect::<Vec<_>>().into_iter().rev();
    let parts = parts.map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"));
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let kind = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
    match attribute.as_str() {
        Ok(text) => format!("{kind}={}", escaped(text)),
        // Not a text that can be read: its encoding (RFC 2253, section 2.4).
        Err(_) => {
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            format!("{kind}=#{}", hex(&der))
        }
    }
}

/// RFC 2253, section 2.4; what is not printable ASCII as `\XX`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let at_an_end = at == 0 || at + 1 == text.len();
        let special = matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=')
            || (byte == b'#' && at == 0)
            || (byte == b' ' && at_an_end);
        if !(byte.is_ascii_graphic() || byte == b' ') {
            let _ = write!(out, "\\{byte:02X}");
            continue;
        }
        if special {
            out.push('\\');
        }
        out.push(char::from(byte));
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn proven(subject: &[(DnType, &str)], names: Vec<SanType>) -> Proven {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        for (kind, value) in subject {
            name.push(kind.clone(), *value);
        }
        params.distinguished_name = name;
        params.subject_alt_names = names;
        let leaf = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Proven::of(leaf.der().clone())
    }

    fn uri(uri: &str) -> SanType {
        SanType::URI(uri.try_into().unwrap())
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn a_certificate_is_told_as_envoy_tells_it() {
        let subject = [
            (DnType::CountryName, "NL"),
            (DnType::OrganizationName, "Example, Inc."),
            (DnType::CommonName, "front"),
        ];
        let names = vec![
            uri("spiffe://example.org/front"),
            dns("front.example.org"),
            dns("*.example.org"),
        ];
        let proven = proven(&subject, names);
        let hash = hex(&Sha256::digest(proven.leaf().unwrap()));
        let shown = format!(
            "Hash={hash};Subject=\"CN=front,O=Example\\, Inc.,C=NL\";URI=spiffe://example.org/front;\
             DNS=front.example.org;DNS=*.example.org"
        );
        assert_eq!(element(&proven, None), shown);
        assert_eq!(element(&proven, Some("dns:own.example.org")), shown);
        let by = element(&proven, Some("spiffe://example.org/own"));
        assert_eq!(by, format!("By=spiffe://example.org/own;{shown}"));
    }

    #[test]
    fn a_name_cannot_end_its_quotes_or_begin_another_element() {
        let forged = "x\";URI=spiffe://example.org/admin,By=\r\n\\";
        let told = element(&proven(&[(DnType::CommonName, forged)], Vec::new()), None);
        let (_, subject) = told.split_once(";Subject=").unwrap();
        assert_eq!(
            subject,
            "\"CN=x\\\"\\;URI\\=spiffe://example.org/admin\\,By\\=\\0D\\0A\\\\\""
        );
    }

    proptest! {
        #[test]
        fn whatever_a_name_says_its_quotes_end_where_it_ends(text in any::<String>()) {
            let escaped = escaped(&text);
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            let mut bytes = escaped.bytes();
            while let Some(byte) = bytes.next() {
                prop_assert_ne!(byte, b'"');
                if byte == b'\\' {
                    prop_assert!(bytes.next().is_some());
                }
            }
        }
    }
}

//! Who a peer is and whom a rule expects.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::SystemTime};

use serde::{Serialize, Serializer};

/// A SPIFFE trust domain, lower case (SPIFFE-ID section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// A SPIFFE ID: `spiffe://<trust domain>/<path>` (SPIFFE-ID section 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    uri: Arc<str>,
    domain: TrustDomain,
}

/// Why a text is not a SPIFFE ID or a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {why}")]
pub struct ParseError {
    text: String,
    what: &'static str,
    why: &'static str,
}

impl TrustDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |why| {
            Err(ParseError {
                text: text.into(),
                what: "trust domain",
                why,
            })
        };
        if text.is_empty() || text.len() > 255 {
            return fail("it must have 1 to 255 characters");
        }
        if !text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        {
            return fail("only a-z, 0-9, '.', '-' and '_' are allowed");
        }
        Ok(Self(text.into()))
    }
}

impl SpiffeId {
    /// The trust domain whose bundle alone may verify this identity.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }
}

impl FromStr for SpiffeId {
    type Err = ParseError;

    /// Strict, so that two texts never name one identity: no percent-encoding, no empty or
    /// relative path segment, no query, port or user (SPIFFE-ID sections 2.1 to 2.4).
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |why| {
            Err(ParseError {
                text: text.into(),
                what: "SPIFFE ID",
                why,
            })
        };
        if text.len() > 2048 {
            return fail("it is longer than 2,048 bytes");
        }
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return fail("it must begin with spiffe://");
        };
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        let domain = match domain.parse() {
            Ok(domain) => domain,
            Err(ParseError { why, .. }) => return fail(why),
        };
        if let Some(path) = path {
            for segment in path.split('/') {
                if segment.is_empty() {
                    return fail("a path segment is empty");
                }
                if segment == "." || segment == ".." {
                    return fail("a path segment is '.' or '..'");
                }
                if !segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
                {
                    return fail("a path may hold only letters, digits, '.', '-' and '_'");
                }
            }
        }
        Ok(Self {
            uri: text.into(),
            domain,
        })
    }
}

/// Who a peer proved to be: what its verified leaf certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The SPIFFE ID; a leaf has at most one.
    pub spiffe: Option<SpiffeId>,
    /// DNS names, lower case.
    pub dns: Vec<String>,
    /// IP addresses, canonical.
    pub ips: Vec<IpAddr>,
    /// The subject's common name, for people only: nothing is decided by it.
    pub common_name: Option<String>,
    /// When the leaf expires, or the first of the authorities that it showed for itself.
    pub not_after: SystemTime,
}

/// The name of an identity in records: its SPIFFE ID, else its first DNS name, else an
/// address, else the common name.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.spiffe {
            return f.write_str(id.as_str());
        }
        if let Some(name) = self.dns.first() {
            return write!(f, "dns:{name}");
        }
        if let Some(ip) = self.ips.first() {
            return write!(f, "ip:{ip}");
        }
        match &self.common_name {
            Some(name) => write!(f, "cn:{name}"),
            None => f.write_str("unnamed"),
        }
    }
}

/// One entry of a rule's `expect` or `allow`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Expected {
    /// Exactly this SPIFFE ID.
    Spiffe(SpiffeId),
    /// A DNS name of the certificate; `*.` stands for exactly one label.
    Dns(String),
    /// The certificate carries the IP address that was dialled (outbound) or that the peer
    /// connects from (inbound).
    IpSan,
    /// Anybody whose certificate verifies. Must be typed; `check` warns.
    Any,
}

impl FromStr for Expected {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "any" => Ok(Self::Any),
            "ip-san" => Ok(Self::IpSan),
            _ if text.starts_with("spiffe://") => text.parse().map(Self::Spiffe),
            _ => {
                let host = text.strip_prefix("*.").unwrap_or(text);
                let label = |l: &str| {
                    !l.is_empty()
                        && l.len() <= 63
                        && !l.starts_with('-')
                        && !l.ends_with('-')
                        && l.bytes()
                            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                };
                if host.parse::<IpAddr>().is_ok() || !host.split('.').all(label) {
                    return Err(ParseError {
                        text: text.into(),
                        what: "SPIFFE ID, DNS name, \"ip-san\" or \"any\"",
                        why: "a DNS name has labels of letters, digits and '-'; an address is written \"ip-san\"",
                    });
                }
                Ok(Self::Dns(text.to_ascii_lowercase()))
            }
        }
    }
}

impl Expected {
    /// Whether `peer`, met at `address`, is the one that this entry names.
    pub fn matches(&self, peer: &PeerIdentity, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Spiffe(id) => peer.spiffe.as_ref() == Some(id),
            Self::IpSan => peer.ips.contains(&address.to_canonical()),
            Self::Dns(name) => peer
                .dns
                .iter()
                .any(|presented| dns_matches(name, presented)),
        }
    }
}

/// Either side may begin with `*.`, which stands for exactly one label (RFC 9525 section 6.3).
fn dns_matches(expected: &str, presented: &str) -> bool {
    if expected == presented {
        return true;
    }
    let one_label = |wild: &str, name: &str| {
        wild.strip_prefix("*.")
            .zip(name.split_once('.'))
            .is_some_and(|(suffix, (label, rest))| label != "*" && suffix == rest)
    };
    one_label(expected, presented) || one_label(presented, expected)
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => id.fmt(f),
            Self::Dns(name) => f.write_str(name),
            Self::IpSan => f.write_str("ip-san"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.uri)
    }
}

#[cfg(test)]
mod tests;

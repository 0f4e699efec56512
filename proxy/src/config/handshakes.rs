//! How the handshakes of an outbound rule are made.

/// `groups` and `resumption` of an mTLS rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshakes {
    /// Key exchange groups that are offered, the preferred one first. Never empty.
    pub groups: Vec<Group>,
    /// Whether the sessions of plain TLS are resumed.
    pub resumption: bool,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            groups: Group::ALL.to_vec(),
            resumption: true,
        }
    }
}

/// A key exchange group of TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Hybrid with the post-quantum ML-KEM-768.
    X25519MlKem768,
    /// Curve25519.
    X25519,
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
}

impl Group {
    /// All that are offered where a rule says nothing, in that order.
    pub const ALL: [Self; 4] = [
        Self::X25519MlKem768,
        Self::X25519,
        Self::Secp256r1,
        Self::Secp384r1,
    ];

    /// As access records name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "X25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }
}

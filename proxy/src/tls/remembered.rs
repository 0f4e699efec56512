//! Signatures of certificates and revocation lists, verified once.
//!
//! Whether a key signed some bytes is a fact that does not change, and peers show the same chain
//! each time: it is a quarter of what a full handshake costs. Nothing else is remembered. Validity,
//! usage, constraints, revocation and identity are judged in every handshake, and so is the
//! signature with which a peer proves that it holds its key.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use sha2::{Digest as _, Sha256};

use super::provider;

/// How many are remembered, twice: about 200 KiB. Only who holds a certificate of a trusted
/// authority can add any.
const MOST: usize = 2048;

/// The provider's algorithms, which remember what they have verified.
pub(crate) fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    static ALGORITHMS: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> =
        LazyLock::new(|| {
            let verified = Arc::new(Mutex::new(Verified::default()));
            let each = provider().signature_verification_algorithms.all.iter();
            let each = each.map(|algorithm| {
                // Once for the process.
                let remembering: &'static Remembering = Box::leak(Box::new(Remembering {
                    algorithm: *algorithm,
                    verified: Arc::clone(&verified),
                }));
                remembering as &'static dyn SignatureVerificationAlgorithm
            });
            each.collect()
        });
    &ALGORITHMS
}

#[derive(Debug)]
struct Remembering {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    verified: Arc<Mutex<Verified>>,
}

/// Digests of everything that goes into a verification. Full, the older half is forgotten.
#[derive(Debug, Default)]
struct Verified {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl Verified {
    fn has(&mut self, fact: &[u8; 32]) -> bool {
        if self.young.contains(fact) {
            return true;
        }
        let found = self.old.contains(fact);
        if found {
            self.add(*fact);
        }
        found
    }

    fn add(&mut self, fact: [u8; 32]) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fact);
    }
}

impl Remembering {
    fn fact(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> [u8; 32] {
        let (of_key, of_signature) = (self.public_key_alg_id(), self.signature_alg_id());
        let mut digest = Sha256::new();
        // With their lengths, so that no two facts are the same bytes.
        for part in [&*of_key, &*of_signature, public_key, signature, message] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let fact = self.fact(public_key, message, signature);
        if self.verified.lock().has(&fact) {
            return Ok(());
        }
        self.algorithm
            .verify_signature(public_key, message, signature)?;
        self.verified.lock().add(fact);
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls_pki_types::alg_id;

    use super::*;

    /// Takes what ends with its signature.
    #[derive(Debug)]
    struct Ends(AtomicUsize);

    impl SignatureVerificationAlgorithm for Ends {
        fn verify_signature(
            &self,
            _: &[u8],
            all: &[u8],
            end: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            all.ends_with(end).then_some(()).ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    fn remembering() -> (&'static Ends, Remembering) {
        let ends: &'static Ends = Box::leak(Box::new(Ends(AtomicUsize::new(0))));
        let remembering = Remembering {
            algorithm: ends,
            verified: Arc::default(),
        };
        (ends, remembering)
    }

    #[test]
    fn a_signature_is_verified_once_and_nothing_that_differs_from_it_is_believed() {
        let (asked, remembering) = remembering();
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            let good = remembering
                .verify_signature(key, message, signature)
                .is_ok();
            (good, asked.0.load(Ordering::Relaxed))
        };
        assert_eq!(verify(b"key", b"all", b"ll"), (true, 1));
        assert_eq!(verify(b"key", b"all", b"ll"), (true, 1));
        assert_eq!(verify(b"kex", b"all", b"ll"), (true, 2), "another key");
        assert_eq!(verify(b"key", b"alk", b"ll"), (false, 3), "other bytes");
        assert_eq!(
            verify(b"key", b"all", b"lk"),
            (false, 4),
            "another signature"
        );
        assert_eq!(verify(b"ke", b"yall", b"ll"), (true, 5), "other bounds");
        assert_eq!(
            verify(b"key", b"alk", b"ll"),
            (false, 6),
            "a refusal is not remembered"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let (asked, remembering) = remembering();
        let used = || remembering.verify_signature(b"key", b"used", b"").unwrap();
        used();
        for number in 0..10 * MOST {
            let key = number.to_be_bytes();
            remembering.verify_signature(&key, b"", b"").unwrap();
            used();
        }
        let verified = remembering.verified.lock();
        assert!(verified.young.len() <= MOST && verified.old.len() <= MOST);
        assert_eq!(asked.0.load(Ordering::Relaxed), 10 * MOST + 1);
    }
}

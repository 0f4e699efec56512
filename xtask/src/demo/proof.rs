//! Proofs: what was claimed, whether it held, and what was seen.

use super::stage;

/// How many claims were judged, and how many of them were false.
#[derive(Default)]
pub(super) struct Proofs {
    total: usize,
    failed: usize,
}

impl Proofs {
    /// Prints the verdict: `Ok` is what was seen, `Err` what was expected and what was seen.
    pub(super) fn judge(&mut self, claim: &str, verdict: Result<String, String>) {
        self.total += 1;
        match verdict {
            Ok(seen) => println!("✓ {claim}\n    {seen}"),
            Err(reason) => {
                // An interrupt takes all parts away; what then fails proves nothing.
                let _standing = stage::hold();
                self.failed += 1;
                println!("✗ {claim}\n    {reason}");
            }
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }
}

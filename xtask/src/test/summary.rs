//! libtest's output, counted.

/// How many tests passed and failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Names of the failed ones.
    pub(crate) failures: Vec<String>,
    /// What tests said that this kernel lacks, so that they tested nothing.
    pub(crate) skipped: Vec<String>,
    /// Whether cargo called it a success: a test binary that dies prints no summary at all.
    pub(crate) success: bool,
}

impl Summary {
    /// Takes in one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            for part in counts.split(['.', ';']) {
                match part.trim().split_once(' ') {
                    Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                    Some((count, "failed")) => self.failed += count.parse().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|test| test.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        } else if let Some(why) = line.strip_prefix("skipped: ") {
            self.skipped.push(why.to_owned());
        }
    }

    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            failures: [self.failures.as_slice(), other.failures.as_slice()].concat(),
            skipped: [self.skipped.as_slice(), other.skipped.as_slice()].concat(),
            success: self.success && other.success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_several_binaries_add_up_and_name_the_failed_and_the_skipped() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test rules::longest_prefix_wins ... ok",
            "test rules::deny_wins ... FAILED",
            "test rules::mptcp ... ",
            "skipped: rules.rs: this kernel has no MPTCP",
            "ok",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 1.20s",
        ] {
            summary.read(line);
        }
        assert_eq!((summary.passed, summary.failed), (41, 1));
        assert_eq!(summary.failures, ["rules::deny_wins"]);
        assert_eq!(summary.skipped, ["rules.rs: this kernel has no MPTCP"]);
    }
}

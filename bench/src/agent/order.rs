//! What is asked of a client, and what it answers: one line of JSON each.

use std::{
    io::{Read, Write},
    process::{ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::Target;
use crate::{
    Trouble,
    load::{Load, Tally},
    measured::Sample,
};

/// An answer that has not ended by then is none: counts of latencies are some tens of kilobytes.
const LONGEST_ANSWER: usize = 16 << 20;

/// A client has this much longer than its load may take, to say that it took too long.
const MARGIN: Duration = Duration::from_secs(30);

/// Do this.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    pub(super) to: Target,
    pub(super) load: Load,
}

/// What came of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Sample(Travelling),
    Trouble(Trouble),
}

/// A sample as it travels: latencies as pairs of a value and how often it was seen, which make the
/// same histogram at the other end, where the bounds are the same.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Travelling {
    latencies: Vec<(u64, u64)>,
    done: u64,
    failed: u64,
    reason: Option<String>,
    bytes: u64,
    took: Duration,
}

impl Travelling {
    pub(super) fn pack(sample: &Sample) -> Self {
        Self {
            latencies: sample
                .latencies
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
            done: sample.done,
            failed: sample.failed,
            reason: sample.reason.clone(),
            bytes: sample.bytes,
            took: sample.took,
        }
    }

    fn unpack(self) -> Result<Sample, Trouble> {
        let mut latencies: Histogram<u64> = Tally::histogram()?;
        for (value, count) in self.latencies {
            latencies.saturating_record_n(value, count);
        }
        Ok(Sample {
            latencies,
            done: self.done,
            failed: self.failed,
            reason: self.reason,
            bytes: self.bytes,
            took: self.took,
        })
    }
}

/// The far end of a client's agent, in the process that measures.
#[derive(Debug)]
pub struct Client {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// What came after the last whole line.
    rest: Vec<u8>,
    /// Why nothing may be asked of it any more: a late answer would be taken for the next one's.
    lost: Option<Trouble>,
}

impl Client {
    /// Of a process that was started as `bench-agent client`.
    pub fn new(stdin: ChildStdin, stdout: ChildStdout) -> Self {
        Self {
            stdin,
            stdout,
            rest: Vec::new(),
            lost: None,
        }
    }

    /// Has it make `load` towards `to`, and waits for what it saw. A load that takes longer than it
    /// may is an error, as is one that could not begin; single operations that failed are in the sample.
    pub fn run(&mut self, to: &Target, load: &Load) -> Result<Sample, Trouble> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let order = Order {
            to: to.clone(),
            load: load.clone(),
        };
        let answer = self.ask(&order, load.limit() + MARGIN);
        match answer {
            Ok(Answer::Sample(sample)) => sample.unpack(),
            Ok(Answer::Trouble(trouble)) => Err(trouble),
            Err(trouble) => {
                self.lost = Some(trouble.clone());
                Err(trouble)
            }
        }
    }

    fn ask(&mut self, order: &Order, patience: Duration) -> Result<Answer, Trouble> {
        let failed = |why: String| Trouble::new("asking the client's agent for a load", why);
        let mut line = serde_json::to_vec(order).map_err(|error| failed(error.to_string()))?;
        line.push(b'\n');
        self.stdin
            .write_all(&line)
            .map_err(|error| failed(error.to_string()))?;
        let line = self.line(patience)?;
        serde_json::from_slice(&line).map_err(|error| {
            failed(format!(
                "its answer is not to be read: {error}: {}",
                String::from_utf8_lossy(line.get(..200).unwrap_or(&line))
            ))
        })
    }

    fn line(&mut self, patience: Duration) -> Result<Vec<u8>, Trouble> {
        let failed = |why: String| Trouble::new("waiting for the client's agent", why);
        let until = Instant::now() + patience;
        let mut chunk = vec![0; 64 << 10];
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.rest, rest));
            }
            if self.rest.len() > LONGEST_ANSWER {
                return Err(failed("its answer has no end".into()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(format!(
                    "nothing came within {} s: the path or the agent hangs",
                    patience.as_secs()
                )));
            }
            let mut fds = [PollFd::new(
                std::os::fd::AsFd::as_fd(&self.stdout),
                PollFlags::POLLIN,
            )];
            // Rounded up, so that the last round does not spin.
            let wait =
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            if poll(&mut fds, wait).map_err(|error| failed(error.to_string()))? == 0 {
                continue;
            }
            let got = self
                .stdout
                .read(&mut chunk)
                .map_err(|error| failed(error.to_string()))?;
            if got == 0 {
                return Err(failed("it has ended".into()).fix("its log says why"));
            }
            self.rest.extend(chunk.iter().take(got));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_travels_unchanged() {
        let mut tally = Tally::new().unwrap();
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..10_000 {
            let magnitude = random.u32(0..36);
            tally.done(Duration::from_nanos(random.u64(0..1 << magnitude)), 3);
        }
        tally.failed("a reason");
        let sample = tally.finish(Duration::from_nanos(12_345_678_901));
        let line = serde_json::to_string(&Travelling::pack(&sample)).unwrap();
        let arrived = serde_json::from_str::<Travelling>(&line).unwrap();
        let arrived = arrived.unpack().unwrap();
        assert_eq!(arrived.latencies, sample.latencies);
        for quantile in [0.0, 0.5, 0.99, 0.999, 1.0] {
            assert_eq!(
                arrived.latencies.value_at_quantile(quantile),
                sample.latencies.value_at_quantile(quantile)
            );
        }
        assert_eq!(arrived.latencies.mean(), sample.latencies.mean());
        assert_eq!(
            (arrived.done, arrived.failed, arrived.reason, arrived.bytes),
            (10_000, 1, Some("a reason".into()), 30_000)
        );
        assert_eq!(arrived.took, sample.took);
    }
}

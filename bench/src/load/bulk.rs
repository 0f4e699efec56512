//! [`Load::Bulk`](super::Load::Bulk).

use std::{net::SocketAddr, time::Duration};

use super::{
    Moment, Span, Tally, Way,
    dial::Dial,
    stream::{self, MOST_WRITE, Received},
    tally::Failed,
};
use crate::{Trouble, agent::Verb, measured::Sample};

/// For what comes before the span: the path's set-up and TCP's slow start.
const SHORTEST_RAMP: Duration = Duration::from_millis(50);
const LONGEST_RAMP: Duration = Duration::from_millis(250);

pub(super) fn run(to: SocketAddr, way: Way, write: u32, time: Duration) -> Result<Sample, Trouble> {
    if !(1..=MOST_WRITE).contains(&write) {
        return Err(Trouble::new(
            format!("sending bulk by writes of {write} bytes"),
            format!("a write has 1 to {MOST_WRITE} bytes"),
        ));
    }
    let mut tally = Tally::new()?;
    let from = Moment::now().after((time / 4).clamp(SHORTEST_RAMP, LONGEST_RAMP));
    let span = Span {
        from,
        until: from.after(time),
    };
    let took = match beside(&Dial::new(to), way, write, span) {
        Ok(seen) => {
            tally.done_untimed(1, seen.iter().map(|received| received.total).sum());
            time_of(&seen)
        }
        Err(failed) => {
            tally.failed(failed);
            time
        }
    };
    Ok(tally.finish(took))
}

/// A stream for `span`, and what each way's receiver saw of it.
pub(super) fn beside(
    dial: &Dial,
    way: Way,
    write: u32,
    span: Span,
) -> Result<Vec<Received>, Failed> {
    let stream = dial.open(Verb::Bulk { way, write, span })?;
    stream::transfer(&stream, way, write, span).map_err(Failed::at("streaming"))
}

/// How long all bytes take at the rate of the span, see [`Sample::took`].
fn time_of(seen: &[Received]) -> Duration {
    let rate: f64 = seen
        .iter()
        .map(|received| received.inside as f64 / received.took.as_secs_f64())
        .sum();
    let total: u64 = seen.iter().map(|received| received.total).sum();
    Duration::try_from_secs_f64(total as f64 / rate).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_the_span_alone_and_bytes_count_all() {
        let up = Received {
            total: 3_000,
            inside: 1_000,
            took: Duration::from_secs(1),
        };
        let down = Received {
            total: 5_000,
            inside: 6_000,
            took: Duration::from_secs(2),
        };
        // 1,000 and 3,000 bytes in a second.
        assert_eq!(time_of(&[up, down]), Duration::from_secs(2));
    }
}

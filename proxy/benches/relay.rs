//! What a relay between two plain sockets costs, over loopback in one process: direct, through a relay
//! that copies, and through one that splices where it finds bulk.
//!
//!     cargo bench -p sidetrack --bench relay
//!     cargo bench -p sidetrack --bench relay -- --rounds 20 up/65536 round-trip/
//!
//! Each round runs the three in turn, the next one in the opposite order; what is printed are medians, and
//! of each ratio the median of the rounds' own. CPU seconds are those of the relay's thread, and beside them
//! of the whole process with both applications, by getrusage(2). `SIDETRACK_LOAD` multiplies the sizes.
//! What was found with it is in `README.md` beside this file.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark says what broke by panicking"
)]

use std::fmt;

#[path = "relay/applications.rs"]
mod applications;
#[path = "relay/middle.rs"]
mod middle;

/// What stands between the applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Copied,
    Spliced,
}

const WAYS: [Way; 3] = [Way::Direct, Way::Copied, Way::Spliced];

/// What the applications do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The client writes.
    Up,
    /// Both write at once.
    Both,
    /// The client writes and waits for as many bytes.
    RoundTrips,
    /// The same on a connection that has just carried bulk both ways.
    AfterBulk,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) work: Work,
    /// Bytes of one write.
    pub(crate) write: usize,
    /// How many writes of each side that writes.
    pub(crate) writes: u64,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// CPU seconds of the relay's thread.
    pub(crate) relay: f64,
    /// CPU seconds of the process.
    pub(crate) all: f64,
}

impl Case {
    fn is_bulk(self) -> bool {
        matches!(self.work, Work::Up | Work::Both)
    }

    /// Bytes of the applications, both ways; each is carried once by the relay.
    fn bytes(self) -> u64 {
        let one_way = self.write as u64 * self.writes;
        match self.work {
            Work::Up => one_way,
            Work::Both | Work::RoundTrips | Work::AfterBulk => 2 * one_way,
        }
    }

    /// Gbit/s, or round trips each second.
    fn rate(self, figures: Figures) -> f64 {
        if self.is_bulk() {
            self.bytes() as f64 * 8e-9 / figures.seconds
        } else {
            self.writes as f64 / figures.seconds
        }
    }

    /// CPU seconds for each GB, or microseconds for each round trip.
    fn cost(self, seconds: f64) -> f64 {
        if self.is_bulk() {
            seconds / (self.bytes() as f64 * 1e-9)
        } else {
            seconds * 1e6 / self.writes as f64
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match self.work {
            Work::Up => "up",
            Work::Both => "both",
            Work::RoundTrips => "round-trip",
            Work::AfterBulk => "after-bulk",
        };
        write!(f, "{work}/{}", self.write)
    }
}

fn cases() -> Vec<Case> {
    let factor: f64 = std::env::var("SIDETRACK_LOAD").map_or(1.0, |text| text.parse().unwrap());
    let case = |work, write, writes: u64| Case {
        work,
        write,
        writes: ((writes as f64 * factor) as u64).max(1),
    };
    vec![
        case(Work::Up, 1 << 10, 1 << 18),
        case(Work::Up, 16 << 10, 1 << 16),
        case(Work::Up, 64 << 10, 1 << 14),
        case(Work::Up, 256 << 10, 1 << 12),
        case(Work::Both, 64 << 10, 1 << 13),
        case(Work::RoundTrips, 64, 20_000),
        case(Work::RoundTrips, 4 << 10, 20_000),
        case(Work::RoundTrips, 16 << 10, 10_000),
        case(Work::RoundTrips, 64 << 10, 5_000),
        case(Work::RoundTrips, 256 << 10, 2_000),
        case(Work::AfterBulk, 64, 20_000),
        case(Work::AfterBulk, 16 << 10, 10_000),
    ]
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn measure(case: Case, rounds: usize) {
    let mut all: Vec<[Figures; 3]> = Vec::new();
    for round in 0..rounds {
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        let mut figures = [None; 3];
        for which in order {
            figures[which] = Some(applications::run(WAYS[which], case));
        }
        all.push(figures.map(Option::unwrap));
    }
    let of = |which: usize, what: &dyn Fn(Figures) -> f64| {
        median(all.iter().map(|round| what(round[which])))
    };
    let rate = |which| of(which, &|figures| case.rate(figures));
    let relay = |which| of(which, &|figures| case.cost(figures.relay));
    let process = |which| of(which, &|figures| case.cost(figures.all));
    let ratio = |what: &dyn Fn(Figures) -> f64, over: usize, under: usize| {
        median(
            all.iter()
                .map(|round| what(round[over]) / what(round[under])),
        )
    };
    let by_time = |figures: Figures| case.rate(figures);
    let by_cpu = |figures: Figures| figures.relay;
    println!(
        "| {case} | {:.4} | {:.4} | {:.4} | {:.2} | {:.2} | {:.3} | {:.3} | {:.2} | {:.3} | {:.3} | {:.3} |",
        rate(0),
        rate(1),
        rate(2),
        ratio(&by_time, 1, 0),
        ratio(&by_time, 2, 0),
        relay(1),
        relay(2),
        ratio(&by_cpu, 2, 1),
        process(0),
        process(1),
        process(2),
    );
}

fn main() {
    let mut filters = Vec::new();
    let mut rounds = 10;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--rounds" => rounds = words.next().unwrap().parse().unwrap(),
            _ => filters.push(word),
        }
    }
    println!("Rates are Gbit/s, or round trips/s; costs CPU s/GB, or us for each round trip.");
    println!();
    println!(
        "| case | rate direct | copied | spliced | copied/direct | spliced/direct \
         | relay's CPU copied | spliced | ratio | whole CPU direct | copied | spliced |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for case in cases() {
        let name = case.to_string();
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            measure(case, rounds);
        }
    }
}

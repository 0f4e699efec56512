//! What it costs to move bytes between two hosts: an application, the daemon's end of the outbound
//! connection, TLS, the end of the inbound one, and another application, over loopback in one process.
//!
//!     cargo bench -p sidetrack --bench tunnel
//!     cargo bench -p sidetrack --bench tunnel -- tunnel/up
//!     cargo bench -p sidetrack --bench tunnel -- --against OTHER [--rounds 10] tunnel/
//!
//! The last runs itself and OTHER, the same benchmark built from another version, in turn, and prints medians.
//! `SIDETRACK_LOAD` multiplies the sizes. What was found with it is in `README.md` beside this file.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark says what broke by panicking"
)]

use std::{collections::BTreeMap, fmt, process::Command};

#[path = "tunnel/applications.rs"]
mod applications;
#[path = "tunnel/ends.rs"]
mod ends;

/// The daemon's, which decides about a fifth of the figures.
#[cfg(target_arch = "x86_64")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the applications do.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// The client writes.
    Up,
    /// The server writes.
    Down,
    /// Both do.
    Both,
    /// The client writes and waits for as many bytes.
    RoundTrips,
}

/// What the two ends speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A leased tunnel.
    Tunnel,
    /// A TLS connection of its own.
    Tls,
}

/// One thing that is measured.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) carrier: Carrier,
    pub(crate) work: Work,
    /// Bytes of one write.
    pub(crate) write: usize,
    /// How many writes of each side that writes.
    pub(crate) writes: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carrier = match self.carrier {
            Carrier::Tunnel => "tunnel",
            Carrier::Tls => "tls",
        };
        let work = match self.work {
            Work::Up => "up",
            Work::Down => "down",
            Work::Both => "both",
            Work::RoundTrips => "round-trip",
        };
        write!(f, "{carrier}/{work}/{}", self.write)
    }
}

impl Case {
    /// Bytes of the applications, both ways.
    fn bytes(&self) -> u64 {
        let one_way = self.write as u64 * self.writes;
        match self.work {
            Work::Up | Work::Down => one_way,
            Work::Both | Work::RoundTrips => 2 * one_way,
        }
    }
}

fn cases() -> Vec<Case> {
    let factor: f64 = std::env::var("SIDETRACK_LOAD").map_or(1.0, |text| text.parse().unwrap());
    let times = |writes: u64| ((writes as f64 * factor) as u64).max(1);
    let mut cases = Vec::new();
    for carrier in [Carrier::Tunnel, Carrier::Tls] {
        for work in [Work::Up, Work::Down, Work::Both] {
            for (write, writes) in [
                (64, 1 << 20),
                (1 << 10, 1 << 18),
                (16 << 10, 1 << 16),
                (64 << 10, 1 << 14),
            ] {
                cases.push(Case {
                    carrier,
                    work,
                    write,
                    writes: times(writes),
                });
            }
        }
        cases.push(Case {
            carrier,
            work: Work::RoundTrips,
            write: 100,
            writes: times(20_000),
        });
    }
    cases
}

/// One line of the output: figures by name.
type Figures = BTreeMap<&'static str, f64>;

fn measure(case: &Case) -> Figures {
    let (seconds, mut latencies, spent) = ends::run(case);
    let mut figures = Figures::new();
    if let Work::RoundTrips = case.work {
        latencies.sort_unstable();
        let at =
            |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64() * 1e6;
        figures.insert("p50_us", at(0.5));
        figures.insert("p99_us", at(0.99));
        figures.insert("client_cpu_us", spent.client * 1e6 / case.writes as f64);
        figures.insert("server_cpu_us", spent.server * 1e6 / case.writes as f64);
    } else {
        let gigabytes = case.bytes() as f64 / 1e9;
        figures.insert("gbit_s", gigabytes * 8.0 / seconds);
        figures.insert("client_cpu_s_gb", spent.client / gigabytes);
        figures.insert("server_cpu_s_gb", spent.server / gigabytes);
        figures.insert("cpu_s_gb", (spent.client + spent.server) / gigabytes);
    }
    figures
}

/// What this benchmark prints when it is run for one case.
fn run(program: &std::path::Path, case: &Case) -> BTreeMap<String, f64> {
    let done = Command::new(program)
        .args(["--exactly", &case.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}: {text}", program.display());
    let words = text.split_whitespace().skip(1);
    words
        .map(|word| word.split_once('=').unwrap())
        .map(|(name, figure)| (name.to_owned(), figure.parse().unwrap()))
        .collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn compare(case: &Case, other: &std::path::Path, rounds: usize) {
    let own = std::env::current_exe().unwrap();
    let mut all: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for round in 0..rounds {
        let (mine, theirs);
        if round % 2 == 0 {
            mine = run(&own, case);
            theirs = run(other, case);
        } else {
            theirs = run(other, case);
            mine = run(&own, case);
        }
        for (name, figure) in mine {
            let beside = theirs[&name];
            all.entry(name).or_default().push((figure, beside));
        }
    }
    print!("{case:<20}");
    for (name, pairs) in all {
        let mine = median(pairs.iter().map(|pair| pair.0).collect());
        let theirs = median(pairs.iter().map(|pair| pair.1).collect());
        let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1).collect());
        print!(" {name}={theirs:.3}->{mine:.3}(x{ratio:.3})");
    }
    println!();
}

fn main() {
    let mut filters = Vec::new();
    let (mut other, mut rounds, mut exactly) = (None, 10, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--exactly" => exactly = true,
            "--against" => other = words.next(),
            "--rounds" => rounds = words.next().unwrap().parse().unwrap(),
            _ => filters.push(word),
        }
    }
    for case in cases() {
        let name = case.to_string();
        let wanted = |filter: &String| {
            if exactly {
                name == *filter
            } else {
                name.contains(filter)
            }
        };
        if !filters.is_empty() && !filters.iter().any(wanted) {
            continue;
        }
        if let Some(other) = &other {
            compare(&case, other.as_ref(), rounds);
            continue;
        }
        print!("{name:<20}");
        for (figure, value) in measure(&case) {
            print!(" {figure}={value:.3}");
        }
        println!();
    }
}

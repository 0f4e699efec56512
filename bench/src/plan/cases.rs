//! The cases. What can keep its paths stands together: to set a path up takes longer than a slice.

use crate::{
    case::{Case, Merit},
    load::{Load, Way},
    path::{Kind, Spec},
};

use super::{Planned, Profile, size::Size};

/// A user's own host, without other software than iptables.
const QUICK: [Kind; 4] = [
    Kind::Direct,
    Kind::Redirected,
    Kind::Mtls,
    Kind::IptablesRelay,
];

const CONNECT: [Kind; 7] = [
    Kind::Direct,
    Kind::Unselected,
    Kind::Passed,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesPassed,
    Kind::IptablesRelay,
];

/// First byte in plain text, with one rule; our mutual TLS beside, since that is what a user chooses between.
const PLAIN: [Kind; 8] = [
    Kind::Direct,
    Kind::Mtls,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesRelay,
    Kind::RedirectHaproxy,
    Kind::IptablesHaproxy,
    Kind::TproxyHaproxy,
];

/// The same with many rules.
const RULES: [Kind; 4] = [
    Kind::Direct,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesRelay,
];

/// Everything about a connection that is there.
const CARRIED: [Kind; 9] = [
    Kind::Direct,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesHaproxy,
    Kind::Mtls,
    Kind::MtlsTls,
    Kind::HaproxyPair,
    Kind::NginxPair,
    Kind::StunnelPair,
];

/// Where mutual TLS is what costs. The pair of HAProxy is what the others are compared with, since
/// nothing direct does handshakes.
const MUTUAL: [Kind; 5] = [
    Kind::HaproxyPair,
    Kind::Mtls,
    Kind::MtlsTls,
    Kind::NginxPair,
    Kind::StunnelPair,
];

/// Those whose far end takes TLS from anybody with a certificate.
const ENDS_TLS: [Kind; 4] = [
    Kind::HaproxyPair,
    Kind::MtlsTls,
    Kind::NginxPair,
    Kind::StunnelPair,
];

const EACH_ITS_HANDSHAKE: [Kind; 2] = [Kind::HaproxyPairFull, Kind::MtlsFull];

const LATENCY: [Merit; 3] = [Merit::P50, Merit::P99, Merit::P999];

/// All cases of `profile` and those of their paths that are `wanted`, in the order in which they are measured. Without any
/// wish, the paths are the profile's, and a path alone is no question.
pub(super) fn of(profile: Profile, wanted: &[Kind]) -> Vec<Planned> {
    let least = if wanted.is_empty() { 2 } else { 1 };
    let maker = Maker {
        profile,
        size: Size::of(profile),
        wanted: match (wanted, profile) {
            ([], Profile::Quick) => &QUICK,
            ([], Profile::Smoke | Profile::Full) => &Kind::ALL,
            (wanted, _) => wanted,
        },
    };
    let mut cases = maker.new_connections();
    cases.extend(maker.carried());
    cases.extend(maker.bulk());
    cases.extend(maker.handshakes());
    cases.push(maker.idle());
    cases.retain(|planned| planned.case.paths.len() >= least);
    cases
}

struct Maker<'a> {
    profile: Profile,
    size: Size,
    wanted: &'a [Kind],
}

impl Maker<'_> {
    fn case(
        &self,
        name: &str,
        about: &str,
        load: Load,
        kinds: &[Kind],
        rules: u32,
        merits: &[Merit],
    ) -> Planned {
        let wanted = |kind: &&Kind| self.wanted.contains(kind);
        let idle = matches!(load, Load::Idle { .. });
        let spec = |kind: &Kind| Spec {
            kind: *kind,
            rules: if kind.has_rules() { rules } else { 1 },
            build: None,
        };
        Planned {
            case: Case {
                name: name.to_owned(),
                about: about.to_owned(),
                load,
                paths: kinds.iter().filter(wanted).map(spec).collect(),
                merits: merits.to_vec(),
            },
            rounds: if idle {
                self.size.memory_rounds
            } else {
                self.size.rounds
            },
            warm_up: if idle { 0 } else { self.size.warm_up },
        }
    }

    /// By number of rules, since that is what most of these paths can keep.
    fn new_connections(&self) -> Vec<Planned> {
        let Size {
            connects,
            first_bytes,
            ..
        } = self.size;
        let mut cases = Vec::new();
        for rules in self.size.rules.iter().copied() {
            cases.push(self.case(
                &format!("connect-{rules}"),
                &format!("connect() alone, with {}", of_rules(rules)),
                Load::Connect { count: connects },
                &CONNECT,
                rules,
                &[Merit::P50, Merit::P99, Merit::CpuPerOperation],
            ));
            let kinds: &[Kind] = match (self.profile, rules) {
                (_, 1) => &PLAIN,
                // The middle of the line is drawn by connect() alone.
                (Profile::Full, 100) => continue,
                _ => &RULES,
            };
            cases.push(self.case(
                &format!("first-byte-{rules}"),
                &format!(
                    "from connect() to the first byte of the answer, with {}",
                    of_rules(rules)
                ),
                Load::FirstByte { count: first_bytes },
                kinds,
                rules,
                &with(&LATENCY, Merit::CpuPerOperation),
            ));
        }
        cases
    }

    /// What happens on connections of every make, old and new.
    fn carried(&self) -> Vec<Planned> {
        let Size {
            first_bytes,
            round_trips,
            millis,
            rate_millis,
            rate,
            ..
        } = self.size;
        let mut cases = Vec::new();
        cases.push(self.case(
            "first-byte-mtls",
            "from connect() to the first byte of the answer, through mutual TLS",
            Load::FirstByte { count: first_bytes },
            &MUTUAL,
            1,
            &with(&LATENCY, Merit::CpuPerOperation),
        ));
        cases.push(self.case(
            "round-trip",
            "100 bytes there and back on one open connection",
            Load::RoundTrip {
                size: 100,
                count: round_trips,
            },
            &CARRIED,
            1,
            &with(&LATENCY, Merit::CpuPerOperation),
        ));
        for (name, about, keep_alive) in [
            (
                "requests-kept",
                "requests of 200 bytes, answers of 1 KiB, 32 at once over kept connections",
                true,
            ),
            (
                "requests-new",
                "requests of 200 bytes, answers of 1 KiB, 32 at once, each on a connection of its own",
                false,
            ),
        ] {
            cases.push(self.case(
                name,
                about,
                Load::Requests {
                    connections: 32,
                    size: 200,
                    answer: 1024,
                    keep_alive,
                    millis,
                },
                &CARRIED,
                1,
                &[
                    Merit::PerSecond,
                    Merit::CpuPerOperation,
                    Merit::P50,
                    Merit::P99,
                ],
            ));
        }
        for (name, beside_bulk) in [("rate", false), ("beside-bulk", true)] {
            let (per_second, about) = match beside_bulk {
                false => (
                    rate,
                    format!("latency at {rate} requests in a second over 32 connections"),
                ),
                true => (
                    rate / 4,
                    format!(
                        "latency at {} requests in a second beside a bulk stream",
                        rate / 4
                    ),
                ),
            };
            cases.push(self.case(
                name,
                &about,
                Load::Rate {
                    per_second,
                    connections: 32,
                    size: 200,
                    answer: 1024,
                    beside_bulk,
                    millis: rate_millis,
                },
                &CARRIED,
                1,
                &LATENCY,
            ));
        }
        cases
    }

    fn bulk(&self) -> Vec<Planned> {
        let ways = [(Way::Up, "up"), (Way::Down, "down"), (Way::Both, "both")];
        let about = |way: &str, write: u32| match way {
            "both" => format!(
                "one stream each way on one connection, writes of {}",
                bytes(write)
            ),
            _ => format!("one stream {way}, writes of {}", bytes(write)),
        };
        let each = ways
            .into_iter()
            .flat_map(|way| self.size.writes.iter().map(move |write| (way, *write)));
        // A user's own host answers the question of sizes for one way.
        let wanted = |way: &str, write: u32| {
            self.profile != Profile::Quick || way == "down" || write == 64 << 10
        };
        each.filter(|((_, way), write)| wanted(way, *write))
            .map(|((way, word), write)| {
                self.case(
                    &format!("bulk-{word}-{write}"),
                    &about(word, write),
                    Load::Bulk {
                        way,
                        write,
                        millis: self.size.millis * 3 / 4,
                    },
                    &CARRIED,
                    1,
                    &[Merit::BitsPerSecond, Merit::CpuPerGigabyte],
                )
            })
            .collect()
    }

    fn handshakes(&self) -> Vec<Planned> {
        let Size {
            first_bytes,
            millis,
            ..
        } = self.size;
        let merits = [
            Merit::PerSecond,
            Merit::CpuPerOperation,
            Merit::P50,
            Merit::P99,
        ];
        let at_the_end = |name, about, resumed| {
            let load = Load::Handshake {
                resumed,
                connections: 8,
                millis,
            };
            self.case(name, about, load, &ENDS_TLS, 1, &merits)
        };
        vec![
            at_the_end(
                "handshake-full",
                "full handshakes of mutual TLS 1.3 with the proxy at the far end, 8 at once",
                false,
            ),
            at_the_end(
                "handshake-resumed",
                "resumed handshakes of TLS 1.3 with the proxy at the far end, 8 at once",
                true,
            ),
            self.case(
                "handshake-pair",
                "requests through the pair, 32 at once, a connection and a full handshake each",
                Load::Requests {
                    connections: 32,
                    size: 200,
                    answer: 1024,
                    keep_alive: false,
                    millis,
                },
                &EACH_ITS_HANDSHAKE,
                1,
                &merits,
            ),
            self.case(
                "handshake-first-byte",
                "from connect() to the first byte of the answer, a full handshake each",
                Load::FirstByte {
                    count: first_bytes / 2,
                },
                &EACH_ITS_HANDSHAKE,
                1,
                &with(&LATENCY, Merit::CpuPerOperation),
            ),
        ]
    }

    fn idle(&self) -> Planned {
        let connections = self.size.idle;
        let mut kinds = MUTUAL.to_vec();
        kinds.push(Kind::Redirected);
        self.case(
            "idle",
            &format!("memory for each of {connections} open connections, a byte exchanged on each"),
            Load::Idle { connections },
            &kinds,
            1,
            &[Merit::MemoryPerConnection],
        )
    }
}

fn with(merits: &[Merit], last: Merit) -> Vec<Merit> {
    let mut merits = merits.to_vec();
    merits.push(last);
    merits
}

fn of_rules(rules: u32) -> String {
    match rules {
        1 => "one rule".to_owned(),
        many => format!("{many} rules"),
    }
}

fn bytes(size: u32) -> String {
    match size {
        kib if kib >= 1024 => format!("{} KiB", kib / 1024),
        bytes => format!("{bytes} B"),
    }
}

//! What connections carry, and the handshakes before.

use crate::{
    case::Merit,
    load::{Load, Way},
    path::Kind,
    plan::{Planned, Profile, size::Size},
};

use super::{LATENCY, MUTUAL, Maker, with};

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

/// Those whose far end takes TLS from anybody with a certificate.
const ENDS_TLS: [Kind; 4] = [
    Kind::HaproxyPair,
    Kind::MtlsTls,
    Kind::NginxPair,
    Kind::StunnelPair,
];

const EACH_ITS_HANDSHAKE: [Kind; 2] = [Kind::HaproxyPairFull, Kind::MtlsFull];

impl Maker<'_> {
    /// What happens on connections of every make, old and new.
    pub(super) fn carried(&self) -> Vec<Planned> {
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

    pub(super) fn bulk(&self) -> Vec<Planned> {
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

    pub(super) fn handshakes(&self) -> Vec<Planned> {
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
}

fn bytes(size: u32) -> String {
    match size {
        kib if kib >= 1024 => format!("{} KiB", kib / 1024),
        bytes => format!("{bytes} B"),
    }
}

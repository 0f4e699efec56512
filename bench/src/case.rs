//! What is asked, and of which paths.

use serde::{Deserialize, Serialize};

use crate::{load::Load, path::Spec};

/// A figure of merit.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merit {
    /// Latency, median.
    P50,
    /// Latency, 99th percentile.
    P99,
    /// Latency, 99.9th percentile.
    P999,
    /// Operations in a second.
    PerSecond,
    /// Payload bits in a second.
    BitsPerSecond,
    /// CPU seconds of the proxies for each operation.
    CpuPerOperation,
    /// CPU seconds of the proxies for each 10^9 bytes.
    CpuPerGigabyte,
    /// Bytes of the proxies' memory for each open connection.
    MemoryPerConnection,
}

impl Merit {
    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::PerSecond | Self::BitsPerSecond)
    }

    /// Whether it does not depend on how fast a machine is, and so needs no base.
    pub fn is_absolute(self) -> bool {
        self == Self::MemoryPerConnection
    }

    /// Which quantile of the latencies it is, if it is one.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            _ => None,
        }
    }

    /// In words, inside of a sentence.
    pub fn words(self) -> String {
        let title = self.title();
        match title.starts_with("CPU") {
            true => title.to_owned(),
            false => title.to_lowercase(),
        }
    }

    /// In words, with a capital.
    pub fn title(self) -> &'static str {
        match self {
            Self::P50 => "Median",
            Self::P99 => "99th percentile",
            Self::P999 => "99.9th percentile",
            Self::PerSecond => "Per second",
            Self::BitsPerSecond => "Throughput",
            Self::CpuPerOperation => "CPU for each",
            Self::CpuPerGigabyte => "CPU for a GB",
            Self::MemoryPerConnection => "Memory for each",
        }
    }
}

/// One question.
#[derive(Clone, Debug)]
pub struct Case {
    /// Short, in lower case with dashes; unique with its load. As it is in the JSON report.
    pub name: String,
    /// What it means, one line, for people.
    pub about: String,
    /// What is done in each slice.
    pub load: Load,
    /// Of whom it is asked. The first is what the others are compared with.
    pub paths: Vec<Spec>,
    /// What is looked at, the most telling one first.
    pub merits: Vec<Merit>,
}

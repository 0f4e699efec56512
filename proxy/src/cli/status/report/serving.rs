//! Listeners, and what is behind them.

use serde_json::Value;

use super::{process, refused, text};
use crate::cli::{at, table};

/// The state of a daemon that intercepts nothing.
pub(super) fn of_plain(status: &Value) -> String {
    let mut out = process(status);
    out += &format!(
        "nothing is intercepted; policy, generation {}\n",
        at(status, "/generation")
    );
    out += &format!(
        "connections {}, handshakes so far {}, records lost {}\n",
        at(status, "/connections"),
        at(status, "/handshakes"),
        at(status, "/records_lost"),
    );
    out += &refused(status);
    out + &report(status)
}

/// Nothing where there is no listener.
pub(super) fn report(status: &Value) -> String {
    let listeners: Vec<Vec<String>> = list(status, "/listeners")
        .map(|listener| {
            let cells = ["/name", "/at", "/mode", "/tls"];
            cells.map(|cell| text(at(listener, cell))).to_vec()
        })
        .collect();
    if listeners.is_empty() {
        return String::new();
    }
    let endpoints = list(status, "/upstreams").flat_map(|upstream| {
        list(upstream, "/endpoints").map(|endpoint| {
            vec![
                text(at(upstream, "/name")),
                text(at(endpoint, "/at")),
                if at(endpoint, "/up") == true {
                    "up".into()
                } else {
                    "DOWN".into()
                },
                at(endpoint, "/under_way").to_string(),
                at(endpoint, "/why").as_str().unwrap_or_default().into(),
            ]
        })
    });
    let headings = ["UPSTREAM", "AT", "STATE", "UNDER WAY", "WHY"];
    format!(
        "\n{}\n{}",
        table(&["LISTENER", "AT", "MODE", "TLS"], &listeners),
        table(&headings, &endpoints.collect::<Vec<_>>())
    )
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    at(value, pointer).as_array().into_iter().flatten()
}

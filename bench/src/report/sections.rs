//! The cases of a report, those of one kind together, each plot followed by its table.

use crate::{
    case::Merit,
    load::{Load, Way},
    path::Spec,
};

use super::{Answer, Column, Report, plot::escape};

mod over;
mod single;
mod tables;

/// Cases about the same thing.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// HTML.
    pub(super) body: String,
}

/// In the order of the page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Connect,
    FirstByte,
    RoundTrip,
    Requests,
    Rate,
    Bulk,
    Handshakes,
    Idle,
}

impl About {
    const ALL: [Self; 8] = [
        Self::Connect,
        Self::FirstByte,
        Self::RoundTrip,
        Self::Requests,
        Self::Rate,
        Self::Bulk,
        Self::Handshakes,
        Self::Idle,
    ];

    fn of(answer: &Answer) -> Self {
        // They have the loads of other cases, on paths that differ in their handshakes.
        if answer.name.starts_with("handshake") {
            return Self::Handshakes;
        }
        match answer.load {
            Load::Connect { .. } => Self::Connect,
            Load::FirstByte { .. } => Self::FirstByte,
            Load::RoundTrip { .. } => Self::RoundTrip,
            Load::Requests { .. } => Self::Requests,
            Load::Rate { .. } => Self::Rate,
            Load::Bulk { .. } => Self::Bulk,
            Load::Handshake { .. } => Self::Handshakes,
            Load::Idle { .. } => Self::Idle,
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::FirstByte => "first-byte",
            Self::RoundTrip => "round-trip",
            Self::Requests => "requests",
            Self::Rate => "rate",
            Self::Bulk => "bulk",
            Self::Handshakes => "handshakes",
            Self::Idle => "idle",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Connect => "The cost of connect()",
            Self::FirstByte => "First byte on a new connection",
            Self::RoundTrip => "Round trip on an open connection",
            Self::Requests => "Requests in a second",
            Self::Rate => "Latency at a fixed rate",
            Self::Bulk => "Bulk",
            Self::Handshakes => "Handshakes",
            Self::Idle => "Memory of idle connections",
        }
    }

    fn intro(self) -> &'static str {
        match self {
            Self::Connect => {
                "How long the call of connect() takes, one connection after another. Where a proxy is redirected to, \
                 connect() ends with that proxy, on the same host; what follows is in the next section."
            }
            Self::FirstByte => {
                "From connect() to the first byte of the answer to one byte, each on a connection of its own: what an \
                 application waits for. All of the path is in it, the server's accept() included."
            }
            Self::RoundTrip => "One message after another on one open connection.",
            Self::Requests => {
                "A closed loop: each of the connections sends its next request when it has the answer to the one before. \
                 It tells how much can be had; latencies in it are those of a system that is always full."
            }
            Self::Rate => {
                "An open loop: each request has its planned moment, and its latency counts from that, whether or not those before \
                 were late. What stalls is therefore seen by all that should have been sent meanwhile."
            }
            Self::Bulk => {
                "As many bytes as one connection carries, by the size of the application's writes. Where bytes go both ways at once, \
                 both are counted."
            }
            Self::Handshakes => {
                "Full handshakes of mutual TLS, and resumed ones: straight with the proxy that ends TLS at the far end, and \
                 through both proxies with one handshake for each connection."
            }
            Self::Idle => {
                "Memory of user space at all proxies of the path together (proportional set size), over that of the same processes \
                 before the first connection, for each connection. What the kernel keeps for sockets is not in it."
            }
        }
    }
}

/// All sections that have a case.
pub(super) fn all(report: &Report) -> Vec<Section> {
    let section = |about: About| {
        let answers: Vec<&Answer> = report
            .cases
            .iter()
            .filter(|answer| About::of(answer) == about)
            .collect();
        let body = match about {
            _ if answers.is_empty() => return None,
            About::Connect | About::FirstByte => over::rules(&answers),
            About::Bulk => bulk(&answers),
            _ => String::new(),
        };
        let each = match about {
            // Their plots hold several cases each, unless there is one size alone.
            About::Bulk if !body.is_empty() => String::new(),
            _ => answers.iter().map(|answer| single::case(answer)).collect(),
        };
        let left_out: String = answers.iter().map(|answer| left_out(answer)).collect();
        let left_out = match left_out.is_empty() {
            true => String::new(),
            false => format!("<ul class=\"left-out\">{left_out}</ul>"),
        };
        Some(Section {
            id: about.id(),
            title: about.title(),
            body: format!("<p>{}</p>{body}{each}{left_out}", escape(about.intro())),
        })
    };
    About::ALL.into_iter().filter_map(section).collect()
}

fn bulk(answers: &[&Answer]) -> String {
    let ways = [
        (Way::Up, "from client to server"),
        (Way::Down, "from server to client"),
        (Way::Both, "both ways at once"),
    ];
    let of = |way: Way| -> Vec<&Answer> {
        let is =
            |answer: &&&Answer| matches!(answer.load, Load::Bulk { way: its, .. } if its == way);
        answers.iter().filter(is).copied().collect()
    };
    ways.into_iter()
        .map(|(way, words)| over::sizes(&of(way), words))
        .collect()
}

/// What could not be measured in this case, as items of a list.
fn left_out(answer: &Answer) -> String {
    let item = |column: &Column| {
        let ended = column.ended.as_ref()?;
        let when = match column.rounds.len() {
            0 => "was left out".to_owned(),
            rounds => format!("ended after {rounds} rounds"),
        };
        Some(format!(
            "<li><b>{}</b>: {} {when}. <span>{}</span></li>",
            escape(&answer.name),
            swatch(&column.path),
            escape(&ended.why)
        ))
    };
    answer.columns.iter().filter_map(item).collect()
}

/// A path's name beside its colour.
pub(super) fn swatch(path: &Spec) -> String {
    format!(
        "<span class=\"path {}\">{}</span>",
        class(path),
        escape(&path.label())
    )
}

/// The class that has a path's colour.
pub(super) fn class(path: &Spec) -> String {
    let build = if path.build.is_some() {
        " other-build"
    } else {
        ""
    };
    format!("p-{}{build}", path.kind.name())
}

/// A plot with its title.
fn figure(title: &str, note: &str, svg: &str) -> String {
    format!(
        "<figure><figcaption>{}<small>{}</small></figcaption><div class=\"wide\">{svg}</div></figure>",
        escape(&sentence(title)),
        escape(note)
    )
}

/// With a capital, unless it begins with the name of a call.
fn sentence(text: &str) -> String {
    let first = text
        .chars()
        .next()
        .filter(|_| !text.starts_with("connect()"));
    let rest = text
        .get(first.map_or(0, char::len_utf8)..)
        .unwrap_or_default();
    first
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(rest.chars())
        .collect()
}

/// What one looks at, with which way is better.
fn looked_at(merit: Merit) -> &'static str {
    match merit {
        Merit::P50 => "median latency, less is better",
        Merit::P99 => "99th percentile of latency, less is better",
        Merit::P999 => "99.9th percentile of latency, less is better",
        Merit::PerSecond => "in a second, more is better",
        Merit::BitsPerSecond => "payload, more is better",
        Merit::CpuPerOperation => "CPU time of the proxies for each, less is better",
        Merit::CpuPerGigabyte => "CPU time of the proxies for 10⁹ bytes, less is better",
        Merit::MemoryPerConnection => "for each connection, less is better",
    }
}

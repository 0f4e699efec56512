//! Paths as routes see them: with percent-encoding undone, in whole segments.

use percent_encoding::percent_decode_str;

use crate::config::http::PathMatch;

/// Whether the path of a request can be judged segment by segment, so that whoever serves it cannot
/// take it for another path than routes did. It cannot if a segment before the last is empty, if one is
/// `.`, `..` or empty before its parameters (`..;x`), also percent-encoded, or if
/// it has a backslash, NUL, an encoded slash or backslash, or what only looks like percent-encoding.
pub fn is_plain(path: &str) -> bool {
    if path == "*" {
        return true;
    }
    let Some(inside) = path.strip_prefix('/') else {
        return false;
    };
    let mut segments = inside.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let ends = last && segment.is_empty();
        if !ends && !is_plain_segment(segment) {
            return false;
        }
    }
    true
}

fn is_plain_segment(segment: &str) -> bool {
    if segment.contains('\\') || !is_encoded_well(segment) {
        return false;
    }
    if !segment.is_empty() && !segment.starts_with(['.', ';']) && !segment.contains('%') {
        return true;
    }
    let decoded = percent_decode_str(segment);
    if decoded.clone().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
        return false;
    }
    // Servers of Java drop `;` and what follows it before they look for dots.
    let mut name = decoded.take_while(|byte| *byte != b';');
    let (first, second, third) = (name.next(), name.next(), name.next());
    !matches!(
        (first, second, third),
        (None, ..) | (Some(b'.'), None, _) | (Some(b'.'), Some(b'.'), None)
    )
}

/// What parameters of a segment begin with.
const PARAMETERS: [&str; 3] = [";", "%3b", "%3B"];

/// `path` without the parameters of its segments (`;x=1`), if it has any: servers of Java find what is
/// asked for without them, others take them for a part of the name.
pub fn without_parameters(path: &str) -> Option<String> {
    if !PARAMETERS.iter().any(|begin| path.contains(begin)) {
        return None;
    }
    let names: Vec<&str> = path.split('/').map(name).collect();
    Some(names.join("/"))
}

fn name(segment: &str) -> &str {
    PARAMETERS.iter().fold(segment, |name, begin| {
        name.split(begin).next().unwrap_or_default()
    })
}

/// Whether each `%` begins two digits.
fn is_encoded_well(segment: &str) -> bool {
    segment.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// The path of a route, as requests are compared with it.
#[derive(Clone, Debug)]
pub struct Path(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
}

impl Path {
    /// That of a route as it is written.
    pub fn new(written: &PathMatch) -> Self {
        let decoded = |text: &str| percent_decode_str(text).collect();
        Self(match written {
            PathMatch::Any => Kind::Any,
            PathMatch::Exact(path) => Kind::Exact(decoded(path)),
            PathMatch::Prefix(path) => Kind::Prefix(decoded(path)),
        })
    }

    /// Whether it is every path.
    pub fn is_any(&self) -> bool {
        matches!(self.0, Kind::Any)
    }

    /// Whether a request for `path` is meant, of which [`is_plain`] holds.
    pub fn fits(&self, path: &str) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Exact(wanted) => percent_decode_str(path).eq(wanted.iter().copied()),
            Kind::Prefix(wanted) => is_below(wanted, percent_decode_str(path)),
        }
    }

    /// Whether every request that `other` means is meant here too.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Any, _) => true,
            (Kind::Exact(own), Kind::Exact(other)) => own == other,
            (Kind::Prefix(own), Kind::Exact(other) | Kind::Prefix(other)) => {
                is_below(own, other.iter().copied())
            }
            (Kind::Exact(_) | Kind::Prefix(_), _) => false,
        }
    }
}

/// Whether `path` is `prefix` or goes on behind it with a slash.
fn is_below(prefix: &[u8], mut path: impl Iterator<Item = u8>) -> bool {
    let begins = prefix.iter().all(|wanted| path.next() == Some(*wanted));
    begins && matches!(path.next(), None | Some(b'/'))
}

#[cfg(test)]
mod tests;

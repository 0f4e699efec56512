//! `set_headers` and `answer_headers` of a route.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};

use crate::{
    config::{errors::Problems, file::Change, http::HeaderChange, shape::join},
    http::headers::Decided,
};

pub(super) fn changes(
    problems: &mut Problems,
    key: &str,
    written: &BTreeMap<String, Change>,
) -> Vec<HeaderChange> {
    let mut found: Vec<HeaderChange> = Vec::with_capacity(written.len());
    for (name, to) in written {
        let key = join(key, name);
        let Some(change) = change(problems, &key, name, to) else {
            continue;
        };
        if found.iter().any(|other| other.name == change.name) {
            problems.bad(
                &key,
                name,
                "this header is there already: names of headers have no case",
                "leave one of them out",
            );
            continue;
        }
        found.push(change);
    }
    found
}

fn change(problems: &mut Problems, key: &str, name: &str, to: &Change) -> Option<HeaderChange> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        problems.bad(
            key,
            name,
            "this is not the name of a header",
            "write { X-Name = \"value\" }; method, path and host are no headers here",
        );
        return None;
    };
    if let Some(by) = Decided::of(&header) {
        let (reason, fix) = match by {
            Decided::Host => (
                "the host is not changed as a header",
                "write rewrite = { host = \"app.example.org\" } for the one that the upstream is asked for",
            ),
            Decided::Connection => (
                "this is about one connection, and goes no further than that",
                "leave it out: it is removed, or set by what the connection is",
            ),
            Decided::Body => (
                "this follows from the body, and says where a message ends",
                "leave it out",
            ),
            Decided::Client => (
                "this is what the upstream is told of the client, and set by what is known of it",
                "leave it out; http.forwarded_from names clients whose own is kept",
            ),
        };
        problems.bad(key, name, reason, fix);
        return None;
    }
    let value = match to {
        Change::Kept(false) => None,
        Change::Kept(true) => {
            problems.bad(
                key,
                true,
                "a header stays as it is without being named",
                "write its value, or false to remove it",
            );
            return None;
        }
        Change::Value(text) => match HeaderValue::from_str(text) {
            Ok(value) => Some(value),
            Err(_) => {
                problems.bad(
                    key,
                    text,
                    "this is not the value of a header",
                    "write it in ASCII on one line, or false to remove it",
                );
                return None;
            }
        },
    };
    Some(HeaderChange {
        name: header,
        value,
    })
}

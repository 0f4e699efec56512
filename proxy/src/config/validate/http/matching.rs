//! Which requests a route is for.

use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
};

use super::Met;
use crate::{
    config::{
        errors::Problems,
        file::{self, Wanted},
        http::{HeaderMatch, PathMatch},
        validate::values,
    },
    http::path,
    identity::Expected,
};

pub(super) fn path_match(
    problems: &mut Problems,
    key: &str,
    file: &file::Route,
) -> Option<PathMatch> {
    match (&file.path, &file.prefix) {
        (None, None) => Some(PathMatch::Any),
        (Some(_), Some(prefix)) => {
            problems.bad(
                &format!("{key}.prefix"),
                prefix,
                "the route has a path already, and a path is one or the other",
                "leave one of them out, or write two routes",
            );
            None
        }
        (Some(text), None) => {
            plain_path(problems, &format!("{key}.path"), text)?;
            Some(PathMatch::Exact(text.clone()))
        }
        (None, Some(text)) => Some(
            match without_end(problems, &format!("{key}.prefix"), text)? {
                "" => PathMatch::Any,
                prefix => PathMatch::Prefix(prefix.into()),
            },
        ),
    }
}

/// A path that a request could have.
pub(super) fn plain_path<'a>(problems: &mut Problems, key: &str, text: &'a str) -> Option<&'a str> {
    let plain = text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['?', '#'])
        && path::is_plain(text)
        && path::without_parameters(text).is_none();
    if plain {
        return Some(text);
    }
    problems.bad(
        key,
        text,
        "this is not a path that requests have here: it begins with a slash, has no empty segment, \
         no \".\" or \"..\", no \";\" and no query, and what is no ASCII is percent-encoded",
        "write it like \"/status\"",
    );
    None
}

/// A path whose last slash says nothing.
pub(super) fn without_end<'a>(
    problems: &mut Problems,
    key: &str,
    text: &'a str,
) -> Option<&'a str> {
    plain_path(problems, key, text).map(|text| text.strip_suffix('/').unwrap_or(text))
}

pub(super) fn methods(problems: &mut Problems, key: &str, texts: &[String]) -> Vec<Method> {
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match Method::from_bytes(text.as_bytes()) {
            Ok(Method::CONNECT) => problems.bad(
                &key,
                text,
                "a listener opens no tunnels for its clients",
                "leave it out",
            ),
            Ok(_) if text.bytes().any(|byte| byte.is_ascii_lowercase()) => problems.bad(
                &key,
                text,
                "methods are told apart by case, and all that are registered are in capitals",
                format!("write {:?}", text.to_ascii_uppercase()),
            ),
            Ok(method) => found.push(method),
            Err(_) => problems.bad(&key, text, "this is not a method of HTTP", "write \"GET\""),
        }
    }
    found
}

pub(super) fn header(
    problems: &mut Problems,
    key: &str,
    name: &str,
    wanted: &Wanted,
) -> Option<HeaderMatch> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        problems.bad(
            key,
            name,
            "this is not the name of a header",
            "write headers = { x-name = \"value\" }",
        );
        return None;
    };
    let value = match wanted {
        Wanted::There(true) => None,
        Wanted::There(false) => {
            problems.bad(
                key,
                false,
                "a route cannot ask for a header that is not there",
                "write the route with the header above this one, and leave it out here",
            );
            return None;
        }
        Wanted::Value(text) => match HeaderValue::from_str(text) {
            Ok(value) => Some(value),
            Err(_) => {
                problems.bad(
                    key,
                    text,
                    "this is not the value of a header",
                    "write it in ASCII on one line, or true for any value",
                );
                return None;
            }
        },
    };
    Some(HeaderMatch {
        name: header,
        value,
    })
}

pub(super) fn allow(
    problems: &mut Problems,
    key: &str,
    written: Option<&[String]>,
    met: Met,
) -> Vec<Expected> {
    let Some(written) = written else {
        return Vec::new();
    };
    if !met.tls {
        problems.missing(
            key,
            "the listener asks nobody for a certificate, so that the route would be for nobody",
            "give the listener tls with mode = \"optional\" or \"mutual\", or leave it out",
        );
    } else if !met.asked {
        // No error: the mode of TLS is one word, which may change alone.
        problems.warn(
            key,
            "in mode \"simple\" nobody shows a certificate: the route is for nobody",
        );
    } else if written.is_empty() {
        problems.missing(
            key,
            "the route is for nobody",
            "name SPIFFE IDs or DNS names, or leave it out for all whom the listener lets in",
        );
    }
    values::expected(problems, key, written)
}

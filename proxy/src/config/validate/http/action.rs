//! What a route does: `upstream`, `redirect` or `answer`.

use hyper::{StatusCode, header::HeaderValue};

use super::{
    Met, headers, host,
    matching::{plain_path, without_end},
    size,
};
use crate::config::{
    errors::Problems,
    file,
    http::{Answer, Forward, Redirect, RouteAction, Scheme},
    validate::{references, values},
};

/// By which key a route says which paths it is about.
#[derive(Clone, Copy)]
pub(super) enum Matched {
    Path,
    Prefix,
    Neither,
}

pub(super) fn action(
    problems: &mut Problems,
    key: &str,
    file: &file::Route,
    matched: Matched,
    met: Met,
) -> Option<RouteAction> {
    let written = [
        ("upstream", file.upstream.is_some()),
        ("redirect", file.redirect.is_some()),
        ("answer", file.answer.is_some()),
    ];
    let mut written = written.into_iter().filter(|(_, written)| *written);
    let (first, second) = (written.next(), written.next());
    if let Some((name, _)) = second {
        problems.missing(
            &format!("{key}.{name}"),
            "a route does one thing: upstream, redirect or answer",
            "leave one of them out, or write two routes",
        );
        return None;
    }
    if first.is_none() && !problems.ignored_within(key) {
        problems.missing(
            key,
            "it is not said what becomes of the requests",
            "write upstream = \"NAME\", redirect = { … } or answer = { status = 404 }",
        );
    }
    let forward = forward(problems, key, file, matched);
    if let Some(redirect) = &file.redirect {
        let key = format!("{key}.redirect");
        let redirect = to_elsewhere(problems, &key, redirect, matched)?;
        warn_of_circle(problems, &key, &redirect, met);
        return Some(RouteAction::Redirect(redirect));
    }
    if let Some(answer) = &file.answer {
        return answered(problems, &format!("{key}.answer"), answer).map(RouteAction::Answer);
    }
    forward.map(RouteAction::Forward)
}

fn forward(
    problems: &mut Problems,
    key: &str,
    file: &file::Route,
    matched: Matched,
) -> Option<Forward> {
    let rewrite = file.rewrite.clone().unwrap_or_default();
    let rewrite_key = format!("{key}.rewrite");
    let prefix = rewrite
        .prefix
        .as_ref()
        .and_then(|text| replacement(problems, &format!("{rewrite_key}.prefix"), text, matched));
    let host = rewrite.host.as_ref().and_then(|text| {
        let host = host::with_port(text);
        if host.is_none() {
            let key = format!("{rewrite_key}.host");
            problems.bad(
                &key,
                text,
                "this is not a host",
                "write host = \"app.example.org\"",
            );
        }
        HeaderValue::from_str(&host?).ok()
    });
    let headers = headers::changes(problems, &format!("{key}.set_headers"), &file.set_headers);
    let timeout = file.timeout.as_deref();
    let timeout = values::duration_or_off(problems, &format!("{key}.timeout"), timeout, None);
    let max_body = file.max_body.as_ref().and_then(|text| {
        let range = 0..=u64::MAX >> 1;
        size::size(problems, &format!("{key}.max_body"), text, range)
    });
    let Some(upstream) = &file.upstream else {
        let keys = [
            ("rewrite", file.rewrite.is_some()),
            ("set_headers", !file.set_headers.is_empty()),
            ("timeout", file.timeout.is_some()),
            ("max_body", file.max_body.is_some()),
        ];
        for (name, _) in keys.into_iter().filter(|(_, written)| *written) {
            problems.missing(
                &format!("{key}.{name}"),
                "this has an effect only with upstream",
                "leave it out",
            );
        }
        return None;
    };
    Some(Forward {
        upstream: references::listeners_upstream(problems, key, Some(upstream))?,
        prefix,
        host,
        headers,
        timeout,
        max_body,
    })
}

/// What takes the place of a route's path.
fn replacement(problems: &mut Problems, key: &str, text: &str, matched: Matched) -> Option<String> {
    match matched {
        // As a whole, a slash at its end with it.
        Matched::Path => plain_path(problems, key, text).map(str::to_owned),
        Matched::Prefix => without_end(problems, key, text).map(str::to_owned),
        Matched::Neither => {
            problems.bad(
            key,
            text,
            "the route is about every path, so that there is nothing whose place this could take",
            "say which: prefix = \"/api\", or prefix = \"/\" to put this before every path",
        );
            None
        }
    }
}

fn to_elsewhere(
    problems: &mut Problems,
    key: &str,
    file: &file::Redirect,
    matched: Matched,
) -> Option<Redirect> {
    const SCHEMES: [(&str, Scheme); 2] = [("http", Scheme::Http), ("https", Scheme::Https)];
    let fields = [
        file.scheme.is_some(),
        file.host.is_some(),
        file.port.is_some(),
        file.prefix.is_some(),
    ];
    if !fields.contains(&true) && !problems.ignored_within(key) {
        problems.missing(
            key,
            "clients would be sent to where they come from",
            "write redirect = { scheme = \"https\" }, or another host, port or prefix",
        );
    }
    let scheme = file.scheme.as_ref();
    let scheme =
        scheme.map(|text| values::word(problems, &format!("{key}.scheme"), text, &SCHEMES));
    let host = file.host.as_ref().map(|text| {
        let host = host::plain(text);
        if host.is_none() {
            problems.bad(
                &format!("{key}.host"),
                text,
                "this is not a host, without a port",
                "write host = \"www.example.org\", and the port apart",
            );
        }
        host
    });
    let port = file.port.map(|number| {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            problems.bad(
                &format!("{key}.port"),
                number,
                "this is not a port",
                "write a port from 1 to 65535",
            );
        }
        port
    });
    let prefix = file.prefix.as_ref();
    let prefix = prefix.map(|text| replacement(problems, &format!("{key}.prefix"), text, matched));
    let status = file.status.unwrap_or(301);
    let status = [301, 302, 303, 307, 308]
        .iter()
        .find(|known| i64::from(**known) == status);
    if status.is_none() {
        problems.bad(
            &format!("{key}.status"),
            file.status,
            "this is not a status that sends clients elsewhere",
            "write 301 or 308 for good, 302 or 307 for now, 303 for another method",
        );
    }
    Some(Redirect {
        status: StatusCode::from_u16(*status?).ok()?,
        scheme: every(scheme)?,
        host: every(host)?,
        port: every(port)?,
        prefix: every(prefix)?,
    })
}

/// Something in front of the listener may make sense of it.
fn warn_of_circle(problems: &mut Problems, key: &str, redirect: &Redirect, met: Met) {
    let own = if met.tls { Scheme::Https } else { Scheme::Http };
    let elsewhere = redirect.host.is_some() || redirect.port.is_some() || redirect.prefix.is_some();
    if redirect.scheme == Some(own) && !elsewhere {
        problems.warn(
            key,
            "clients of this listener come by that scheme already, and are sent to where they come from",
        );
    }
}

/// What was written must be right, and need not be written.
fn every<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        Some(read) => read.map(Some),
        None => Some(None),
    }
}

fn answered(problems: &mut Problems, key: &str, file: &file::Answer) -> Option<Answer> {
    let status_key = format!("{key}.status");
    let Some(number) = file.status else {
        problems.missing(
            &status_key,
            "it is not said with what status",
            "write status = 404",
        );
        return None;
    };
    let status = u16::try_from(number)
        .ok()
        .filter(|status| (200..600).contains(status));
    let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        problems.bad(
            &status_key,
            number,
            "this is not the status of an answer",
            "write one from 200 to 599",
        );
        return None;
    };
    let body = file.body.clone().unwrap_or_default();
    let bodiless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if !body.is_empty() && bodiless.contains(&status) {
        problems.bad(
            &format!("{key}.body"),
            &body,
            format!("an answer with the status {} has no body", status.as_u16()),
            "leave it out",
        );
    }
    Some(Answer { status, body })
}

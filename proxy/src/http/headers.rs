//! What a route changes of the headers of a request, and of its answer.

use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};

use super::{
    forwarded::{self, folded},
    hop_by_hop,
};
use crate::config::http::HeaderChange;

/// By what a header is decided that no route can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The request itself, or `rewrite.host`.
    Host,
    /// The connection: it goes no further.
    Connection,
    /// The body: messages would begin and end elsewhere than we think.
    Body,
    /// What is known of the client.
    Client,
}

impl Decided {
    /// By what `name` is; `None` if routes may change it.
    pub fn of(name: &HeaderName) -> Option<Self> {
        const BODY: [HeaderName; 4] = [
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::TRAILER,
            header::EXPECT,
        ];
        if *name == header::HOST {
            Some(Self::Host)
        } else if BODY.contains(name) {
            Some(Self::Body)
        } else if hop_by_hop::is_one(name) {
            Some(Self::Connection)
        } else if forwarded::is_claim(name.as_str()) {
            Some(Self::Client)
        } else {
            None
        }
    }
}

/// Changes those that go to the upstream. What a client wrote in another spelling goes too, since
/// applications cannot tell `X_User` from `X-User`.
pub fn change_request(headers: &mut HeaderMap, changes: &[HeaderChange]) {
    for change in changes {
        let same = |name: &&HeaderName| {
            let folded_name = name.as_str().bytes().map(folded);
            **name != change.name && folded_name.eq(change.name.as_str().bytes().map(folded))
        };
        let others: Vec<HeaderName> = headers.keys().filter(same).cloned().collect();
        // Both spellings may be of this route.
        for other in others {
            if !changes.iter().any(|change| change.name == other) {
                headers.remove(other);
            }
        }
    }
    change_answer(headers, changes);
}

/// Changes those that go to the client.
pub fn change_answer(headers: &mut HeaderMap, changes: &[HeaderChange]) {
    for HeaderChange { name, value } in changes {
        match value {
            Some(value) => {
                headers.insert(name, value.clone());
            }
            None => {
                headers.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn changes() -> [HeaderChange; 3] {
        let change = |name, value: Option<&'static str>| HeaderChange {
            name: HeaderName::from_static(name),
            value: value.map(HeaderValue::from_static),
        };
        [
            change("x-env", Some("prod")),
            change("x-debug", None),
            change("x-new", Some("1")),
        ]
    }

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-env", "test"),
            ("x-env", "other"),
            ("x_env", "evil"),
            ("x-debug", "1"),
            ("x_debug", "2"),
            ("accept", "*/*"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    fn all(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn what_is_set_takes_the_place_of_all_values_and_of_all_spellings_in_a_request() {
        let mut request = headers();
        change_request(&mut request, &changes());
        let left = [("accept", "*/*"), ("x-env", "prod"), ("x-new", "1")];
        assert_eq!(all(&request), left);
        let mut answer = headers();
        change_answer(&mut answer, &changes());
        let left = [
            ("accept", "*/*"),
            ("x-env", "prod"),
            ("x-new", "1"),
            ("x_debug", "2"),
            ("x_env", "evil"),
        ];
        assert_eq!(all(&answer), left);
    }

    #[test]
    fn what_frames_a_message_or_says_whose_it_is_is_not_a_routes_to_change() {
        for (name, by) in [
            ("host", Some(Decided::Host)),
            ("content-length", Some(Decided::Body)),
            ("transfer-encoding", Some(Decided::Body)),
            ("connection", Some(Decided::Connection)),
            ("keep-alive", Some(Decided::Connection)),
            ("upgrade", Some(Decided::Connection)),
            ("proxy-authorization", Some(Decided::Connection)),
            ("forwarded", Some(Decided::Client)),
            ("x-forwarded-for", Some(Decided::Client)),
            ("x_forwarded_client_cert", Some(Decided::Client)),
            ("x-real-ip", Some(Decided::Client)),
            ("strict-transport-security", None),
            ("content-type", None),
            ("authorization", None),
        ] {
            assert_eq!(Decided::of(&HeaderName::from_static(name)), by, "{name}");
        }
    }
}

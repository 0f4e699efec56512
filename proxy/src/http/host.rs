//! Whom a request is for.

use hyper::{
    Request, Version,
    header::{self, HeaderValue},
    http::uri::Authority,
};

use crate::refusal::{Reason, Refusal};

/// The host of a request, with its port if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(Authority);

impl Host {
    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Without its port.
    pub(super) fn name(&self) -> &str {
        self.0.host()
    }

    /// As a header.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.0.as_str()).ok()
    }
}

/// The one host that `request` is for. Whoever comes after us must not take another for it: there is one
/// Host header, and HTTP/2's `:authority` says the same.
///
/// # Errors
/// [`Reason::BadRequest`]
pub(super) fn of<B>(request: &Request<B>) -> Result<Option<Host>, Refusal> {
    let bad = |what: &str| Refusal::new(Reason::BadRequest, what);
    let mut headers = request.headers().get_all(header::HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(bad("more than one Host"));
    }
    let header = match header {
        None => None,
        Some(value) => {
            let parsed = Authority::try_from(value.as_bytes());
            Some(parsed.map_err(|_| bad("a Host that is none"))?)
        }
    };
    let target = request.uri().authority().cloned();
    let host = match (target, header) {
        (Some(target), None) if request.version() == Version::HTTP_2 => target,
        (Some(target), Some(header)) if request.version() == Version::HTTP_2 => {
            if target != header {
                return Err(bad(":authority and Host that differ"));
            }
            target
        }
        // RFC 9112, section 3.2.2: what stands in the request line counts.
        (Some(target), Some(_)) => target,
        (None, Some(header)) => header,
        (None, None) if request.version() == Version::HTTP_10 => return Ok(None),
        (_, None) => return Err(bad("no Host")),
    };
    let after = host.as_str().strip_prefix(host.host());
    let port = match after {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix(':'),
        // Somebody's name and password stand before it.
        None => None,
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if host.host().is_empty() || !port.is_some_and(is_port) {
        return Err(bad("a Host that is no host and port"));
    }
    Ok(Some(Host(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_request(version: Version, uri: &str, hosts: &[&str]) -> Result<Option<String>, Reason> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let host = of(&request.body(()).unwrap());
        host.map(|host| host.map(|host| host.name().to_owned()))
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_request_has_one_host_or_is_refused() {
        let one = |hosts: &[&str]| of_request(Version::HTTP_11, "/", hosts);
        assert_eq!(one(&["a.example:8080"]), Ok(Some("a.example".to_owned())));
        assert_eq!(one(&["[::1]:80"]), Ok(Some("[::1]".to_owned())));
        for wrong in [
            &[][..],
            &["a", "b"],
            &["a", "a"],
            &[""],
            &["user@a"],
            &["a/b"],
            &["a:80a"],
            &["a b"],
            &[":80"],
        ] {
            assert_eq!(one(wrong), Err(Reason::BadRequest), "{wrong:?}");
        }
        assert_eq!(of_request(Version::HTTP_10, "/", &[]), Ok(None));
        let absolute = of_request(Version::HTTP_11, "http://a/", &["b"]);
        assert_eq!(absolute, Ok(Some("a".to_owned())));
        let two = |hosts: &[&str]| of_request(Version::HTTP_2, "https://a/", hosts);
        assert_eq!(two(&[]), Ok(Some("a".to_owned())));
        assert_eq!(two(&["A"]), Ok(Some("a".to_owned())));
        assert_eq!(two(&["b"]), Err(Reason::BadRequest));
    }
}

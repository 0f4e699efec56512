//! Which route is for a request: the first that fits.

use std::{borrow::Cow, collections::HashMap, net::Ipv6Addr};

use hyper::{HeaderMap, Method};

use super::path::{self, Path};
use crate::config::{
    self,
    http::{HeaderMatch, HostPattern},
};

mod covered;

pub use covered::covered;

/// The routes of one listener. Those of other hosts than a request's cost it nothing.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Fits>,
    hosts: Hosts,
    /// Whether any of them asks for a path.
    judge_paths: bool,
}

/// What a request must be like, beside its host.
#[derive(Debug)]
struct Fits {
    path: Path,
    methods: Vec<Method>,
    headers: Vec<HeaderMatch>,
}

/// Numbers of routes, in their order, by what they say of the host.
#[derive(Debug, Default)]
struct Hosts {
    every: Vec<usize>,
    exact: HashMap<Box<str>, Vec<usize>>,
    below: HashMap<Box<str>, Vec<usize>>,
}

/// Why no route can be found for a request: its server may take it for one of another route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// See [`path::is_plain`].
    #[error("a path that could be taken for another one")]
    Path,
    /// See [`path::without_parameters`].
    #[error("a path that is another route's without what follows \";\" in its segments")]
    Parameters,
}

impl Routes {
    /// Those of a listener.
    pub fn build(http: &config::Http) -> Self {
        let mut hosts = Hosts::default();
        let mut routes = Vec::with_capacity(http.routes.len());
        for (index, route) in http.routes.iter().enumerate() {
            hosts.insert(&route.hosts, index);
            routes.push(Fits {
                path: Path::new(&route.path),
                methods: route.methods.clone(),
                headers: route.headers.clone(),
            });
        }
        Self {
            judge_paths: routes.iter().any(|route| !route.path.is_any()),
            routes,
            hosts,
        }
    }

    /// The first that fits: its place in [`config::Http::routes`]. `host` may have a port. Where no
    /// route asks for a path, every path will do.
    ///
    /// # Errors
    /// [`Ambiguous`]
    pub fn find_plainly(
        &self,
        host: Option<&str>,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<usize>, Ambiguous> {
        if self.judge_paths && !path::is_plain(path) {
            return Err(Ambiguous::Path);
        }
        let found = self.find(host, path, method, headers);
        let bare = path::without_parameters(path).filter(|_| self.judge_paths);
        if bare.is_some_and(|bare| self.find(host, &bare, method, headers) != found) {
            return Err(Ambiguous::Parameters);
        }
        Ok(found)
    }

    fn find(
        &self,
        host: Option<&str>,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<usize> {
        let host = host.map(plain_host);
        let mut found: Option<usize> = None;
        for list in self.hosts.of(host.as_deref()) {
            let before = |index: &usize| found.is_none_or(|found| *index < found);
            let fits = |index: &usize| {
                let route = self.routes.get(*index);
                route.is_some_and(|route| route.fits(path, method, headers))
            };
            let candidates = list.iter().copied().take_while(before);
            if let Some(first) = candidates.into_iter().find(fits) {
                found = Some(first);
            }
        }
        found
    }
}

impl Fits {
    fn fits(&self, path: &str, method: &Method, headers: &HeaderMap) -> bool {
        let method = self.methods.is_empty() || self.methods.contains(method);
        let has = |wanted: &HeaderMatch| {
            let mut values = headers.get_all(&wanted.name).iter();
            match &wanted.value {
                Some(value) => values.any(|found| found == value),
                None => values.next().is_some(),
            }
        };
        method && self.path.fits(path) && self.headers.iter().all(has)
    }
}

impl Hosts {
    fn insert(&mut self, patterns: &[HostPattern], index: usize) {
        if patterns.is_empty() {
            self.every.push(index);
        }
        for pattern in patterns {
            let list = match pattern {
                HostPattern::Exact(host) => self.exact.entry(host.as_str().into()),
                HostPattern::Below(host) => self.below.entry(host.as_str().into()),
            };
            list.or_default().push(index);
        }
    }

    /// The lists that are about a host, which is as [`plain_host`] makes it.
    fn of<'a>(&'a self, host: Option<&'a str>) -> impl Iterator<Item = &'a [usize]> {
        let exact = host.and_then(|host| self.exact.get(host));
        // Who writes no patterns does not pay for them.
        let labels = host.filter(|_| !self.below.is_empty());
        let parents = std::iter::successors(labels, |host| Some(host.split_once('.')?.1)).skip(1);
        let below = parents.filter_map(|parent| self.below.get(parent));
        let all = std::iter::once(&self.every).chain(exact).chain(below);
        all.map(Vec::as_slice)
    }
}

/// A host as routes name it: in lower case, without a port, and without the dot that may end it.
pub fn plain_host(host: &str) -> Cow<'_, str> {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]").into(),
            Err(_) => host.into(),
        };
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests;

//! Routes to which no request comes, since one before them takes all that they mean.

use super::{Fits, HeaderMatch, HostPattern, Hosts, Routes};
use crate::config;

/// Each such route with the one that takes its requests.
pub fn covered(http: &config::Http) -> Vec<(usize, usize)> {
    let Routes { routes, hosts, .. } = Routes::build(http);
    let pairs = http.routes.iter().zip(&routes).enumerate();
    let pairs = pairs.filter_map(|(index, (route, fits))| {
        let before = hosts.that_take(&route.hosts);
        let mut before = before.filter(|before| *before < index);
        let first = before.find(|before| {
            let earlier = http.routes.get(*before).zip(routes.get(*before));
            earlier.is_some_and(|(earlier, earlier_fits)| {
                take_hosts(&earlier.hosts, &route.hosts) && earlier_fits.covers(fits)
            })
        });
        Some((index, first?))
    });
    pairs.collect()
}

impl Hosts {
    /// Numbers of routes that take the first of these hosts, so that only those need be looked at.
    fn that_take(&self, hosts: &[HostPattern]) -> impl Iterator<Item = usize> {
        let (exact, name) = match hosts.first() {
            Some(HostPattern::Exact(host)) => (self.exact.get(host.as_str()), Some(host.as_str())),
            // `*.example.org` takes `*.example.org`, and so do those above it.
            Some(HostPattern::Below(host)) => (self.below.get(host.as_str()), Some(host.as_str())),
            None => (None, None),
        };
        let parents = std::iter::successors(name, |host| Some(host.split_once('.')?.1)).skip(1);
        let below = parents.filter_map(|parent| self.below.get(parent));
        let lists = std::iter::once(&self.every).chain(exact).chain(below);
        lists.flatten().copied()
    }
}

impl Fits {
    fn covers(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|m| self.methods.contains(m)));
        let asked = |wanted: &HeaderMatch| {
            let mut asked = other.headers.iter();
            asked.any(|other| {
                other.name == wanted.name && (wanted.value.is_none() || wanted.value == other.value)
            })
        };
        methods && self.path.covers(&other.path) && self.headers.iter().all(asked)
    }
}

fn take_hosts(own: &[HostPattern], others: &[HostPattern]) -> bool {
    let takes = |other: &HostPattern| own.iter().any(|own| takes_host(own, other));
    own.is_empty() || (!others.is_empty() && others.iter().all(takes))
}

fn takes_host(own: &HostPattern, other: &HostPattern) -> bool {
    let (HostPattern::Exact(name) | HostPattern::Below(name)) = other;
    match own {
        HostPattern::Exact(_) => own == other,
        HostPattern::Below(parent) => {
            let below = name.strip_suffix(parent.as_str());
            own == other || below.is_some_and(|labels| labels.ends_with('.'))
        }
    }
}

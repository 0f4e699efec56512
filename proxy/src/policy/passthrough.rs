//! Which upstream has which server name, in one generation of policy.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::{Servers, http::HostPattern},
    upstream::Upstream,
};

/// The upstreams of a listener that relays TLS as it is.
#[derive(Debug)]
pub struct Passthrough<T = Arc<Upstream>> {
    exact: HashMap<Box<str>, T>,
    below: HashMap<Box<str>, T>,
    other: Option<T>,
}

impl<T> Passthrough<T> {
    /// Puts it together of the upstreams that `named` finds.
    pub(super) fn build<E>(
        servers: &Servers,
        named: impl Fn(&String) -> Result<T, E>,
    ) -> Result<Self, E> {
        let mut built = Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            other: servers.other.as_ref().map(&named).transpose()?,
        };
        for (pattern, upstream) in &servers.named {
            let upstream = named(upstream)?;
            match pattern {
                HostPattern::Exact(name) => built.exact.insert(name.as_str().into(), upstream),
                HostPattern::Below(name) => built.below.insert(name.as_str().into(), upstream),
            };
        }
        Ok(built)
    }

    /// Who has `name`, in lower case: the one with this very name, else the longest name that it is
    /// below. One lookup for each label, however many names there are. `None` if nobody has it, and
    /// there is nobody for the others.
    pub fn find(&self, name: Option<&str>) -> Option<&T> {
        let found = name.and_then(|name| {
            let suffixes = name.match_indices('.');
            self.exact.get(name).or_else(|| {
                suffixes
                    .filter_map(|(dot, _)| name.get(dot + 1..))
                    .find_map(|suffix| self.below.get(suffix))
            })
        });
        found.or(self.other.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Balance, Health, HttpVersion};
    use crate::policy::PolicyError;

    fn upstream(name: &str) -> Result<Arc<Upstream>, PolicyError> {
        let spec = crate::config::Upstream {
            addresses: vec![Address::Socket(([127, 0, 0, 1], 443).into())],
            tls: None,
            balance: Balance::TwoChoices,
            health: Health {
                check: None,
                interval: std::time::Duration::from_secs(1),
                timeout: std::time::Duration::from_secs(1),
                down: 1,
                up: 1,
            },
            retries: 0,
            http: HttpVersion::Negotiated,
            send_proxy: None,
        };
        Ok(Arc::new(Upstream::new(name.into(), spec, None, None, None)))
    }

    fn passthrough(other: Option<&str>) -> Passthrough {
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        let below = |name: &str| HostPattern::Below(name.to_owned());
        let named = [
            (exact("a.example.org"), "exact"),
            (below("example.org"), "short"),
            (below("b.example.org"), "long"),
        ];
        let servers = Servers {
            named: named
                .into_iter()
                .map(|(pattern, name)| (pattern, name.to_owned()))
                .collect(),
            other: other.map(str::to_owned),
        };
        Passthrough::build(&servers, |name| upstream(name)).unwrap()
    }

    #[test]
    fn the_very_name_is_found_first_then_the_longest_that_it_is_below_then_the_one_for_all_others()
    {
        let found = |name, other| {
            let passthrough = passthrough(other);
            let found = passthrough.find(name).map(|found| found.name.to_string());
            found.unwrap_or_else(|| "nobody".to_owned())
        };
        for (name, who) in [
            (Some("a.example.org"), "exact"),
            (Some("x.a.example.org"), "short"),
            (Some("c.example.org"), "short"),
            (Some("x.c.example.org"), "short"),
            (Some("b.example.org"), "short"),
            (Some("x.b.example.org"), "long"),
            (Some("y.x.b.example.org"), "long"),
            (Some("example.org"), "nobody"),
            (Some("xexample.org"), "nobody"),
            (Some("a.example.org.evil.example"), "nobody"),
            (Some("org"), "nobody"),
            (None, "nobody"),
        ] {
            assert_eq!(found(name, None), who, "{name:?}");
            let with_other = if who == "nobody" { "other" } else { who };
            assert_eq!(found(name, Some("other")), with_other, "{name:?}");
        }
    }
}

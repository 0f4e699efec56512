//! Which endpoint gets the next connection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Endpoint;
use crate::config::Balance;

/// Chooses among endpoints.
#[derive(Debug)]
pub(super) struct Balancer {
    by: Balance,
    turn: AtomicUsize,
}

impl Balancer {
    pub(super) fn new(by: Balance) -> Self {
        Self {
            by,
            // Daemons that start together do not all begin with the same one.
            turn: AtomicUsize::new(fastrand::usize(..)),
        }
    }

    /// One of `endpoints` that is up and not among `tried`. `None` if there is none.
    pub(super) fn choose(
        &self,
        endpoints: &[Arc<Endpoint>],
        tried: &[Arc<Endpoint>],
    ) -> Option<Arc<Endpoint>> {
        let fit = |endpoint: &&Arc<Endpoint>| {
            endpoint.is_up() && !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
        };
        let count = endpoints.iter().filter(fit).count();
        if count <= 1 {
            return endpoints.iter().find(fit).cloned();
        }
        // Between counting and choosing one may go down: then another is as good.
        let nth = |n: usize| {
            let mut up = endpoints.iter().filter(fit);
            up.nth(n).or_else(|| endpoints.iter().find(fit))
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        match self.by {
            Balance::RoundRobin => nth(turn).cloned(),
            Balance::LeastConnections => {
                let up = endpoints.iter().filter(fit);
                // Of equals not always the first.
                let from_turn = up.clone().skip(turn).chain(up.take(turn));
                from_turn
                    .min_by_key(|endpoint| endpoint.under_way())
                    .cloned()
            }
            Balance::TwoChoices => {
                let first = fastrand::usize(..count);
                let second = (first + fastrand::usize(1..count)) % count;
                let drawn = [nth(first), nth(second)].into_iter().flatten();
                drawn.min_by_key(|endpoint| endpoint.under_way()).cloned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{
        addr::UpstreamAddr,
        config::Health,
        refusal::{Reason, Refusal},
    };

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        let at = |port| UpstreamAddr::new(([127, 0, 0, 1], port).into());
        let new = |port| Arc::new(Endpoint::new("up".into(), at(port)));
        (1..=count).map(new).collect()
    }

    fn take_down(endpoint: &Endpoint) {
        let health = Health {
            check: None,
            interval: std::time::Duration::from_secs(1),
            timeout: std::time::Duration::from_secs(1),
            down: 1,
            up: 1,
        };
        endpoint.failed(&Refusal::new(Reason::ConnectRefused, "gone"), &health);
    }

    fn counts(
        balancer: &Balancer,
        endpoints: &[Arc<Endpoint>],
        draws: usize,
    ) -> HashMap<u16, usize> {
        let mut counts = HashMap::new();
        for _ in 0..draws {
            let chosen = balancer.choose(endpoints, &[]).unwrap();
            *counts.entry(chosen.at.port()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn in_turn_each_endpoint_that_is_up_gets_the_same_share() {
        let all = endpoints(4);
        let balancer = Balancer::new(Balance::RoundRobin);
        assert!(
            counts(&balancer, &all, 400)
                .values()
                .all(|count| *count == 100)
        );
        take_down(&all[1]);
        let without = counts(&balancer, &all, 300);
        assert_eq!(without.len(), 3);
        assert!(without.values().all(|count| *count == 100));
    }

    #[test]
    fn the_least_busy_is_chosen_and_of_two_drawn_the_less_busy() {
        let all = endpoints(3);
        let _busy: Vec<_> = [0, 0, 1].map(|index: usize| all[index].begin()).into();
        let least = Balancer::new(Balance::LeastConnections);
        assert_eq!(counts(&least, &all, 10), HashMap::from([(3, 10)]));
        let two = counts(&Balancer::new(Balance::TwoChoices), &all, 3000);
        assert_eq!(
            two.get(&1),
            None,
            "it is busier than any other that is drawn with it"
        );
        assert!(two[&3] > two[&2]);
    }

    #[test]
    fn what_was_tried_or_is_down_is_not_chosen() {
        let all = endpoints(2);
        for by in [
            Balance::RoundRobin,
            Balance::LeastConnections,
            Balance::TwoChoices,
        ] {
            let balancer = Balancer::new(by);
            let chosen = balancer.choose(&all, &all[..1]).unwrap();
            assert_eq!(chosen.at.port(), 2);
            assert!(balancer.choose(&all, &all).is_none());
        }
        all.iter().for_each(|endpoint| take_down(endpoint));
        assert!(
            Balancer::new(Balance::TwoChoices)
                .choose(&all, &[])
                .is_none()
        );
    }
}

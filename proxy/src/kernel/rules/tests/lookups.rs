//! What a decision costs.

use std::cell::Cell;

use sidetrack_abi::{
    Address,
    rules::{Rule, RuleKey},
};

use super::*;

/// Tables that count what is looked up in them.
struct Counted<'a> {
    tables: &'a RuleTables,
    lookups: Cell<usize>,
}

impl Tables for Counted<'_> {
    fn destination_class(&self, address: &Address) -> Option<u32> {
        self.lookups.set(self.lookups.get() + 1);
        self.tables.destination_class(address)
    }

    fn rule(&self, key: &RuleKey) -> Option<Rule> {
        self.lookups.set(self.lookups.get() + 1);
        self.tables.rule(key)
    }
}

/// One rule for each of so many addresses, half of them for one user, and one for everywhere.
fn with(rules: u32) -> RuleTables {
    let everywhere = rule(None, &["0.0.0.0/0"], &[443..=443]);
    let each = (0..rules).map(|number| {
        let to = format!("{}/32", address(number));
        let select = (number % 2 == 0).then_some("one");
        rule(select, &[&to], &[80..=80])
    });
    let selected = Select {
        include: vec![user(7)],
        exclude: vec![],
    };
    let config = config(
        each.chain([everywhere]).collect(),
        &[("one", selected)],
        &[],
    );
    RuleTables::compile(&config, Scope::Selections, 1)
}

fn address(number: u32) -> std::net::Ipv4Addr {
    (0x0a00_0000 + number).into()
}

/// Lookups for one decision, and the rule that decided.
fn decided(tables: &RuleTables, to: SocketAddr, selection: u32) -> (usize, Option<u32>) {
    let counted = Counted {
        tables,
        lookups: Cell::new(0),
    };
    let query = Query {
        destination: to.into(),
        selection,
        protocol: Protocol::Tcp.number(),
    };
    let rule = match sidetrack_abi::decide(&counted, &query) {
        Verdict::Redirect(rule) => Some(rule.index),
        Verdict::Unmatched => None,
        other => panic!("{other:?}"),
    };
    (counted.lookups.get(), rule)
}

#[test]
fn a_decision_takes_two_lookups_among_ten_rules_and_among_ten_thousand() {
    for rules in [10, 10_000] {
        let tables = with(rules);
        let selection = tables.selection(&task("/", 7, 0));
        let others = tables.selection(&task("/", 8, 0));
        for number in [0, 1, rules - 2, rules - 1] {
            let to = |port| SocketAddr::from((address(number), port));
            assert_eq!(decided(&tables, to(80), selection), (2, Some(number)));
            let odd = (number % 2 == 1).then_some(number);
            assert_eq!(decided(&tables, to(80), others), (2, odd));
            assert_eq!(decided(&tables, to(443), others), (2, Some(rules)));
            assert_eq!(decided(&tables, to(81), others), (2, None));
        }
        // Without a prefix there is nothing to look up a rule for.
        let elsewhere = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(decided(&tables, elsewhere, selection), (1, None));
        // Of the kernel's tables, those for selections do not grow with the rules either.
        let stages = tables.stages().len();
        assert_eq!(stages, 1, "users alone are asked");
    }
}

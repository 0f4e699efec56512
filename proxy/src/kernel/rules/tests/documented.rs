//! The examples of README.md: its configuration decides what its table says.

use std::path::Path;

use super::*;

const README: &str = include_str!("../../../../../README.md");

fn section() -> &'static str {
    let (_, from) = README.split_once("\n## Which rule decides\n").unwrap();
    from.split_once("\n## ").unwrap().0
}

/// The indented lines, with the keys that the section leaves out.
fn documented() -> Config {
    let rules = section()
        .lines()
        .filter_map(|line| line.strip_prefix("    "));
    let rules: Vec<&str> = rules.collect();
    let toml = format!(
        "version = 1\n\
         [identity.web]\ncertificate = \"web.crt\"\nprivate_key = \"web.key\"\n\
         [trust.\"example.org\"]\nbundle = \"ca.crt\"\n{}\n",
        rules.join("\n")
    );
    Config::parse(&toml, Path::new("/etc/sidetrack/sidetrack.toml")).unwrap()
}

#[test]
fn the_documented_examples_are_decided_as_documented() {
    let config = documented();
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let rows: Vec<Vec<&str>> = section()
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut decided = BTreeSet::new();
    for row in rows.iter().skip(2) {
        let [unit, over, to, expected, _] = row.as_slice() else {
            panic!("not a row: {row:?}");
        };
        let protocol = Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.label() == *over)
            .unwrap();
        let selection = tables.selection(&Task {
            executable: 0,
            cgroup: &format!("/system.slice/{unit}"),
            uid: 1000,
            gid: Some(0),
            netns: None,
        });
        let to = OriginalDst::new(to.parse().unwrap());
        let rule = match tables.decide(protocol, to, selection) {
            Verdict::Unmatched => "nothing",
            Verdict::Ignore(rule)
            | Verdict::Deny(rule)
            | Verdict::Redirect(rule)
            | Verdict::Pass(rule) => &config.outbound[rule.index as usize].name,
        };
        assert_eq!(rule, *expected, "{row:?}");
        decided.insert(rule);
    }
    let every_rule = config.outbound.iter().map(|rule| rule.name.as_str());
    for rule in every_rule.chain(["nothing"]) {
        assert!(decided.contains(rule), "{rule} has no example");
    }
}

//! The cases. What can keep its paths stands together: to set a path up takes longer than a slice.

use crate::{
    case::{Case, Merit},
    load::Load,
    path::{Kind, Spec},
};

use super::{Planned, Profile, size::Size};

mod carried;

/// A user's own host, without other software than iptables.
const QUICK: [Kind; 4] = [
    Kind::Direct,
    Kind::Redirected,
    Kind::Mtls,
    Kind::IptablesRelay,
];

const CONNECT: [Kind; 7] = [
    Kind::Direct,
    Kind::Unselected,
    Kind::Passed,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesPassed,
    Kind::IptablesRelay,
];

/// First byte in plain text, with one rule; our mutual TLS beside, since that is what a user chooses between.
const PLAIN: [Kind; 8] = [
    Kind::Direct,
    Kind::Mtls,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesRelay,
    Kind::RedirectHaproxy,
    Kind::IptablesHaproxy,
    Kind::TproxyHaproxy,
];

/// The same with many rules.
const RULES: [Kind; 4] = [
    Kind::Direct,
    Kind::Redirected,
    Kind::RedirectRelay,
    Kind::IptablesRelay,
];

/// Where mutual TLS is what costs. The pair of HAProxy is what the others are compared with, since
/// nothing direct does handshakes.
const MUTUAL: [Kind; 5] = [
    Kind::HaproxyPair,
    Kind::Mtls,
    Kind::MtlsTls,
    Kind::NginxPair,
    Kind::StunnelPair,
];

const LATENCY: [Merit; 3] = [Merit::P50, Merit::P99, Merit::P999];

/// All cases of `profile` and those of their paths that are `wanted`, in the order in which they are measured. Without any
/// wish, the paths are the profile's. A path alone is no question, unless nobody asks for another.
pub(super) fn of(profile: Profile, wanted: &[Kind]) -> Vec<Planned> {
    let least = if wanted.len() == 1 { 1 } else { 2 };
    let maker = Maker {
        profile,
        size: Size::of(profile),
        wanted: match (wanted, profile) {
            ([], Profile::Quick) => &QUICK,
            ([], Profile::Smoke | Profile::Full) => &Kind::ALL,
            (wanted, _) => wanted,
        },
    };
    let mut cases = maker.new_connections();
    cases.extend(maker.carried());
    cases.extend(maker.bulk());
    cases.extend(maker.handshakes());
    cases.push(maker.idle());
    cases.retain(|planned| planned.case.paths.len() >= least);
    cases
}

struct Maker<'a> {
    profile: Profile,
    size: Size,
    wanted: &'a [Kind],
}

impl Maker<'_> {
    fn case(
        &self,
        name: &str,
        about: &str,
        load: Load,
        kinds: &[Kind],
        rules: u32,
        merits: &[Merit],
    ) -> Planned {
        let wanted = |kind: &&Kind| self.wanted.contains(kind);
        let idle = matches!(load, Load::Idle { .. });
        let spec = |kind: &Kind| Spec {
            kind: *kind,
            rules: if kind.has_rules() { rules } else { 1 },
            build: None,
        };
        Planned {
            case: Case {
                name: name.to_owned(),
                about: about.to_owned(),
                load,
                paths: kinds.iter().filter(wanted).map(spec).collect(),
                merits: merits.to_vec(),
            },
            rounds: if idle {
                self.size.memory_rounds
            } else {
                self.size.rounds
            },
            warm_up: if idle { 0 } else { self.size.warm_up },
        }
    }

    /// By number of rules, since that is what most of these paths can keep.
    fn new_connections(&self) -> Vec<Planned> {
        let Size {
            connects,
            first_bytes,
            ..
        } = self.size;
        let mut cases = Vec::new();
        for rules in self.size.rules.iter().copied() {
            cases.push(self.case(
                &format!("connect-{rules}"),
                &format!("connect() alone, with {}", of_rules(rules)),
                Load::Connect { count: connects },
                &CONNECT,
                rules,
                &[Merit::P50, Merit::P99, Merit::CpuPerOperation],
            ));
            let kinds: &[Kind] = match (self.profile, rules) {
                (_, 1) => &PLAIN,
                // The middle of the line is drawn by connect() alone.
                (Profile::Full, 100) => continue,
                _ => &RULES,
            };
            cases.push(self.case(
                &format!("first-byte-{rules}"),
                &format!(
                    "from connect() to the first byte of the answer, with {}",
                    of_rules(rules)
                ),
                Load::FirstByte { count: first_bytes },
                kinds,
                rules,
                &with(&LATENCY, Merit::CpuPerOperation),
            ));
        }
        cases
    }

    fn idle(&self) -> Planned {
        let connections = self.size.idle;
        let mut kinds = MUTUAL.to_vec();
        kinds.push(Kind::Redirected);
        self.case(
            "idle",
            &format!("memory for each of {connections} open connections, a byte exchanged on each"),
            Load::Idle { connections },
            &kinds,
            1,
            &[Merit::MemoryPerConnection],
        )
    }
}

fn with(merits: &[Merit], last: Merit) -> Vec<Merit> {
    let mut merits = merits.to_vec();
    merits.push(last);
    merits
}

fn of_rules(rules: u32) -> String {
    match rules {
        1 => "one rule".to_owned(),
        many => format!("{many} rules"),
    }
}

//! Connections that the kernel did not decide by the rules in force: of cgroups that it did not know
//! yet, or by the rules before a reload. The rule is found here, by the same tables and the same
//! decision.

use std::sync::Arc;

use sidetrack_abi::{
    Redirected, Verdict,
    rules::{ACTION_REDIRECT, RULE_UNCLASSIFIED},
};

use super::{OutboundPermit, Policy, Route};
use crate::{
    addr::OriginalDst,
    config::Protocol,
    kernel::rules::Task,
    refusal::{Reason, Refusal},
};

/// A judgement, and the rule that it is by.
pub struct Judged {
    /// Its name; none if no rule is for the connection.
    pub rule: Option<Arc<str>>,
    /// What it says.
    pub outcome: Result<OutboundPermit, Refusal>,
}

/// Who made a connection, from the cgroup `path` and the network namespace with this cookie.
fn task<'a>(redirected: &Redirected, path: &'a str, netns: u64) -> Task<'a> {
    Task {
        cgroup: path,
        uid: redirected.uid,
        gid: Some(redirected.gid),
        executable: redirected.executable,
        netns: Some(netns),
    }
}

impl Policy {
    /// Whether it matters which executable made a connection.
    pub fn depends_on_executable(&self, redirected: &Redirected, path: &str, netns: u64) -> bool {
        let destination = OriginalDst::new(redirected.destination.into());
        self.tables.depends_on_executable(
            Protocol::Tcp,
            destination,
            &task(redirected, path, netns),
        )
    }

    /// Judges a connection that was redirected from the cgroup `path` and the network namespace with
    /// the cookie `netns` before the kernel knew that, or these rules.
    ///
    /// By this policy, whichever generation redirected it: none of them has decided yet.
    pub fn unclassified(&self, redirected: &Redirected, path: &str, netns: u64) -> Judged {
        let destination = OriginalDst::new(redirected.destination.into());
        let selection = self.tables.selection(&task(redirected, path, netns));
        let by = |rule: u32| Redirected {
            selection,
            rule,
            generation: self.generation,
            ..*redirected
        };
        match self.tables.decide(Protocol::Tcp, destination, selection) {
            // It asks the kernel for the destination, which it tells of its own connections alone.
            Verdict::Redirect(rule) if rule.action == ACTION_REDIRECT => Judged {
                rule: self.rule_name(&by(rule.index)),
                outcome: Err(if redirected.rule == RULE_UNCLASSIFIED {
                    Refusal::new(
                        Reason::CgroupNew,
                        format!("the cgroup {path} had just appeared"),
                    )
                } else {
                    Refusal::new(
                        Reason::PolicyChanged,
                        "a rule sends it to somebody else's proxy now; connect again",
                    )
                }),
            },
            Verdict::Redirect(rule)
                if rule.index == RULE_UNCLASSIFIED && !self.tables.knows_namespace(netns) =>
            {
                Judged {
                    rule: None,
                    outcome: Err(Refusal::new(
                        Reason::OtherNamespace,
                        format!("nobody has looked yet which network namespace {netns} is"),
                    )),
                }
            }
            Verdict::Redirect(rule) if rule.index == RULE_UNCLASSIFIED => Judged {
                rule: None,
                outcome: Err(Refusal::new(
                    Reason::ContainerUnknown,
                    format!("nobody tells the name of the container of the cgroup {path}"),
                )),
            },
            Verdict::Redirect(rule) => {
                let redirected = by(rule.index);
                Judged {
                    rule: self.rule_name(&redirected),
                    outcome: self.outbound(&redirected),
                }
            }
            Verdict::Deny(rule) => Judged {
                rule: self.rule_name(&by(rule.index)),
                outcome: Err(Refusal::new(
                    Reason::DeniedByRule,
                    "denied after it had been redirected, when its cgroup or the rules were new",
                )),
            },
            // It would have gone direct, had the kernel known: it goes on as it is.
            Verdict::Ignore(rule) => {
                let rule = self.rule_name(&by(rule.index));
                Judged {
                    outcome: Ok(OutboundPermit::new(
                        redirected,
                        rule.clone(),
                        Route::Passthrough,
                    )),
                    rule,
                }
            }
            Verdict::Unmatched | Verdict::Pass(_) => Judged {
                rule: None,
                outcome: Ok(OutboundPermit::new(redirected, None, Route::Passthrough)),
            },
        }
    }
}

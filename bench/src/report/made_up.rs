//! Reports of paths that are made up.

use std::time::Duration;

use super::{Machine, Report, SCHEMA};
use crate::{
    plan::{Plan, Profile},
    run::{self, made_up::MadeUp},
};

/// What `profile` would find on `ground`.
pub(crate) fn report(profile: Profile, ground: MadeUp) -> Report {
    of(Plan::new(profile, &[]).expect("it has cases"), ground)
}

/// The same with so many rounds.
pub(crate) fn with_rounds(profile: Profile, ground: MadeUp, rounds: u32) -> Report {
    let plan = Plan::new(profile, &[]).expect("it has cases");
    of(plan.with_rounds(Some(rounds)), ground)
}

/// What `plan` would find on `ground`.
pub(crate) fn of(plan: Plan, mut ground: MadeUp) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        machine: Machine::of_this_host(std::iter::empty()),
        profile: plan.profile,
        command: "sidetrack bench <made up>".to_owned(),
        took: Duration::from_secs(1),
        cases: run::measure(&plan, &mut ground, &mut |_| {}),
    }
    .with_figures()
}

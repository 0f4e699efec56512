//! What is not in the kernel as it was meant, each as a sentence with the fix.

use std::{os::fd::AsFd as _, time::Duration};

use serde::{Deserialize, Serialize};

use crate::kernel::{
    attach::{Attached, Lasting, Place},
    pins::Pins,
    sys::link::{self, LinkInfo},
};

/// Something that is not as it was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What was found.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// A start puts all of it right.
const RESTART: &str = "restart the daemon, which attaches it again, and look for who removed it";

impl Fault {
    /// A fault with its fix.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// One that a restart of the daemon mends.
    pub(in crate::kernel) fn mended_by_restart(what: impl Into<String>) -> Self {
        Self::new(what, RESTART)
    }
}

/// The first thing that is wrong with one program of ours: what follows from it says no more.
pub(super) fn of_link(one: &Attached, id: u32, pins: Option<&Pins>) -> Option<Fault> {
    let (name, at) = (one.program, one.place.name());
    let target = match one.place.open(one.attach_type) {
        Ok((_, target)) => target,
        Err(error) => {
            return Some(Fault::new(
                format!("{name} has lost its place: {error}"),
                "make the cgroup again and restart the daemon; better, choose an intercept.cgroup \
                 that lasts",
            ));
        }
    };
    let info = match link::link_info(one.link.as_fd()) {
        Ok(info) => info,
        Err(error) => {
            return Some(Fault::mended_by_restart(format!(
                "asking for the link of {name} at {at}: {error}"
            )));
        }
    };
    let what = if info.target.is_gone() {
        format!(
            "{name} is not at {at} any more: its link was detached, or the cgroup was made anew"
        )
    } else if info.target != target {
        format!(
            "{name} is attached, but not at {at}: the cgroup was made anew, or the link is of another"
        )
    } else if info.program != id {
        format!(
            "the link of {name} at {at} runs program {}, not ours, {id}",
            info.program
        )
    } else if !one
        .place
        .order(one.attach_type)
        .is_ok_and(|order| order.contains(&id))
    {
        return Some(not_effective(name, &one.place));
    } else {
        let pinned = pins.filter(|_| one.lasting == Lasting::Pinned);
        return pinned.and_then(|pins| of_pin(name, &info, pins));
    };
    Some(Fault::mended_by_restart(what))
}

/// Whether what is attached would also go on without the daemon.
pub(in crate::kernel) fn of_pin(name: &str, held: &LinkInfo, pins: &Pins) -> Option<Fault> {
    let found = pins
        .link(name)
        .map(|link| link.map(|link| link::link_info(link.as_fd())).transpose());
    let what = match found {
        Ok(Ok(Some(info))) if info.id == held.id => return None,
        Ok(Ok(Some(_))) => format!("the pin of {name} is of another link"),
        Ok(Ok(None)) => {
            format!("the pin of {name} is gone: its rules end with the daemon instead of blocking")
        }
        Ok(Err(error)) => format!("looking at the pin of {name}: {error}"),
        Err(error) => format!("looking at the pin of {name}: {error}"),
    };
    Some(Fault::mended_by_restart(what))
}

/// The kernel does not run a program where it should.
pub(super) fn not_effective(name: &str, place: &Place) -> Fault {
    Fault::mended_by_restart(format!(
        "the kernel does not run {name} at {}",
        place.name()
    ))
}

/// Whether the programs take the proxy for dead. `now` and `last` are CLOCK_MONOTONIC, in
/// nanoseconds, `allowed` is how old a heartbeat may be.
pub(in crate::kernel) fn of_heartbeat(now: u64, last: u64, allowed: Duration) -> Option<Fault> {
    let age = Duration::from_nanos(now.abs_diff(last));
    (age > allowed).then(|| {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Fault::new(
            format!(
                "the last heartbeat is {} old: the programs take the proxy for dead after {}",
                humantime::format_duration(Duration::from_millis(age)),
                humantime::format_duration(allowed)
            ),
            "the daemon or an accept loop of it was stopped or hangs, or the host is overloaded: \
             look at its log, its state and its processor time",
        )
    })
}

/// Whether the rules would also go on without the daemon.
pub(super) fn of_maps(pins: &Pins) -> Option<Fault> {
    let missing = pins.missing_maps();
    (!missing.is_empty()).then(|| {
        Fault::mended_by_restart(format!(
            "the pins of the maps {} are gone: the next daemon would begin with empty ones",
            missing.join(", ")
        ))
    })
}

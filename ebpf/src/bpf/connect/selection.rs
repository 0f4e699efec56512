//! Who connects: the class of the selections that the task is in.

use aya_ebpf::helpers::generated as helpers;
use sidetrack_abi::{
    executable::NO_EXECUTABLE,
    rules::{
        ANY_VALUE, CGROUP_DEPTH, SELECTION_ALL, SELECTION_NONE, STAGE_EXECUTABLE, STAGE_GROUP,
        STAGE_NETNS, STAGE_NETNS_NAMES, STAGE_USER, StageKey,
    },
    settings::{
        SETTING_CGROUPS, SETTING_EXECUTABLES, SETTING_GROUPS, SETTING_NETNS, SETTING_SELECT_ALL,
        SETTING_USERS, Settings,
    },
};

use crate::bpf::{ctx::SockAddr, maps::RuleSet};

/// What is known of the connecting task.
#[derive(Clone, Copy)]
pub(in crate::bpf) struct Selected {
    /// The class of the selections that it is in.
    pub(in crate::bpf) class: u32,
    /// Number of its executable, if some selection asks for it.
    pub(in crate::bpf) executable: u32,
}

/// The selections that the connecting task is in: the deepest cgroup that is known, then what some
/// selection asks for.
#[inline(always)]
pub(in crate::bpf) fn selection(
    addr: SockAddr,
    settings: &Settings,
    set: RuleSet,
    own: u64,
) -> Selected {
    let mut executable = NO_EXECUTABLE;
    if settings.flags & SETTING_SELECT_ALL != 0 {
        return Selected {
            class: SELECTION_ALL,
            executable,
        };
    }
    let mut class = SELECTION_NONE;
    if settings.flags & SETTING_CGROUPS != 0 {
        let mut level = CGROUP_DEPTH as i32;
        while level >= 0 {
            // SAFETY: a helper that takes any level; deeper than the task is, it gives 0.
            let cgroup = unsafe { helpers::bpf_get_current_ancestor_cgroup_id(level) };
            if cgroup != 0
                && let Some(found) = set.cgroup_class(cgroup)
            {
                class = if cgroup == own {
                    found.own
                } else {
                    found.below
                };
                break;
            }
            level -= 1;
        }
    }
    // SAFETY: a helper without arguments; the group id is the upper half, the user id the lower.
    let ids = unsafe { helpers::bpf_get_current_uid_gid() };
    if settings.flags & SETTING_USERS != 0 {
        class = staged(set, class, STAGE_USER, ids & 0xffff_ffff);
    }
    if settings.flags & SETTING_GROUPS != 0 {
        class = staged(set, class, STAGE_GROUP, ids >> 32);
    }
    if settings.flags & SETTING_EXECUTABLES != 0 {
        executable = crate::bpf::executable::number(set);
        class = staged(set, class, STAGE_EXECUTABLE, u64::from(executable));
    }
    if settings.flags & SETTING_NETNS != 0 {
        // Its socket's, which may be another than its own.
        let names = set.staged(&StageKey {
            class: 0,
            kind: STAGE_NETNS_NAMES,
            value: addr.netns_cookie(),
        });
        class = staged(set, class, STAGE_NETNS, names.map_or(ANY_VALUE, u64::from));
    }
    Selected { class, executable }
}

/// The class that a stage gives, by what the task has or by what all others have.
#[inline(always)]
fn staged(set: RuleSet, class: u32, kind: u32, value: u64) -> u32 {
    let of = |value| set.staged(&StageKey { class, kind, value });
    of(value)
        .or_else(|| of(ANY_VALUE))
        .unwrap_or(SELECTION_NONE)
}

//! What this process may do, and what is lost of what it may not.

use super::{Check, Verdict, check};

/// A capability, by its number in include/uapi/linux/capability.h.
struct Capability {
    name: &'static str,
    bit: u32,
    /// Where it is not effective.
    otherwise: Verdict,
    lost: &'static str,
}

const SYS_ADMIN: u32 = 21;

const ALL: [Capability; 6] = [
    Capability {
        name: "CAP_BPF",
        bit: 39,
        otherwise: Verdict::Missing,
        lost: "no program or map can be loaded",
    },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        otherwise: Verdict::Missing,
        lost: "no program can be attached, and no route made",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        otherwise: Verdict::Warning,
        lost: "programs cannot read kernel structures: the kernel's own connections (NFS, SMB) are \
               not told from applications', and selections by executable (`exe`) are refused",
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: SYS_ADMIN,
        otherwise: Verdict::Warning,
        lost: "other network namespaces, such as containers', are not entered, so that connections \
               there get their rule's fail mode; `status` and `explain` do not read what the \
               kernel tells by ids",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        otherwise: Verdict::Warning,
        lost: "the network namespaces and descriptors of other users' processes cannot be looked \
               at: containers' namespaces are not found by process, no proxy's listening socket is \
               taken for `redirect`, `sockets` does not name whose a socket is, and a reload that begins to \
               ask for executables (`exe`) resets what it cannot judge",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        otherwise: Verdict::Warning,
        lost: "the descriptors of processes that are not root's cannot be listed: `redirect` finds \
               no such proxy, and `sockets` does not name whose a socket is",
    },
];

pub(super) fn checks(effective: Option<u64>, in_first_userns: bool) -> Vec<Check> {
    let effective = effective.unwrap_or(0);
    let has = |bit: u32| effective & (1 << bit) != 0;
    let each = ALL.iter().map(|one| {
        // The kernel takes CAP_SYS_ADMIN for either of these (capabilities(7)).
        let stands_in = matches!(one.name, "CAP_BPF" | "CAP_PERFMON") && has(SYS_ADMIN);
        let is_effective = has(one.bit) || stands_in;
        if is_effective && !in_first_userns && one.otherwise == Verdict::Missing {
            return check(
                one.name,
                Verdict::Missing,
                "effective only in this user namespace, which the kernel does not take for BPF",
                "run outside the rootless container or user namespace",
            );
        }
        let (verdict, seen) = match is_effective {
            true => (Verdict::Ok, "effective".to_owned()),
            false => (
                one.otherwise,
                format!("not effective; without it {}", one.lost),
            ),
        };
        check(
            one.name,
            verdict,
            seen,
            "run as root, or give the unit AmbientCapabilities= and CapabilityBoundingSet=",
        )
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_that_is_not_effective_says_what_is_lost_and_the_fix() {
        let none = checks(Some(0), true);
        let verdict = |name: &str, checks: &[Check]| {
            let found = checks.iter().find(|check| check.name == name);
            found.map(|check| check.verdict).unwrap()
        };
        assert!(
            none.iter()
                .all(|check| check.seen.contains("without it") && check.fix.is_some())
        );
        for (name, bit) in [("CAP_SYS_PTRACE", 19), ("CAP_DAC_READ_SEARCH", 2)] {
            assert_eq!(verdict(name, &none), Verdict::Warning);
            assert_eq!(verdict(name, &checks(Some(1 << bit), true)), Verdict::Ok);
        }
        let all = checks(Some(u64::MAX), true);
        assert!(all.iter().all(|check| check.verdict == Verdict::Ok));
    }
}

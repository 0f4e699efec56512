//! What the kernel says when it is asked: distributions move features between versions and leave
//! them out of builds, so that its version alone tells neither.
//!
//! Each probe is a question that changes nothing: a command on a descriptor that is of nothing,
//! a query, a program of two instructions. Together they take less than a millisecond.

use std::{fs::File, io, os::fd::AsFd as _, path::Path};

use nix::errno::Errno;

use super::{Check, Verdict, check};
use crate::kernel::{
    attach::{CGROUP_PROGRAMS, GETSOCKOPT, SK_LOOKUP, SOCK_OPS},
    load, sockdiag,
    sys::{self, BpfCommand},
};

/// What a question came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The kernel has it.
    Has,
    /// It does not.
    Lacks,
    /// The question was refused, which says nothing about the kernel.
    Refused(Errno),
}

impl Answer {
    /// Of a kernel that says `unknown` to what it does not know.
    pub(super) fn of(errno: Errno, unknown: Errno) -> Self {
        match errno {
            errno if errno == unknown => Self::Lacks,
            Errno::EPERM | Errno::EACCES => Self::Refused(errno),
            _ => Self::Has,
        }
    }

    fn of_query(answer: &io::Result<()>) -> Self {
        let Err(error) = answer else {
            return Self::Has;
        };
        match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
            Errno::EINVAL => Self::Lacks,
            errno => Self::Refused(errno),
        }
    }
}

/// Asks everything. `cgroup2` is where that hierarchy is mounted; `capable` is whether this
/// process has the capabilities, so that a refusal must have another cause.
pub(super) fn probe(cgroup2: Option<&Path>, capable: bool) -> Vec<Check> {
    let errno = sys::answer_without_object(BpfCommand::GetInfo);
    let bpf = Answer::of(errno, Errno::ENOSYS);
    let mut checks = Vec::new();
    // Without bpf(2), all the rest of it would be "missing" for the same reason.
    if bpf != Answer::Lacks {
        let errno = sys::answer_without_object(BpfCommand::CreateLink);
        checks.push(links(&Answer::of(errno, Errno::EINVAL), capable));
        if let Some(mount) = cgroup2 {
            checks.push(cgroup_programs(&cgroup_hooks(mount), capable));
        }
        let answer = query(Path::new("/proc/self/ns/net"), SK_LOOKUP, false);
        checks.push(sk_lookup(&answer, capable));
        // What cannot be asked without capabilities is told by their own checks.
        if let (true, Ok(has)) = (capable, load::has_set_retval()) {
            checks.push(deny_errno(has));
            checks.push(kernel_clients(load::knows_kernel_sockets().err()));
            checks.push(executables(load::knows_executables().err()));
        }
    }
    checks.insert(0, self::bpf(&bpf, capable));
    checks.extend([
        netns_cookie(sys::netns_cookie()),
        sock_diag(sockdiag::probe()),
    ]);
    checks
}

fn judge(name: &'static str, answer: &Answer, capable: bool, lacks: &str, fix: &str) -> Check {
    match answer {
        Answer::Has => check(name, Verdict::Ok, "the kernel has it", ""),
        Answer::Lacks => check(name, Verdict::Missing, lacks, fix),
        Answer::Refused(errno) if capable => check(
            name,
            Verdict::Missing,
            format!("refused in spite of the capabilities: {errno}"),
            "let the seccomp profile, the security module or the kernel's lockdown allow bpf",
        ),
        Answer::Refused(errno) => check(
            name,
            Verdict::Warning,
            format!("not known, the kernel does not tell this process: {errno}"),
            "ask again with the capabilities above",
        ),
    }
}

pub(super) fn bpf(answer: &Answer, capable: bool) -> Check {
    judge(
        "bpf(2)",
        answer,
        capable,
        "the kernel has no bpf system call",
        "run a kernel built with CONFIG_BPF_SYSCALL=y; in a container, let its seccomp profile \
         allow bpf",
    )
}

pub(super) fn links(answer: &Answer, capable: bool) -> Check {
    judge(
        "BPF links",
        answer,
        capable,
        "the kernel has no BPF links: programs would outlive their daemon",
        "run Linux 5.15 or later; BPF links for cgroups are there since 5.7",
    )
}

/// Each hook of a cgroup, with what the kernel answers when it is asked for the hook's programs.
fn cgroup_hooks(mount: &Path) -> Vec<(&'static str, io::Result<()>)> {
    CGROUP_PROGRAMS
        .iter()
        .map(|(name, attach_type)| (name.trim_start_matches("st_"), *attach_type))
        .chain([("sockops", SOCK_OPS), ("getsockopt", GETSOCKOPT)])
        .map(|(name, attach_type)| (name, query(mount, attach_type, true)))
        .collect()
}

fn query(target: &Path, attach_type: u32, cgroup: bool) -> io::Result<()> {
    sys::query_programs(File::open(target)?.as_fd(), attach_type, cgroup).map(drop)
}

pub(super) fn cgroup_programs(hooks: &[(&'static str, io::Result<()>)], capable: bool) -> Check {
    let answers = || {
        hooks
            .iter()
            .map(|(name, answer)| (*name, Answer::of_query(answer)))
    };
    let lacking: Vec<&str> = answers()
        .filter(|(_, answer)| *answer == Answer::Lacks)
        .map(|(name, _)| name)
        .collect();
    let worst = if lacking.is_empty() {
        let refused = answers().find(|(_, answer)| *answer != Answer::Has);
        refused.map_or(Answer::Has, |(_, answer)| answer)
    } else {
        Answer::Lacks
    };
    judge(
        "cgroup BPF",
        &worst,
        capable,
        &format!("the kernel has no {}", lacking.join(", ")),
        "run Linux 5.15 or later, built with CONFIG_CGROUP_BPF=y",
    )
}

pub(super) fn sk_lookup(answer: &io::Result<()>, capable: bool) -> Check {
    judge(
        "sk_lookup",
        &Answer::of_query(answer),
        capable,
        "the kernel has no sk_lookup: nothing from outside can be steered",
        "run Linux 5.15 or later; sk_lookup is there since 5.9",
    )
}

pub(super) fn deny_errno(has_set_retval: bool) -> Check {
    let (verdict, seen) = match has_set_retval {
        true => (Verdict::Ok, "connect() fails as the rule says"),
        false => (
            Verdict::Warning,
            "the kernel has no bpf_set_retval; connect() fails with EPERM whatever the rule says",
        ),
    };
    check("deny errno", verdict, seen, "run Linux 5.18 or later")
}

pub(super) fn kernel_clients(unknown: Option<String>) -> Check {
    let (verdict, seen) = match unknown {
        None => (
            Verdict::Ok,
            "the kernel's own connections are told from those of applications".into(),
        ),
        Some(why) => (
            Verdict::Warning,
            format!("NFS, SMB and Ceph are not told from applications, {why}"),
        ),
    };
    check(
        "kernel clients",
        verdict,
        seen,
        "run a kernel with CONFIG_DEBUG_INFO_BTF=y and give CAP_PERFMON, or exclude the servers by \
         intercept.exclude_to",
    )
}

pub(super) fn executables(unknown: Option<String>) -> Check {
    let (verdict, seen) = match unknown {
        None => (
            Verdict::Ok,
            "selections can ask for executables (exe)".into(),
        ),
        Some(why) => (
            Verdict::Warning,
            format!("a configuration whose selections ask for exe is refused, {why}"),
        ),
    };
    check(
        "executables",
        verdict,
        seen,
        "run a kernel with CONFIG_DEBUG_INFO_BTF=y, not locked down to confidentiality, and give \
         CAP_PERFMON, or select by cgroup or user",
    )
}

pub(super) fn netns_cookie(answer: io::Result<u64>) -> Check {
    let (verdict, seen) = match answer {
        Ok(cookie) => (Verdict::Ok, format!("{cookie} in this network namespace")),
        Err(error) => (
            Verdict::Missing,
            format!("the kernel does not tell it (SO_NETNS_COOKIE: {error})"),
        ),
    };
    check(
        "netns cookie",
        verdict,
        seen,
        "run Linux 5.15 or later; SO_NETNS_COOKIE is there since 5.14",
    )
}

pub(super) fn sock_diag(answer: io::Result<()>) -> Check {
    let (verdict, seen) = match answer {
        Ok(()) => (Verdict::Ok, "the kernel lists its TCP sockets".to_owned()),
        Err(error) => (
            Verdict::Missing,
            format!("the kernel does not list its TCP sockets (INET_DIAG: {error})"),
        ),
    };
    check(
        "sock_diag",
        verdict,
        seen,
        "modprobe tcp_diag, or run a kernel built with CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG",
    )
}

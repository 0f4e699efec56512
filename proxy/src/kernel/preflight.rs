//! What this kernel and host have and lack, before anything is attached.

use std::{fs, io, path::PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;
use sidetrack_abi::names::NAMESPACE_ENTRIES;

use crate::{
    cli::{Exit, Failure},
    relay::PIPE_FILES,
};

mod capabilities;
mod features;
mod host;

pub use host::{KernelVersion, bpffs_mount, cgroup2_mount, namespace_mounts};

/// Below this, helpers that the programs call do not exist (DESIGN decision 11).
const FLOOR: KernelVersion = KernelVersion(5, 15);
/// From here on, nothing needs a work-around.
const RECOMMENDED: KernelVersion = KernelVersion(6, 1);

/// Two sockets for each connection, and as many spare for tunnels that carry none and for strangers.
const FILES_PER_CONNECTION: u64 = 4;
/// The file of another network namespace, twice if a selection names it, two listeners, and what tells of
/// its addresses.
const FILES_PER_NAMESPACE: u64 = 5;
/// Listeners, programs, maps, logs, idle tunnels of a small set-up, pipes; and as many namespaces as are
/// served.
const FILES_ALWAYS: u64 = 256 + PIPE_FILES + FILES_PER_NAMESPACE * NAMESPACE_ENTRIES as u64;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, within the limit that is named.
    Warning,
    /// Does not work without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub seen: String,
    /// What to do; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Preflight {
    /// In the order in which a person would fix them.
    pub checks: Vec<Check>,
}

impl Preflight {
    /// Looks at this host.
    ///
    /// `object` is the embedded BPF object, empty if the binary was built without one;
    /// `connections` is `limits.connections`.
    pub fn probe(object: &[u8], connections: usize) -> Self {
        let mounts = read("/proc/self/mountinfo");
        let version = KernelVersion::running();
        let status = read("/proc/self/status");
        let in_first_userns = host::is_first_user_namespace(&read("/proc/self/uid_map"));
        let cgroup2_at = cgroup2_mount();
        let capabilities =
            capabilities::checks(host::effective_capabilities(&status), in_first_userns);
        let capable = !capabilities
            .iter()
            .any(|check| check.verdict == Verdict::Missing);
        let features = features::probe(cgroup2_at.as_deref().ok(), capable);
        let mut checks = vec![kernel(version), embedded(object), cgroup2(cgroup2_at)];
        checks.extend(capabilities);
        checks.extend(features);
        checks.extend([
            bpffs(&mounts),
            btf(),
            open_files(connections),
            unprivileged_bpf(&read("/proc/sys/kernel/unprivileged_bpf_disabled")),
            ipv6(),
            port_range(&read("/proc/sys/net/ipv4/ip_local_port_range")),
            v1_controllers(&mounts, version),
        ]);
        Self { checks }
    }

    /// Whether something is missing that redirection needs.
    pub fn is_missing_something(&self) -> bool {
        self.missing().next().is_some()
    }

    /// Refuses to go on without what redirection needs.
    ///
    /// # Errors
    /// [`Exit::Missing`], with everything that is missing and each fix.
    pub fn require(&self) -> Result<(), Failure> {
        self.require_all(self.missing().collect())
    }

    /// Refuses to go on without what redirection needs whose programs end with their process.
    ///
    /// # Errors
    /// As [`Preflight::require`].
    pub fn require_unpinned(&self) -> Result<(), Failure> {
        self.require_all(self.missing().filter(|check| check.name != BPFFS).collect())
    }

    fn require_all(&self, missing: Vec<&Check>) -> Result<(), Failure> {
        if missing.is_empty() {
            return Ok(());
        }
        let mut what = "this host lacks what interception needs".to_owned();
        for check in missing {
            what += &format!("\n  {}: {}", check.name, check.seen);
            if let Some(fix) = &check.fix {
                what += &format!("\n    fix: {fix}");
            }
        }
        Err(Failure::new(Exit::Missing, what).fix("`sidetrack doctor` shows all checks"))
    }

    fn missing(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| check.verdict == Verdict::Missing)
    }
}

fn check(name: &'static str, verdict: Verdict, seen: impl Into<String>, fix: &str) -> Check {
    let fix = (verdict != Verdict::Ok && !fix.is_empty()).then(|| fix.to_owned());
    Check {
        name,
        verdict,
        seen: seen.into(),
        fix,
    }
}

/// A file of /proc or /sys; what cannot be read is judged as if it were empty.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn kernel(version: Option<KernelVersion>) -> Check {
    let (verdict, seen) = match version {
        None => (Verdict::Warning, "the version cannot be read".into()),
        Some(version) if version < FLOOR => (Verdict::Missing, format!("Linux {version}")),
        Some(version) if version < RECOMMENDED => (
            Verdict::Warning,
            format!("Linux {version}, older than recommended"),
        ),
        Some(version) => (Verdict::Ok, format!("Linux {version}")),
    };
    check(
        "kernel",
        verdict,
        seen,
        "run Linux 5.15 or later; 6.1 or later is recommended",
    )
}

fn embedded(object: &[u8]) -> Check {
    if object.is_empty() {
        return check(
            "BPF object",
            Verdict::Missing,
            "this binary was built without it",
            "build with `cargo xtask build`",
        );
    }
    let seen = format!("embedded, {} bytes", object.len());
    check("BPF object", Verdict::Ok, seen, "")
}

fn cgroup2(mount: Result<PathBuf, NoCgroup2>) -> Check {
    match mount {
        Ok(path) => check(
            "cgroup2",
            Verdict::Ok,
            format!("mounted at {}", path.display()),
            "",
        ),
        Err(error) => check(
            "cgroup2",
            Verdict::Missing,
            error.to_string(),
            "mount it: mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2",
        ),
    }
}

const BPFFS: &str = "bpffs";

fn bpffs(mounts: &str) -> Check {
    let (verdict, seen) = match host::find_bpffs(mounts) {
        Some(at) => (Verdict::Ok, format!("mounted at {}", at.display())),
        None => (
            Verdict::Missing,
            "no bpf file system is mounted, where rules stay in force when the daemon is gone"
                .into(),
        ),
    };
    check(BPFFS, verdict, seen, "mount -t bpf bpf /sys/fs/bpf")
}

fn btf() -> Check {
    let (verdict, seen) = match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(_) => (Verdict::Ok, "/sys/kernel/btf/vmlinux".to_owned()),
        Err(error) => (
            Verdict::Warning,
            format!("/sys/kernel/btf/vmlinux: {error}"),
        ),
    };
    check(
        "BTF",
        verdict,
        seen,
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
    )
}

fn open_files(connections: usize) -> Check {
    let wanted = FILES_ALWAYS + FILES_PER_CONNECTION * connections as u64;
    let fix = format!("set LimitNOFILE={wanted} in the unit, or lower limits.connections");
    let (verdict, seen) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= wanted => (Verdict::Ok, format!("up to {hard}")),
        Ok((_, hard)) => (
            Verdict::Warning,
            format!(
                "up to {hard}; {connections} connections, and {NAMESPACE_ENTRIES} other network namespaces, may need \
                 {wanted}"
            ),
        ),
        Err(error) => (
            Verdict::Warning,
            format!("the limit cannot be read: {error}"),
        ),
    };
    check("open files", verdict, seen, &fix)
}

fn unprivileged_bpf(setting: &str) -> Check {
    let (verdict, seen) = match setting.trim() {
        "" => (Verdict::Ok, "not known to this kernel".into()),
        "0" => (Verdict::Warning, "every user may load BPF programs".into()),
        other => (Verdict::Ok, format!("unprivileged BPF is off ({other})")),
    };
    check(
        "unprivileged BPF",
        verdict,
        seen,
        "sysctl kernel.unprivileged_bpf_disabled=2",
    )
}

fn ipv6() -> Check {
    let seen = match read("/proc/sys/net/ipv6/conf/all/disable_ipv6").trim() {
        "0" => return check("IPv6", Verdict::Ok, "enabled", ""),
        "" => "the kernel has no IPv6; only IPv4 is intercepted, and nothing else can leave",
        _ => "disabled by sysctl; turned on later, it is intercepted after a restart only",
    };
    check(
        "IPv6",
        Verdict::Warning,
        seen,
        "restart sidetrack after you enable IPv6",
    )
}

fn port_range(setting: &str) -> Check {
    /// Half of what Linux gives by default.
    const FEW: u32 = 14_000;
    let mut ends = setting.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(low)), Some(Ok(high))) = (ends.next(), ends.next()) else {
        return check(
            "local ports",
            Verdict::Warning,
            "the range cannot be read",
            "",
        );
    };
    let count = (high + 1).saturating_sub(low);
    let verdict = if count < FEW {
        Verdict::Warning
    } else {
        Verdict::Ok
    };
    let seen = format!("{low} to {high}: {count} connections for each listener");
    check(
        "local ports",
        verdict,
        seen,
        "raise intercept.listeners, or widen net.ipv4.ip_local_port_range",
    )
}

fn v1_controllers(mounts: &str, version: Option<KernelVersion>) -> Check {
    let mounted = host::mounts(mounts).any(|mount| {
        mount.kind == "cgroup"
            && mount
                .options
                .split(',')
                .any(|option| matches!(option, "net_cls" | "net_prio"))
    });
    let old = version.is_some_and(|version| version < FLOOR);
    let (verdict, seen) = match (mounted, old) {
        (false, _) => (Verdict::Ok, "not mounted"),
        (true, false) => (Verdict::Ok, "mounted; harmless since 5.15"),
        (true, true) => (Verdict::Warning, "mounted: sockets lose their cgroup2"),
    };
    check(
        "net_cls, net_prio",
        verdict,
        seen,
        "unmount them and reboot, or run Linux 5.15",
    )
}

/// Why there is no cgroup2 to attach to.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroup2 {
    /// The kernel's list of mounts cannot be read.
    #[error("reading /proc/self/mountinfo failed; is /proc mounted?")]
    Mountinfo(#[source] io::Error),
    /// It lists none.
    #[error("no cgroup2 file system is mounted (/proc/self/mountinfo lists none)")]
    NotMounted,
}

#[cfg(test)]
mod tests;

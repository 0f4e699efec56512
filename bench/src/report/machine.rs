//! The host on which was measured. No names and no addresses: reports are published.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What a reader must know of the host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// When the run began, UTC.
    pub began: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Of the processor.
    pub architecture: String,
    /// The processor's model.
    pub cpu: String,
    /// How many processors this run may use.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// The hypervisor or container, or none.
    pub virtualisation: String,
    /// Who sets the processors' frequency.
    pub governor: String,
    /// What the kernel reads the time from, which each latency costs twice.
    pub clock: String,
    /// The hierarchy of control groups.
    pub cgroups: String,
    /// What the kernel does about each flaw of the processor.
    pub mitigations: BTreeMap<String, String>,
    /// Load averages over 1, 5 and 15 minutes, before the run.
    pub load_before: String,
    /// Versions.
    pub programs: BTreeMap<String, String>,
}

/// Programs of others, and how each tells its version.
const PROGRAMS: [(&str, &str); 5] = [
    ("haproxy", "-v"),
    ("iptables", "--version"),
    ("nginx", "-v"),
    ("openssl", "version"),
    ("stunnel", "-version"),
];

impl Machine {
    /// This host, and the version of `sidetrack` and of all builds beside it.
    pub fn of_this_host<'a>(builds: impl Iterator<Item = &'a Path>) -> Self {
        let mut programs = BTreeMap::new();
        for build in builds {
            let version = version(build, "--version").unwrap_or_else(|| "unknown".to_owned());
            programs.insert(build.display().to_string(), version);
        }
        for (name, asks) in PROGRAMS {
            if let Some(version) = version(Path::new(name), asks) {
                programs.insert(name.to_owned(), version);
            }
        }
        Self {
            began: OffsetDateTime::now_utc()
                .format(&Rfc3339)
                .unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            memory: memory(),
            virtualisation: virtualisation(),
            governor: known(
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "not told",
            ),
            clock: known(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                "not told",
            ),
            cgroups: cgroups(),
            mitigations: mitigations(),
            load_before: read("/proc/loadavg")
                .split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            programs,
        }
    }

    /// What differs from `now`, in words, if it can move ratios.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let pairs = [
            ("kernel", self.kernel.clone(), now.kernel.clone()),
            ("processor", self.cpu.clone(), now.cpu.clone()),
            (
                "number of processors",
                self.cpus.to_string(),
                now.cpus.to_string(),
            ),
            (
                "virtualisation",
                self.virtualisation.clone(),
                now.virtualisation.clone(),
            ),
            ("governor", self.governor.clone(), now.governor.clone()),
            ("clock", self.clock.clone(), now.clock.clone()),
            ("control groups", self.cgroups.clone(), now.cgroups.clone()),
        ];
        let flaws = self.mitigations.iter().filter_map(|(flaw, then)| {
            let now = now.mitigations.get(flaw)?;
            Some((flaw.as_str(), then.clone(), now.clone()))
        });
        // Another version of ours is what a comparison is for.
        let programs = self.programs.iter().filter_map(|(program, then)| {
            let now = now.programs.get(program)?;
            let others = PROGRAMS.iter().any(|(name, _)| name == program);
            others.then(|| (program.as_str(), then.clone(), now.clone()))
        });
        let differ = pairs
            .into_iter()
            .chain(flaws)
            .chain(programs)
            .filter(|(_, then, now)| then != now);
        differ
            .map(|(what, then, now)| format!("{what}: {then} then, {now} now"))
            .collect()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn known(path: &str, otherwise: &str) -> String {
    match read(path) {
        empty if empty.is_empty() => otherwise.to_owned(),
        text => text,
    }
}

/// The value of the first `key: value` of a file of /proc.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().to_owned())
}

fn memory() -> u64 {
    let kib = field("/proc/meminfo", "MemTotal");
    let kib = kib.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

fn virtualisation() -> String {
    let guest = field("/proc/cpuinfo", "flags")
        .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let told = [
        read("/sys/class/dmi/id/sys_vendor"),
        read("/sys/class/dmi/id/product_name"),
        read("/sys/hypervisor/type"),
    ];
    let told: Vec<String> = told.into_iter().filter(|text| !text.is_empty()).collect();
    match (guest, told.is_empty()) {
        (true, true) => "virtual machine".to_owned(),
        (true, false) => format!("virtual machine ({})", told.join(", ")),
        (false, _) => "none".to_owned(),
    }
}

fn cgroups() -> String {
    let mounts = read("/proc/self/mountinfo");
    let is = |kind: &str| {
        mounts
            .lines()
            .any(|line| line.contains(&format!(" - {kind} ")))
    };
    match (is("cgroup2"), is("cgroup")) {
        (true, true) => "hybrid (version 2 beside version 1)",
        (true, false) => "version 2",
        (false, true) => "version 1",
        (false, false) => "not mounted",
    }
    .to_owned()
}

fn mitigations() -> BTreeMap<String, String> {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let entries = folder.into_iter().flatten().flatten();
    let pair = |entry: fs::DirEntry| {
        let state = fs::read_to_string(entry.path()).ok()?;
        Some((
            entry.file_name().into_string().ok()?,
            state.trim().to_owned(),
        ))
    };
    let mut all: BTreeMap<String, String> = entries.filter_map(pair).collect();
    all.retain(|_, state| state != "Not affected");
    all
}

/// The first line that a program says of itself, on whichever stream.
fn version(program: &Path, asks: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(asks)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    // stunnel says first how it began to run.
    let told = lines.find(|line| {
        line.contains(|c: char| c.is_ascii_digit()) && !line.starts_with("Initializing")
    })?;
    Some(told.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_kernel_a_processor_and_memory() {
        let machine = Machine::of_this_host([Path::new("/bin/true")].into_iter());
        assert!(
            machine.kernel.starts_with(|c: char| c.is_ascii_digit()),
            "{machine:?}"
        );
        assert!(machine.cpus >= 1 && machine.memory > 1 << 20, "{machine:?}");
        assert!(machine.began.ends_with('Z'), "{machine:?}");
        assert!(machine.programs.contains_key("/bin/true"), "{machine:?}");
    }

    #[test]
    fn another_kernel_is_a_difference_and_another_build_of_ours_is_not() {
        let then = Machine::of_this_host(std::iter::empty());
        let mut now = then.clone();
        now.kernel = "0.0.1".to_owned();
        now.programs
            .insert("sidetrack".to_owned(), "sidetrack 99".to_owned());
        assert_eq!(then.differences(&then), Vec::<String>::new());
        assert_eq!(
            then.differences(&now),
            [format!("kernel: {} then, 0.0.1 now", then.kernel)]
        );
    }
}

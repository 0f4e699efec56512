//! `[daemon]`, `[limits]`, `[log]` and `[intercept]`.

use std::{path::Path, time::Duration};

use super::{cgroups, netns, values};
use crate::config::{
    Daemon, Existing, Instance, Intercept, Limits, Log, RecordFormat, default_runtime_dir,
    errors::Problems, file,
};

const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(500);
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(60);

const FORMATS: [(&str, RecordFormat); 3] = [
    ("json", RecordFormat::Json),
    ("text", RecordFormat::Text),
    ("off", RecordFormat::Off),
];

const EXISTING: [(&str, Existing); 2] = [("leave", Existing::Leave), ("close", Existing::Close)];

pub(super) fn daemon(problems: &mut Problems, file: &file::Daemon) -> Daemon {
    let instance = file.instance.as_deref().unwrap_or("default");
    let instance = instance
        .parse()
        .unwrap_or_else(|error: super::BadInstance| {
            problems.bad(
                "daemon.instance",
                instance,
                error.to_string(),
                "choose a short name, like \"default\" or \"blue\"",
            );
            Instance("default".into())
        });
    let runtime_dir = file.runtime_dir.clone().unwrap_or_else(default_runtime_dir);
    if !runtime_dir.is_absolute() {
        problems.bad(
            "daemon.runtime_dir",
            &runtime_dir,
            "status and connections look for the control socket there from any folder",
            "write an absolute path",
        );
    }
    let heartbeat = values::duration(
        problems,
        "daemon.heartbeat",
        file.heartbeat.as_deref(),
        Duration::from_secs(3),
    );
    if !(SHORTEST_HEARTBEAT..=LONGEST_HEARTBEAT).contains(&heartbeat) {
        problems.bad(
            "daemon.heartbeat",
            humantime::format_duration(heartbeat).to_string(),
            "a busy host would be taken for a dead one if it were shorter, and applications would \
             wait on a dead one if it were longer",
            "write \"500ms\" to \"1min\"",
        );
    }
    Daemon {
        heartbeat,
        instance,
        drain: values::duration(
            problems,
            "daemon.drain",
            file.drain.as_deref(),
            Duration::from_secs(30),
        ),
        runtime_dir,
        workers: values::count(problems, "daemon.workers", file.workers),
    }
}

pub(super) fn limits(problems: &mut Problems, file: &file::Limits) -> Limits {
    let mut number = |name: &str, value, range, default| {
        values::number(problems, &format!("limits.{name}"), value, range, default) as usize
    };
    let connections = number("connections", file.connections, 1..=1_000_000, 16_384);
    let handshakes = number("handshakes", file.handshakes, 1..=100_000, 512);
    let per_peer = number(
        "idle_tunnels_per_peer",
        file.idle_tunnels_per_peer,
        0..=100_000,
        64,
    );
    let idle_tunnels = number("idle_tunnels", file.idle_tunnels, 0..=1_000_000, 1024);

    let mut time = |name: &str, text: &Option<String>, default| {
        let key = format!("limits.{name}");
        let default = Duration::from_secs(default);
        values::duration(problems, &key, text.as_deref(), default)
    };
    let connect_timeout = time("connect_timeout", &file.connect_timeout, 5);
    let handshake_timeout = time("handshake_timeout", &file.handshake_timeout, 10);
    let keepalive = time("keepalive", &file.keepalive, 60);
    let user_timeout = time("user_timeout", &file.user_timeout, 900);
    let tunnel_idle = time("tunnel_idle", &file.tunnel_idle, 60);
    let tunnel_age = time("tunnel_age", &file.tunnel_age, 3600);
    if keepalive.subsec_nanos() != 0 || keepalive.as_secs() > 32_767 {
        problems.bad(
            "limits.keepalive",
            humantime::format_duration(keepalive).to_string(),
            "the kernel counts keepalive in whole seconds, up to 32767",
            "write whole seconds, like \"60s\"",
        );
    }
    Limits {
        connections,
        handshakes,
        connect_timeout,
        handshake_timeout,
        idle: values::duration_or_off(problems, "limits.idle", file.idle.as_deref(), None),
        keepalive,
        user_timeout,
        idle_tunnels_per_peer: per_peer,
        idle_tunnels,
        tunnel_idle,
        tunnel_age,
    }
}

pub(super) fn log(problems: &mut Problems, config: &Path, file: &file::Log) -> Log {
    let mut format = |key, text: &Option<String>, default| {
        text.as_deref()
            .and_then(|text| values::word(problems, key, text, &FORMATS))
            .unwrap_or(default)
    };
    let access = format("log.access", &file.access, RecordFormat::Json);
    let own = format("log.format", &file.format, RecordFormat::Text);
    let filter = file.filter.clone().unwrap_or_else(|| "info".into());
    if let Err(error) = filter.parse::<tracing_subscriber::EnvFilter>() {
        problems.bad(
            "log.filter",
            &filter,
            format!("this is not a filter: {error}"),
            "write a level, like \"info\", or \"info,sidetrack::tls=debug\"",
        );
    }
    let access_file = file.access_file.as_ref().and_then(|path| {
        let what = "the file, or leave the key out for standard output";
        values::file(problems, "log.access_file", config, Some(path), what)
    });
    if access == RecordFormat::Off && access_file.is_some() {
        problems.warn(
            "log.access_file",
            "nothing is written, since log.access is \"off\"",
        );
    }
    Log {
        access,
        access_file,
        format: own,
        filter,
    }
}

pub(super) fn intercept(problems: &mut Problems, file: &file::Intercept) -> Intercept {
    let netns = netns::sources(problems, file.netns.as_deref());
    let cgroup = match &file.cgroup {
        None => Some("/".into()),
        Some(path) => cgroups::path(problems, "intercept.cgroup", path),
    };
    let existing = file.existing.as_deref();
    let existing =
        existing.and_then(|text| values::word(problems, "intercept.existing", text, &EXISTING));
    let exclude_to = file.exclude_to.as_deref().unwrap_or_default();
    Intercept {
        cgroup: cgroup.unwrap_or_else(|| "/".into()),
        netns,
        exclude_to: values::prefixes(problems, "intercept.exclude_to", exclude_to),
        listeners: values::number(problems, "intercept.listeners", file.listeners, 1..=64, 4),
        existing: existing.unwrap_or(Existing::Leave),
    }
}

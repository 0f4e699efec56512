//! What rules cost: connect() with ten of them and with ten thousand, how long a reload takes, and what
//! it costs to tell executables apart.
//!
//!     cargo xtask build
//!     SIDETRACK_BIN=$PWD/target/release/sidetrack cargo bench -p sidetrack-tests --bench rules
//!
//! It needs root. The figures of one machine are in ARCHITECTURE.md.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark says what broke by panicking"
)]

use std::{fmt::Write as _, time::Instant};

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use harness::{World, daemon::Setup, load};
use nix::sys::signal::Signal;

/// Rules beside the two that are measured, each for two ports of an address of its own, for one of
/// four selections or for everybody.
fn others(count: usize, cgroup: &str) -> String {
    let mut toml = String::new();
    for select in 0..4 {
        writeln!(
            toml,
            "[select.s{select}]\ninclude = [{{ cgroup = \"{cgroup}/s{select}\" }}]"
        )
        .unwrap();
    }
    for rule in 0..count {
        let [_, _, high, low] = (rule as u32).to_be_bytes();
        let select = match rule % 5 {
            4 => String::new(),
            one => format!("select = \"s{one}\"\n"),
        };
        writeln!(
            toml,
            "[[outbound]]\nname = \"other-{rule}\"\n{select}to = [\"100.64.{high}.{low}\"]\n\
             ports = [\"443\", \"8000-8999\"]\naction = \"passthrough\""
        )
        .unwrap();
    }
    toml
}

/// A thousand executables that a selection names, none of which is the one that connects, but for
/// `one`.
fn executables(name: impl Fn(usize) -> String, one: Option<&str>) -> String {
    let paths = (0..1_000).map(name).chain(one.map(str::to_owned));
    let selectors: Vec<String> = paths.map(|path| format!("{{ exe = {path:?} }}")).collect();
    format!("[select.exe]\ninclude = [{}]\n", selectors.join(", "))
}

/// connect() to a destination that a rule ignores, by what some selection asks of executables.
fn of_executables() {
    println!("| executables | connect() | of that st_connect4 |");
    println!("|---|---|---|");
    let _counted = enable_stats(Stats::RunTime).expect("count the time of programs");
    let own = std::fs::canonicalize(harness::peer::binary()).unwrap();
    let own = own.to_str().unwrap();
    let elsewhere = |number| format!("/opt/{number}/peer");
    let cases = [
        ("none is asked for", String::new()),
        (
            "others, of other names",
            executables(|number| format!("/opt/bin/app-{number}"), None),
        ),
        (
            "others, of the same name elsewhere",
            executables(elsewhere, None),
        ),
        ("its own is named", executables(elsewhere, Some(own))),
    ];
    for (what, select) in cases {
        let world = World::pair();
        let (a, b) = (&world.a, &world.b);
        let rule = |name: &str, select: &str| {
            format!(
                "[[outbound]]\nname = \"{name}\"\n{select}to = [\"{}\"]\nports = [\"7001\"]\naction = \"ignore\"\n",
                b.v4()
            )
        };
        let by_executable = match select.is_empty() {
            true => String::new(),
            false => rule("selected", "select = \"exe\"\n"),
        };
        let mut daemon = Setup::new(&world, a)
            .with(format!("{select}{}{by_executable}", rule("ignored", "")))
            .start();
        let _server = b.serve(&[b.at(7001)], &["--quiet"]);
        let before = time_of(daemon.pid(), "st_connect4");
        let took = micros(&world, 7001);
        let after = time_of(daemon.pid(), "st_connect4");
        let each = (after.0 - before.0) / (after.1 - before.1);
        println!("| {what} | {took} | {each} ns |");
    }
}

/// Nanoseconds that a program of this process has run, and how often.
fn time_of(pid: i32, program: &str) -> (u64, u64) {
    let named = loaded_programs().flatten();
    let named = named.filter(|info| info.name_as_str() == Some(program));
    let ids: Vec<u32> = named.map(|info| info.id()).collect();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let infos = descriptors
        .flatten()
        .filter_map(|one| std::fs::read_to_string(one.path()).ok());
    let found = infos.filter_map(|info| {
        let of = |key: &str| -> Option<u64> {
            let line = info.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        let id = u32::try_from(of("prog_id:")?).ok()?;
        ids.contains(&id).then_some(())?;
        Some((of("run_time_ns:")?, of("run_cnt:")?))
    });
    found.max().expect("the process holds the program")
}

fn micros(world: &World, port: u16) -> String {
    let (to, count) = (world.b.at(port).to_string(), load(4_000).to_string());
    let said = world
        .a
        .peer_report(&["connects", "--to", &to, "--count", &count]);
    let of = |key: &str| said[key].as_u64().unwrap() as f64 / 1000.0;
    format!("{:.1} µs (90 %: {:.1})", of("median"), of("p90"))
}

fn main() {
    of_executables();
    println!("| rules | no rule | ignored | redirected | reload |");
    println!("|---|---|---|---|---|");
    for count in [10, 1_000, 10_000] {
        let world = World::pair();
        let (a, b) = (&world.a, &world.b);
        let measured = format!(
            "[[outbound]]\nname = \"ignored\"\nto = [\"{b}\"]\nports = [\"7001\"]\naction = \"ignore\"\n\
             [[outbound]]\nname = \"redirected\"\nto = [\"{b}\"]\nports = [\"7002\"]\naction = \"passthrough\"\n",
            b = b.v4()
        );
        let mut daemon = Setup::new(&world, a)
            .with(others(count - 2, &a.apps().name()))
            .with(measured)
            .start();
        let ports = [7000, 7001, 7002];
        let _server = b.serve(&ports.map(|port| b.at(port)), &["--quiet"]);
        let [none, ignored, redirected] = ports.map(|port| micros(&world, port));
        let begun = Instant::now();
        daemon.signal(Signal::SIGHUP);
        daemon.wait_told("READY=1", 2);
        let reload = begun.elapsed().as_millis();
        println!("| {count} | {none} | {ignored} | {redirected} | {reload} ms |");
    }
}

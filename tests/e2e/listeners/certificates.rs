//! A listener with very many certificates.

use std::{fmt::Write as _, path::Path, time::Instant};

use harness::{load, process::Finished};

use super::*;

/// Asks for a page of each of these names, on a connection of its own each.
fn fetch(world: &World, names: impl Iterator<Item = u64>, more: &[&str]) -> Finished {
    let mut list = format!(
        "silent\nshow-error\nfail-early\nmax-time = 20\ncacert = {}\nresolve = \"*:{FAR}:{}\"\n",
        world.pki.bundle().display(),
        world.b.v4()
    );
    for index in names {
        writeln!(list, "url = \"https://n{index}.example.org:{FAR}/\"").unwrap();
    }
    let list = world.a.write("names", &list).display().to_string();
    world.a.run("curl", &[&["--config", &list], more].concat())
}

fn shows(folder: &Path) -> String {
    format!(
        r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
[[listener]]
name = "far"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
tls = {{ mode = "simple", certificates = {folder:?} }}
"#
    )
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn ten_thousand_names_have_certificates_of_their_own_and_a_reload_serves_one_that_was_replaced() {
    let world = World::pair();
    let count = load(10_000);
    let folder = world.pki.many(count);
    let body = format!(
        "frontend app\n    bind 127.0.0.1:{APP}\n    http-request return status 200 content-type \
         text/plain string \"page \"\n"
    );
    let _app = haproxy(&world.b, &body, APP);
    let begun = Instant::now();
    let mut daemon = Setup::new(&world, &world.b).with(shows(&folder)).start();
    let (after, memory) = (begun.elapsed(), daemon.memory() >> 20);
    println!("{count} certificates: ready after {after:?}, {memory} MiB");
    // The client wants the very name that it asked for in the certificate.
    let step = usize::try_from(count / 200).unwrap().max(1);
    let sample = || (0..count).step_by(step);
    let pages = fetch(&world, sample(), &[]).expect_code(0);
    assert_eq!(pages.stdout, "page ".repeat(sample().count()));
    fetch(&world, [count].into_iter(), &[]).expect_code(60);
    let replaced = count / 2;
    let new = world.pki.one_of_many(replaced);
    let shown = || {
        let more = ["--write-out", "%{certs}"];
        fetch(&world, [replaced].into_iter(), &more)
            .expect_code(0)
            .stdout
    };
    let is_new = |shown: &str| new.lines().all(|line| shown.contains(line));
    assert!(!is_new(&shown()), "before the reload it is the old one");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 2);
    assert!(is_new(&shown()));
    fetch(&world, sample().take(5), &[]).expect_code(0);
}

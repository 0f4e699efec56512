//! Many connections: at once, fast after each other, and over few handshakes.

use harness::{Mesh, load};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_thousand_connections_live_at_the_same_time() {
    let mut mesh = Mesh::tunnel();
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let to = b.at(7000).to_string();
    let _server = b.serve(&[b.at(7000)], &["--quiet"]);
    let count = load(2_000);
    let mut client = a.peer(&["hold", "--to", &to, "--count", &count.to_string()]);
    let opened = client.line("all are open", |line| {
        harness::peer::parse(line)
            .filter(|said| said["event"] == "open" || said["event"] == "failed")
    });
    assert_eq!(opened["count"], count, "{opened}");
    assert_eq!(
        mesh.a.holdings().connections as u64,
        count,
        "connections lists them"
    );
    client.tell("use them all again");
    let ended = client.finish_within(std::time::Duration::from_secs(120));
    assert!(
        ended.stdout.contains(&format!("\"alive\":{count}")),
        "{ended}"
    );
    let records = mesh.a.wait_records(count as usize);
    assert!(
        records.iter().all(|record| record.reason().is_empty()),
        "not all ended cleanly"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn twenty_thousand_short_connections_lose_nothing_and_leave_nothing() {
    let mut mesh = Mesh::tunnel();
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let ports: Vec<_> = (7000..7016).map(|port| b.at(port)).collect();
    let mut server = b.serve(&ports, &["--quiet"]);
    let mut words = vec!["many".to_owned()];
    words.extend(
        ports
            .iter()
            .flat_map(|to| ["--to".to_owned(), to.to_string()]),
    );
    let run = |count: u64, abrupt: &str| {
        let count = count.to_string();
        let more = [
            "--count",
            &count,
            "--parallel",
            "16",
            "--abrupt-every",
            abrupt,
        ];
        let words: Vec<_> = words.iter().map(String::as_str).chain(more).collect();
        a.peer_report(&words)
    };
    // Fills the pool and whatever else is kept on purpose, so that what grows after it leaks.
    let warm = run(200, "0");
    assert_eq!(warm["good"], 200, "{warm}");
    let (mut before_a, mut before_b) = (mesh.a.holdings(), mesh.b.holdings());
    // Idle tunnels of sixteen parallel clients are bounded, and each is one descriptor.
    before_a.descriptors += 64;
    before_b.descriptors += 64;
    let count = load(20_000);
    let report = run(count, "3");
    assert_eq!(report["failures"], serde_json::json!({}), "{report}");
    assert_eq!(
        report["good"].as_u64().unwrap() + report["abrupt"].as_u64().unwrap(),
        count
    );
    let all = (count + 200) as usize;
    harness::holds(
        "every line arrived, also of clients that closed at once",
        || {
            let (connections, lines) = server.totals();
            (connections, lines) == (count + 200, count.max(200))
        },
    );
    for daemon in [&mesh.a, &mesh.b] {
        let records = daemon.wait_records(all);
        assert_eq!(records.len(), all, "one record for each connection");
        let lost = |reason: &str| matches!(reason, "no-original-destination" | "internal");
        let bad = records.iter().find(|record| lost(record.reason()));
        assert!(bad.is_none(), "{bad:?}");
    }
    mesh.a.wait_holdings(&before_a);
    mesh.b.wait_holdings(&before_b);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn ten_thousand_connections_in_turn_go_over_a_handful_of_handshakes() {
    let mesh = Mesh::tunnel();
    let b = &mesh.world.b;
    let to = b.at(7000).to_string();
    let _server = b.serve(&[b.at(7000)], &["--quiet"]);
    let count = load(10_000);
    let report = mesh
        .world
        .a
        .peer_report(&["many", "--to", &to, "--count", &count.to_string()]);
    assert_eq!(report["good"], count, "{report}");
    let records = mesh.a.wait_records(count as usize);
    let handshakes = records
        .iter()
        .filter(|record| record.carriage() == "tunnel-new")
        .count();
    let reused = records
        .iter()
        .filter(|record| record.carriage() == "tunnel-reused")
        .count();
    assert_eq!(
        handshakes + reused,
        count as usize,
        "all went through a tunnel"
    );
    assert!(
        (1..=8).contains(&handshakes),
        "{handshakes} handshakes for {count} connections"
    );
}

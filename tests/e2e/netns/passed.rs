//! Namespaces in which somebody connects whom a rule is for, and which nobody has named.

use harness::Record;

use super::{Stage, wait_state};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_first_connection_from_a_namespace_gets_its_rules_fail_mode_and_the_next_is_served() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let daemon = stage.setup().start();
    assert_eq!(blue.hello("first"), Err("EHOSTDOWN".to_owned()));
    let refused = daemon.only_record();
    assert_eq!(refused.reason(), "other-namespace", "{refused}");
    let served = wait_state(&daemon, "selected", "serving");
    assert_eq!(refused.netns(), served["netns"].as_u64(), "{served}");
    let counted = || {
        let status = daemon.ask("status");
        let refused = &status["refused"]["other-namespace"];
        [refused, &status["counters"]["other_namespace_blocked"]].map(serde_json::Value::as_u64)
    };
    assert_eq!(counted(), [Some(1), Some(1)], "it is counted, and shown");

    let connect = format!("connect={}", blue.world.b.at(7000));
    let said = blue.script(&[&connect, "names", "send=second", "line"]);
    let names = &said[1]["ok"];
    assert_eq!(names["getpeername"], blue.world.b.at(7000).to_string());
    let own = names["getsockname"].as_str().expect("an address");
    assert!(own.starts_with("10.88.0.1:"), "its own address, not {own}");
    let seen = &said[3]["ok"];
    assert!(seen.to_string().contains(own), "{own} is seen: {seen}");
    let record = daemon.wait_records(2)[1].clone();
    assert_eq!((record.reason(), record.netns()), ("", refused.netns()));

    let connect = format!("connect={}", blue.world.b.at6(7000));
    let said = blue.script(&[&connect, "names", "send=third", "line"]);
    assert_eq!(said[3]["errno"], serde_json::Value::Null, "{said:?}");
    let own = said[1]["ok"]["getsockname"].as_str().expect("an address");
    assert!(own.starts_with("[fd88::1]:"), "its own address, not {own}");
    assert_eq!(counted(), [Some(1), Some(1)], "none after the first");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_rule_that_passes_lets_the_first_connection_go_direct_and_has_the_next_one() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let _server = blue.world.b.serve(&[blue.world.b.at(8000)], &["--quiet"]);
    let daemon = stage
        .setup()
        .with(
            "[[outbound]]\nname = \"plain\"\nto = [\"10.88.0.0/24\"]\nports = [\"8000\"]\n\
             action = \"passthrough\"\nfail = \"pass\"\n",
        )
        .start();
    let connect = format!("connect={}", blue.world.b.at(8000));
    let hello = || blue.script(&[&connect, "send=hello", "close"]);
    let said = hello();
    assert_eq!(said[1]["errno"], serde_json::Value::Null, "{said:?}");
    let served = wait_state(&daemon, "selected", "serving");
    let counters = daemon.ask("status")["counters"].clone();
    assert_eq!(counters["other_namespace_passed"], 1);
    assert_eq!(daemon.records().len(), 0, "it was not ours");
    hello();
    let record: Record = daemon.only_record();
    assert_eq!((record.rule(), record.carriage()), ("plain", "plain"));
    assert_eq!(record.netns(), served["netns"].as_u64());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_canarys_address_is_nothing_special_in_a_namespace_that_is_not_served() {
    let stage = Stage::set();
    let daemon = stage.setup().start();
    let said = stage
        .blue
        .script(&["connect=127.0.0.1:0", "tcp6", "connect=[::1]:0"]);
    for step in [&said[0], &said[2]] {
        assert_eq!(step["errno"], "ECONNREFUSED", "{said:?}");
    }
    // The kernel tells in the order of what happened: only this is recorded, and not served yet.
    assert_eq!(stage.blue.hello("first"), Err("EHOSTDOWN".to_owned()));
    assert_eq!(daemon.only_record().reason(), "other-namespace");
}

//! Tasks that move, units that start again, cgroups that are removed.

use harness::{cgroup::Cgroup, peer::parse};

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_unit_that_is_restarted_a_thousand_times_is_never_plain_in_whatever_slice_it_is() {
    let world = World::pair();
    let slice = Cgroup::create(&format!("{}.slice", world.a.unique()));
    let inner = slice.child("shop.slice");
    let [a, b] = setups(&world, "include = [{ unit = \"web@*.service\" }]");
    let (_b, mut a) = (b.start(), a.intercept(&slice).start());
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let rounds = (load(1000), SECRET);
    none_escapes(
        &world,
        &mut a,
        &mut server,
        rounds,
        Seen::NowAndThenLate,
        |round| {
            let parent = if round % 2 == 0 { &slice } else { &inner };
            vec![parent.child("web@1.service")]
        },
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_of_a_cgroup_that_was_removed_is_decided_by_where_its_task_is() {
    let world = World::pair();
    let apps = world.a.apps();
    let [_a, b] = started(&world, "include = [{ cgroup = \"APPS/web-*\" }]");
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    for (into, expected) in [("web-2", Went::Selected), ("other", Went::Direct)] {
        let gone = apps.child("web-1");
        let into = apps.child(into);
        let before = b.records().len();
        let join = format!("join={}", into.path().display());
        let mut command = world.a.command_in(gone.path(), harness::peer::binary());
        command.args(["script", "tcp4", &join, "pause"]);
        command.args([&connect, "send=hello", "line", "close"]);
        let mut client = Running::spawn(command);
        client.line("it has moved", |line| {
            (parse(line)?["step"] == join).then_some(())
        });
        std::fs::remove_dir(gone.path()).expect("remove the cgroup that its socket is of");
        client.tell("go on");
        client.finish().expect_code(0);
        assert_eq!(recorded(&b, before), expected, "{}", into.name());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_cgroup_that_is_removed_under_a_connect_sends_nothing() {
    let world = World::pair();
    let apps = world.a.apps();
    let [mut a, _b] = started(&world, "include = [{ cgroup = \"APPS/web-*\" }]");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let (send, other) = (format!("send={SECRET}"), apps.child("other"));
    let join = format!("join={}", other.path().display());
    let capture = Capture::start(&world.a);
    a.suspend();
    let web = apps.child("web-1");
    let mut command = world.a.command_in(web.path(), harness::peer::binary());
    command.args(["script", &connect, &send, &join, "line"]);
    let mut client = Running::spawn(command);
    client.line("it has left", |line| {
        (parse(line)?["step"] == join).then_some(())
    });
    std::fs::remove_dir(web.path()).expect("remove the cgroup that connected");
    a.signal(Signal::SIGCONT);
    client.finish().expect_code(0);
    let record = a.wait_records(1).remove(0);
    assert_eq!(record.reason(), "cgroup-gone", "{record}");
    capture.stop().expect_no_plaintext(SECRET);
    assert_eq!(server.totals().1, 0, "no line arrived");
}

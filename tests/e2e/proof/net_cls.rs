//! Controllers of cgroup v1 that mark sockets.

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn sockets_are_still_selected_where_net_cls_and_net_prio_are_mounted() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let web = world.a.apps().child("web");
    let daemon = everything(&world).start();
    let (allowed, denied) = (world.b.at(7000), world.b.at(9000));
    // In a mount namespace of its own, in a class of its own: before Linux 5.15 its sockets lost
    // their cgroup2.
    let script = format!(
        "set -e; mkdir -p net; mount -t cgroup -o net_cls,net_prio none net; mkdir net/class; \
         echo 0x100001 > net/class/net_cls.classid; echo $$ > net/class/cgroup.procs; \
         {peer} script connect={allowed} send=hello line; {peer} script connect={denied}; \
         {sidetrack} doctor --json; echo 0 > net/cgroup.procs; rmdir net/class",
        peer = harness::peer::binary().display(),
        sidetrack = harness::sidetrack_bin().display(),
    );
    let mut client = world.a.command_in(web.path(), "unshare");
    client.args(["--mount", "sh", "-c", &script]);
    let ended = Running::spawn(client).finish().expect_code(0);
    assert!(ended.stdout.contains("mounted; harmless"), "{ended}");
    let records = daemon.wait_records(2);
    assert_eq!(records[0].destination(), allowed.to_string());
    assert_eq!(records[0].reason(), "", "{ended}");
    assert_eq!(records[1].destination(), denied.to_string());
    assert_eq!(records[1].reason(), "denied-by-rule", "{ended}");
    daemon.status().expect_green();
}

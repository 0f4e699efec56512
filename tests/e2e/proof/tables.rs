//! Entries of the tables that the programs decide by, changed behind the daemon's back.

use harness::{bpf::ForeignMap, netns::NetNs, until};

use super::*;

type Harm = fn(&ForeignMap);

const HARMS: [(&str, Harm); 3] = [
    ("1 changed", ForeignMap::change_one),
    ("1 are missing", ForeignMap::remove_one),
    ("1 were added", ForeignMap::add_one),
];

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_for_each_entry_that_somebody_changed_removed_or_added_until_a_reload() {
    let world = World::pair();
    let _web = world.a.apps().child("web");
    let users = "[select.users]\ninclude = [{ uid = 4711 }]\n\
                 [[outbound]]\nname = \"users\"\nselect = \"users\"\nto = [\"192.0.2.0/24\"]\n\
                 action = \"deny\"\n\
                 [select.tool]\ninclude = [{ exe = \"/opt/tool\" }]\n\
                 [[outbound]]\nname = \"tool\"\nselect = \"tool\"\nto = [\"192.0.2.0/24\"]\n\
                 action = \"deny\"\n";
    let mut daemon = everything(&world).with(users).start();
    daemon.status().expect_green();
    let mut told = 1;
    for (table, what) in [
        ("CGROUPS", "table of cgroups"),
        ("STAGES", "table of users"),
        ("EXECUTABLES", "table of executables"),
        ("DESTINATIONS", "table of destinations"),
        ("RULES", "table of rules"),
        ("PORTS", "table of inbound ports"),
    ] {
        for (seen, harm) in HARMS {
            harm(&bpf::table_of(daemon.pid(), table));
            daemon.status().expect_red(&[what, seen]);
            daemon.signal(Signal::SIGHUP);
            told += 1;
            daemon.wait_told("READY=1", told);
            daemon.status().expect_green();
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_the_entry_of_a_namespace_is_changed_or_gone_until_a_restart() {
    for (seen, harm) in HARMS {
        let world = World::pair();
        let container = NetNs::create(format!("{}-c", world.a.unique()));
        let setup = || everything(&world).netns(["host".to_owned(), container.path()]);
        let mut daemon = setup().start();
        until("the namespace is served", || {
            let status = daemon.ask("status");
            (status["namespaces"][0]["state"] == "serving").then_some(())
        });
        daemon.status().expect_green();
        harm(&bpf::map_of(daemon.pid(), "NAMESPACES"));
        daemon
            .status()
            .expect_red(&["table of network namespaces", seen]);
        assert_eq!(daemon.stop(), 0);
        let again = setup().start();
        again.status().expect_green();
    }
}

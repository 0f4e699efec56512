//! Clients of languages that make sockets each in their own way.

use harness::{Mesh, clients::Language};

fn reaches(language: Language, saw_v4: &str, saw_v6: &str) {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000), b.at6(7000)], &[]);
    for (to, saw) in [(b.at(7000), saw_v4), (b.at6(7000), saw_v6)] {
        let mut client = language.client(a);
        client.arg(to.to_string());
        let ended = harness::Running::spawn(client).finish().expect_code(0);
        let said = harness::peer::parse(&ended.stdout).unwrap_or_else(|| panic!("{ended}"));
        assert_eq!(said["answer"]["getsockname"], to.to_string(), "{ended}");
        assert_eq!(said["getpeername"], saw, "{ended}");
    }
    mesh.a.wait_records(2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_go_client_reaches_both_families() {
    reaches(Language::Go, "10.88.0.2:7000", "[fd88::2]:7000");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_dual_stack_java_client_reaches_both_families() {
    reaches(Language::Java, "10.88.0.2:7000", "fd88:0:0:0:0:0:0:2:7000");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_python_client_reaches_both_families() {
    reaches(Language::Python, "10.88.0.2:7000", "fd88::2:7000");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_node_client_reaches_both_families() {
    reaches(Language::Node, "10.88.0.2:7000", "fd88::2:7000");
}

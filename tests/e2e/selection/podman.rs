//! Containers of Debian's Podman, by what Podman itself writes of them.

use harness::podman::{Container, Podman};

use super::*;

/// How a connection of a container goes out.
#[track_caller]
fn went_from(world: &World, b: &Daemon, container: &Container<'_>) -> Went {
    let before = b.records().len();
    let connect = format!("connect={}", world.b.at(7000));
    let said = container.script(&[&connect, "send=hello", "line", "close"]);
    for step in &said {
        assert!(step["errno"].is_null(), "{said:?}");
    }
    recorded(b, before)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_container_of_podman_is_selected_by_its_name_from_its_first_connection_and_no_other_is() {
    let world = World::pair();
    let podman = Podman::new();
    let _listed = podman.list_on_host();
    let pods = world.a.apps().child("pods");
    let [_a, b] = started(&world, "include = [{ container = \"web-*\" }]");
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let start = |name| podman.start_on(name, &pods, &world.a);
    for _ in 0..2 {
        let (web, db) = (start("web-1"), start("db"));
        assert_eq!(went_from(&world, &b, &web), Went::Selected);
        assert_eq!(went_from(&world, &b, &db), Went::Direct);
        web.restart();
        db.restart();
        assert_eq!(went_from(&world, &b, &web), Went::Selected, "restarted");
        assert_eq!(went_from(&world, &b, &db), Went::Direct, "restarted");
        // The next ones have these names and other ids.
        web.stop();
        db.stop();
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_container_of_podman_is_selected_by_its_id_and_no_other_is() {
    let world = World::pair();
    let podman = Podman::new();
    let pods = world.a.apps().child("pods");
    let start = |name| podman.start_on(name, &pods, &world.a);
    let (web, db) = (start("web"), start("db"));
    let select = format!("include = [{{ container = \"{}\" }}]", &web.id()[..12]);
    let [_a, b] = started(&world, &select);
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    for _ in 0..2 {
        assert_eq!(went_from(&world, &b, &web), Went::Selected);
        assert_eq!(went_from(&world, &b, &db), Went::Direct);
        web.restart();
        db.restart();
    }
}

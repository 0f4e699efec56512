//! Proxies of others in the namespaces of those whose connections they get.

use harness::{Daemon, cgroup::Cgroup, peer::Server, proxies::Proxy, until};
use serde_json::Value;

use super::{Container, Stage, outcome};

const LISTEN: &str = "127.0.0.1:12345";

/// A rule for port 8000, to a proxy of which `more` is said.
fn redirect(more: &str) -> String {
    format!(
        "[proxy.side]\nlisten = [\"{LISTEN}\"]\n{more}\n\
         [[outbound]]\nname = \"to-side\"\nto = [\"10.88.0.0/24\"]\nports = [\"8000\"]\n\
         action = \"redirect\"\nproxy = \"side\"\n"
    )
}

/// In a cgroup that ends in `-sidecar` or not, in the container's namespace.
fn proxy(stage: &Stage, container: &Container, name: &str) -> (Cgroup, Proxy) {
    let cgroup = stage.home.a.apps().child(name);
    let proxy = Proxy::start(&container.world.a, &cgroup, &[LISTEN], &[]);
    (cgroup, proxy)
}

fn pattern(stage: &Stage) -> String {
    format!("cgroup = \"{}/*-sidecar\"", stage.home.a.apps().name())
}

fn serve(container: &Container) -> Server {
    let far = &container.world.b;
    far.serve(&[far.at(8000)], &["--quiet"])
}

#[track_caller]
fn hello(container: &Container) -> Result<Value, String> {
    let connect = format!("connect={}", container.world.b.at(8000));
    outcome(&container.script(&[&connect, "send=hello", "line"]))
}

/// What `status` says of the proxies in other namespaces, once `count` of them are in a state.
#[track_caller]
fn wait_proxies(daemon: &Daemon, state: &str, count: usize) -> Vec<Value> {
    until(
        &format!("{count} proxies in namespaces are {state}"),
        || {
            let all = daemon.proxy("side").into_iter();
            let there: Vec<Value> = all
                .filter(|one| one["netns"].is_u64() && one["state"] == state)
                .collect();
            (there.len() == count).then_some(there)
        },
    )
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn each_namespace_has_a_proxy_of_its_own_at_the_same_address() {
    let stage = Stage::set();
    let (blue, green) = (&stage.blue, &stage.green);
    let _servers = [serve(blue), serve(green)];
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path(), green.path()])
        .with(redirect(&pattern(&stage)))
        .start();
    assert_eq!(
        hello(blue),
        Err("EHOSTDOWN".to_owned()),
        "it is not there yet"
    );
    assert_eq!(daemon.only_record().reason(), "no-listener");
    let (_blue_cgroup, of_blue) = proxy(&stage, blue, "blue-sidecar");
    let (_green_cgroup, of_green) = proxy(&stage, green, "green-sidecar");
    wait_proxies(&daemon, "serving", 2);
    hello(blue).expect("goes by its own");
    hello(blue).expect("and again");
    hello(green).expect("goes by its own");
    let to = blue.world.b.at(8000).to_string();
    assert_eq!(of_blue.wait_asked(2), [to.as_str(), &to]);
    assert_eq!(of_green.wait_asked(1), [to.as_str()]);
    let counters = daemon.ask("status")["counters"].clone();
    assert_eq!(counters["redirected_to_proxy"], 3);
    assert_eq!(counters["proxy_direct"], 3, "each once, and not back");
    let sockets = daemon.ask("sockets");
    assert_eq!(sockets, Value::Array(vec![]), "{sockets:#}");

    drop(of_blue);
    assert_eq!(hello(blue), Err("EHOSTDOWN".to_owned()));
    hello(green).expect("has its own still");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_process_of_another_cgroup_in_a_container_does_not_become_its_proxy() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let _server = serve(blue);
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path()])
        .with(redirect(&pattern(&stage)))
        .start();
    let (_cgroup, usurper) = proxy(&stage, blue, "blue-application");
    let refused = wait_proxies(&daemon, "refused", 1).remove(0);
    let why = refused["why"].as_str().expect("a reason");
    assert!(why.contains("not in `cgroup` of the proxy"), "{why}");
    assert_eq!(hello(blue), Err("EHOSTDOWN".to_owned()));
    assert_eq!(usurper.asked(), Vec::<String>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_proxy_of_which_no_cgroup_is_named_is_of_the_daemons_namespace_alone() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let _server = serve(blue);
    let (_home_cgroup, _at_home) = {
        let cgroup = stage.home.a.apps().child("home-sidecar");
        let proxy = Proxy::start(&stage.home.a, &cgroup, &[LISTEN], &[]);
        (cgroup, proxy)
    };
    let (_cgroup, of_blue) = proxy(&stage, blue, "blue-sidecar");
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path()])
        .with(redirect(""))
        .start();
    assert_eq!(daemon.wait_proxy("side", "serving"), "");
    assert_eq!(hello(blue), Err("EHOSTDOWN".to_owned()));
    let record = daemon.only_record();
    assert_eq!(record.reason(), "no-listener", "{record}");
    assert_eq!(of_blue.asked(), Vec::<String>::new());
}

//! What people type, as far as it needs no privilege: help, mistakes, the sample configuration.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what broke by panicking"
)]

use std::{fs, path::Path, process::Command};

use harness::{Finished, Flaw, Running, pki::Pki, sidetrack_bin};

mod certificates;
mod listeners;

fn sidetrack(args: &[&str]) -> Finished {
    let mut command = Command::new(sidetrack_bin());
    command.args(args);
    Running::spawn(command).finish()
}

/// The commands that the overview names, `help` apart.
fn commands(overview: &str) -> Vec<String> {
    let listed = overview.lines().skip_while(|line| *line != "Commands:");
    let listed = listed.skip(1).take_while(|line| !line.is_empty());
    // Indented by two; a description that goes on in the next line is so by more.
    let named = listed.filter_map(|line| line.strip_prefix("  "));
    named
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Commands that stand under "Example" or "Examples", not in the usage line.
fn examples(help: &str) -> Vec<&str> {
    let shown = help
        .lines()
        .skip_while(|line| !line.starts_with("Example"))
        .take_while(|line| !line.starts_with("Exit codes"));
    let typed = shown.filter_map(|line| line.strip_prefix("  sidetrack "));
    typed.collect()
}

#[test]
fn the_help_of_each_command_shows_an_example() {
    let overview = sidetrack(&["--help"]).expect_code(0);
    assert!(!examples(&overview.stdout).is_empty(), "{overview}");
    let commands = commands(&overview.stdout);
    for known in ["guard", "explain", "sockets", "close", "detach"] {
        assert!(commands.iter().any(|name| name == known), "{overview}");
    }
    for command in commands {
        let help = sidetrack(&[&command, "--help"]).expect_code(0);
        let shown = examples(&help.stdout);
        let of_it = |typed: &&str| typed.split(' ').next() == Some(command.as_str());
        assert!(shown.iter().any(of_it), "{help}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = sidetrack(&["--version"]).expect_code(0);
    assert!(
        version.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
}

#[test]
fn a_usage_error_exits_2() {
    for args in [
        &["frobnicate"][..],
        &["run", "--no-such-option"],
        &["exec"],
        &[],
    ] {
        let ended = sidetrack(args);
        assert_eq!(ended.code(), 2, "{ended}");
    }
}

#[test]
fn a_bad_configuration_exits_78_with_every_error_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    fs::write(
        &path,
        "version = 1\nfrobnicate = 2\n[daemon]\ninstance = \"NOT GOOD\"\ndrain = \"soon\"\n",
    )
    .unwrap();
    let ended = sidetrack(&["check", "--config", path.to_str().unwrap()]);
    ended
        .expect_code(78)
        .expect_words(&["bad.toml", "frobnicate", "NOT GOOD", "soon"]);
}

#[test]
fn an_mtls_rule_that_does_not_say_whom_it_expects_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki"));
    let own = pki.credential('a', Flaw::None);
    let toml = format!(
        "version = 1\n[identity.own]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n[trust.\"example.org\"]\nbundle = \"{}\"\n{}",
        own.certificate.display(),
        own.key.display(),
        pki.bundle().display(),
        harness::rules::outbound_mtls("tunnel", "spiffe://example.org/b"),
    );
    let check = |toml: &str| {
        let path = dir.path().join("sidetrack.toml");
        fs::write(&path, toml).unwrap();
        sidetrack(&["check", "--config", path.to_str().unwrap()])
    };
    check(&toml).expect_code(0);
    let silent = toml.replace("expect = [\"spiffe://example.org/b\"]\n", "");
    check(&silent).expect_code(78).expect_words(&["expect"]);
    let anybody = check(&toml.replace("spiffe://example.org/b", "any")).expect_code(0);
    assert!(
        format!("{}{}", anybody.stdout, anybody.stderr).contains("any"),
        "`any` warns: {anybody}"
    );
}

/// Its files are made in a folder of the test; the rest is read as it is shipped.
#[test]
fn the_sample_configuration_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki"));
    let own = pki.credential('a', Flaw::None);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/sidetrack.toml");
    let sample = fs::read_to_string(sample).unwrap();
    let lines = sample.lines().map(|line| {
        let key = line.split('=').next().unwrap_or_default().trim();
        let file = match key {
            "certificate" => &own.certificate,
            "private_key" => &own.key,
            "bundle" => &pki.bundle(),
            _ => return line.to_owned(),
        };
        format!("{key} = \"{}\"", file.display())
    });
    let path = dir.path().join("sidetrack.toml");
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    sidetrack(&["check", "--config", path.to_str().unwrap()]).expect_code(0);
}

#[test]
fn status_of_a_daemon_that_does_not_run_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let ended = sidetrack(&["status", "--instance", "nobody-home", "--runtime-dir", at]);
    ended.expect_code(1).expect_words(&["nobody-home"]);
}

#[test]
fn check_shows_protocols_upstreams_the_gateway_and_namespaces_in_the_order_of_deciding() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki"));
    let own = pki.credential('a', Flaw::None);
    let toml = format!(
        "version = 1\n[intercept]\nnetns = [\"host\", \"/run/netns/blue\"]\n\
         [identity.own]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n[trust.\"example.org\"]\nbundle = \"{}\"\n\
         [upstream.edge]\naddresses = [\"10.0.0.9:15443\"]\nexpect = [\"spiffe://example.org/egress\"]\n\
         [[outbound]]\nname = \"out\"\nto = [\"10.0.0.0/8\"]\nports = [\"443\"]\naction = \"gateway\"\n\
         gateway = \"edge\"\nidentity = \"own\"\nudp = \"deny\"\n\
         [[outbound]]\nname = \"dns\"\nto = [\"10.0.0.0/8\"]\nports = [\"53\"]\nprotocol = \"udp\"\n\
         action = \"passthrough\"\n\
         [gateway]\nlisten = \"0.0.0.0:15443\"\nidentity = \"own\"\n\
         [[egress]]\nname = \"api\"\nidentity = [\"spiffe://example.org/b\"]\nports = [\"443\"]\n\
         action = \"allow\"\n",
        own.certificate.display(),
        own.key.display(),
        pki.bundle().display(),
    );
    let path = dir.path().join("sidetrack.toml");
    fs::write(&path, toml).unwrap();
    let config = ["check", "--config", path.to_str().unwrap()];
    sidetrack(&config).expect_code(0).expect_said(&[
        "host, /run/netns/blue",
        "tcp (udp denied)",
        "gateway (edge)",
        "spiffe://example.org/egress",
        "Gateway at 0.0.0.0:15443 as own",
        "spiffe://example.org/b",
    ]);
    let said = sidetrack(&[&config[..], &["--json"]].concat()).expect_code(0);
    let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        said["outbound"][0]["name"], "dns",
        "about UDP alone: {said}"
    );
    assert_eq!(said["outbound"][1]["udp"], "deny", "{said}");
    assert_eq!(said["upstreams"][0]["addresses"][0], "10.0.0.9:15443");
    assert_eq!(said["gateway"]["egress"][0]["name"], "api");
}

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    config::{ConfigError, OutboundAction, cgroup, file},
    identity::Expected,
};

mod executables;
mod gateway;
mod listeners;
mod passthrough;
mod protocols;
mod proxies;
mod refused;
mod requests;
mod rules;
mod sample;

const SAMPLE: &str = include_str!("../../../../scripts/sidetrack.toml");

/// What the rules of the tests refer to.
const BASE: &str = r#"
version = 1
identity.web = { certificate = "web.crt", private_key = "web.key" }
trust."example.org" = { bundle = "ca.crt" }
select.web.include = [{ unit = "web.service" }]
"#;

const OUTBOUND: &str = r#"
[[outbound]]
name = "api"
to = ["10.1.0.0/16"]
ports = ["8080"]
action = "mtls"
identity = "web"
expect = ["spiffe://example.org/api"]
"#;

const INBOUND: &str = r#"
[[inbound]]
name = "in"
ports = ["8080"]
identity = "web"
accept = ["tunnel"]
allow = ["spiffe://example.org/front"]
"#;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("/etc/sidetrack/sidetrack.toml"))
}

fn config(text: &str) -> Config {
    parse(&format!("{BASE}{text}")).unwrap()
}

fn errors(text: &str) -> Vec<ConfigError> {
    parse(text).unwrap_err().errors
}

/// The one error that a text gives.
fn error(text: &str) -> ConfigError {
    let mut errors = errors(text);
    assert_eq!(errors.len(), 1, "{text}\n{errors:#?}");
    errors.remove(0)
}

fn check(text: &str, key: &str, says: &str) {
    let error = error(text);
    assert_eq!(error.key, key, "{text}");
    let message = error.to_string();
    assert!(message.contains(says), "{message}\nlacks: {says}");
}

#[test]
fn the_sample_is_valid_and_has_no_warnings() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.outbound.len(), 2);
    assert_eq!(config.inbound.len(), 1);
    let identity = config.identities.get("web").unwrap();
    assert_eq!(identity.certificate, Path::new("/etc/sidetrack/web.crt"));
}

#[test]
fn the_defaults_that_the_sample_shows_are_the_defaults() {
    // `detect` is shown, but has no effect in the sample's strict rule.
    let shown: String = SAMPLE
        .lines()
        .filter(|line| !line.starts_with("#detect"))
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let shown = parse(&shown).unwrap();
    let defaults = parse(SAMPLE).unwrap();
    assert_eq!(format!("{shown:?}"), format!("{defaults:?}"));
}

#[test]
fn the_sample_names_every_key_of_the_schema() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        if let Some(object) = schema.as_object() {
            for (name, value) in object {
                if name == "properties" {
                    found.extend(value.as_object().unwrap().keys().cloned());
                }
                keys(value, found);
            }
        }
    }
    let schema = file::schema().to_value();
    let mut found = Vec::new();
    keys(&schema, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for key in found {
        assert!(SAMPLE.contains(&key), "{key}");
    }
    // What serde takes and what the schema says come from the same types; the words do not.
    for word in [
        "mtls",
        "proxy-protocol",
        "passthrough",
        "ETIMEDOUT",
        "block",
    ] {
        assert!(schema.to_string().contains(&format!("{word:?}")), "{word}");
    }
}

#[test]
fn an_empty_file_of_version_1_is_valid() {
    let config = parse("version = 1").unwrap();
    assert_eq!(config.daemon.instance.as_str(), "default");
    assert_eq!(config.limits.connections, 16_384);
    assert!(config.intercept.exclude_to.is_empty());
    assert!(config.outbound.is_empty() && config.inbound.is_empty());
}

#[test]
fn an_outbound_rule_without_to_and_ports_is_about_everything() {
    let config = config("[[outbound]]\nname = \"all\"\naction = \"passthrough\"\n");
    let rule = config.outbound.first().unwrap();
    assert_eq!(rule.ports, [1..=u16::MAX]);
    let to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
    assert_eq!(to, ["0.0.0.0/0", "::/0"]);
}

#[test]
fn an_empty_list_means_everything_but_is_mentioned() {
    let config = config("[[outbound]]\nname = \"all\"\nto = []\naction = \"passthrough\"\n");
    assert!(
        config
            .warnings
            .iter()
            .any(|w| w.contains("every destination"))
    );
}

#[test]
fn mapped_prefixes_become_ipv4_and_an_address_is_its_own_prefix() {
    let config = config(
        "[[outbound]]\nname = \"a\"\naction = \"ignore\"\n\
         to = [\"::ffff:10.0.0.0/104\", \"10.0.0.0/8\", \"192.0.2.7\", \"2001:db8::1\"]\n",
    );
    let rule = config.outbound.first().unwrap();
    let to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
    assert_eq!(to, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::1/128"]);
}

#[test]
fn ports_may_be_numbers_texts_and_ranges_and_overlaps_in_one_rule_are_joined() {
    let config = config(
        "[[outbound]]\nname = \"a\"\naction = \"deny\"\n\
         ports = [443, \"9000-9100\", \"9050\", \"80\"]\n",
    );
    let rule = config.outbound.first().unwrap();
    assert_eq!(
        crate::config::display_ports(&rule.ports),
        "80, 443, 9000-9100"
    );
    let epern = nix::errno::Errno::EPERM as i32;
    assert!(matches!(rule.action, OutboundAction::Deny { errno } if errno == epern));
}

#[test]
fn a_unit_is_its_cgroup_in_whatever_slice_it_is_and_no_other_of_its_name() {
    for (unit, path) in [
        ("web.service", "/system.slice/web.service"),
        ("web.service", "/web.service/worker"),
        ("web.service", "/a.slice/a-b.slice/web.service"),
        (
            "foo@bar.service",
            "/system.slice/system-foo.slice/foo@bar.service",
        ),
        ("foo@*.service", "/system.slice/foo@1.service"),
        ("run-?.scope", "/system.slice/run-1.scope"),
        (r"a\x2db.service", r"/system.slice/a\x2db.service"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/x.service"),
        ("user-*.slice", "/user.slice/user-1000.slice"),
        ("-.slice", "/"),
    ] {
        assert!(unit_selects(unit, path), "{unit} and {path}");
    }
    for (unit, path) in [
        // Made by a user's own manager, or within a container.
        (
            "web.service",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
        ),
        ("web.service", "/system.slice/docker-1.scope/web.service"),
        ("web.service", "/system.slice/web.service2"),
        ("a-b.slice", "/a-b.slice"),
    ] {
        assert!(!unit_selects(unit, path), "{unit} and {path}");
    }
}

#[test]
fn a_container_is_named_by_its_name_or_its_id() {
    let id = "3f5a0c9d1b7e".repeat(5) + "4e2f";
    for (container, path) in [
        (&id[..12], format!("/docker/{id}")),
        (&id, format!("/machine.slice/libpod-{id}.scope/container")),
    ] {
        let config = config(&format!(
            "[select.x]\ninclude = [{{ container = {container:?} }}]\n"
        ));
        let selector = config.selects.get("x").unwrap().include.first().unwrap();
        let pattern = selector.cgroup.as_ref().unwrap();
        let progress = pattern.path(&path, &cgroup::NoNames);
        assert_eq!(pattern.selects(progress), cgroup::Selects::Yes);
    }
    config("[select.x]\ninclude = [{ container = \"web-*\" }]\n");
}

fn unit_selects(unit: &str, path: &str) -> bool {
    let config = config(&format!("[select.x]\ninclude = [{{ unit = '{unit}' }}]\n"));
    let selector = config.selects.get("x").unwrap().include.first().unwrap();
    let pattern = selector.cgroup.as_ref().unwrap();
    pattern.selects(pattern.path(path, &cgroup::NoNames)) == cgroup::Selects::Yes
}

#[test]
fn names_of_users_and_groups_are_resolved_and_joined_with_the_cgroup() {
    let config = config(
        "[select.x]\ninclude = [{ cgroup = \"/pods/\", user = \"root\", group = \"root\" }]\n",
    );
    let selector = config.selects.get("x").unwrap().include.first().unwrap();
    assert_eq!((selector.uid, selector.gid), (Some(0), Some(0)));
    let cgroup = selector.cgroup.as_ref().unwrap();
    assert_eq!(cgroup.literal(), Some("/pods"));
}

#[test]
fn a_namespace_that_is_selected_and_never_served_is_accepted_and_mentioned() {
    let warnings = |served: &str| {
        let text = "[select.x]\ninclude = [{ netns = [\"/run/netns/a\", \"host\"] }]\n";
        config(&format!("[intercept]\nnetns = {served}\n{text}")).warnings
    };
    for served in ["[\"host\", \"selected\"]", "[\"host\", \"/run/netns/a\"]"] {
        assert!(warnings(served).is_empty(), "{served}");
    }
    let warnings = warnings("[\"host\"]");
    let [only] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(
        only.contains("select.x.include[0].netns") && only.contains("/run/netns/a"),
        "{only}"
    );
}

#[test]
fn more_namespaces_than_can_be_told_apart_are_accepted_and_mentioned() {
    let warned = |count: usize| {
        let each = (0..count).map(|one| format!("{{ netns = [\"/run/netns/{one}\"] }}"));
        let include = each.collect::<Vec<_>>().join(", ");
        config(&format!("[select.x]\ninclude = [{include}]\n")).warnings
    };
    assert!(warned(63).is_empty());
    let warnings = warned(64);
    let [only] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(only.contains("64") && only.contains("63"), "{only}");
}

#[test]
fn any_is_accepted_and_mentioned() {
    let config = config(&OUTBOUND.replace("spiffe://example.org/api", "any"));
    assert!(
        config
            .warnings
            .iter()
            .any(|w| w.contains("outbound[0] \"api\".expect[0]"))
    );
    let rule = config.outbound.first().unwrap();
    assert!(matches!(&rule.action, OutboundAction::Mtls(m) if m.expect == [Expected::Any]));
}

#[test]
fn detection_waits_only_where_plain_text_and_tls_are_both_accepted() {
    let detect = |text: String| config(&text).inbound.first().unwrap().detect;
    assert_eq!(detect(INBOUND.into()), None);
    let both = INBOUND.replace("[\"tunnel\"]", "[\"tunnel\", \"plain\"]");
    assert_eq!(detect(both.clone()), Some(Duration::from_millis(200)));
    assert_eq!(detect(format!("{both}detect = \"off\"\n")), None);
    let health = format!("{INBOUND}plain_from = [\"10.9.0.5\"]\ndetect = \"1s\"\n");
    assert_eq!(detect(health), Some(Duration::from_secs(1)));
}

#[test]
fn port_22_is_taken_if_it_is_typed_by_itself() {
    let config = config(&INBOUND.replace("[\"8080\"]", "[\"22\", \"20-30\"]"));
    assert!(config.inbound_for(22).is_some());
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|s| toml_text(&s)),
        "[a-z0-9:./*@-]{0,20}".prop_map(|s| toml_text(&s)),
        "(spiffe://)?[a-z.]{0,9}/?[a-z/]{0,9}".prop_map(|s| toml_text(&s)),
        "[0-9]{1,6}-?[0-9]{0,6}".prop_map(|s| toml_text(&s)),
        "[0-9]{1,20} ?(ns|ms|s|min|h|day|year)?".prop_map(|s| toml_text(&s)),
        Just("true".into()),
        Just("1.5".into()),
        Just("1979-05-27".into()),
        Just("{}".into()),
    ]
}

fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
        (scalar(), scalar()).prop_map(|(k, v)| format!("{{ {} = {v} }}", toml_text(&k))),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic_and_every_refusal_has_a_reason(
        line in any::<prop::sample::Index>(),
        value in value(),
    ) {
        let lines: Vec<&str> = SAMPLE.lines().collect();
        let keys: Vec<usize> = (0..lines.len())
            .filter(|at| lines[*at].contains(" = "))
            .collect();
        let at = keys[line.index(keys.len())];
        let key = lines[at].trim_start_matches(['#', ' ']).split(" = ").next().unwrap();
        let replaced = format!("{key} = {value}");
        let text: Vec<&str> = lines
            .iter()
            .enumerate()
            .map(|(index, line)| if index == at { replaced.as_str() } else { line })
            .collect();
        if let Err(errors) = parse(&text.join("\n")) {
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(errors.errors.iter().all(|error| !error.reason.is_empty()));
        }
    }
}

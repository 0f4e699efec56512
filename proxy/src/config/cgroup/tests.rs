use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> CgroupPattern {
    let parts = names(text).map(|name| match name {
        "(slices)" => Part::Slices,
        _ => Part::parse(name).unwrap(),
    });
    CgroupPattern::new(text, parts.collect()).unwrap()
}

fn selects(text: &str, path: &str) -> bool {
    let pattern = pattern(text);
    pattern.selects(pattern.path(path, &NoNames)) == Selects::Yes
}

#[test]
fn a_pattern_selects_what_it_matches_level_by_level_and_all_below() {
    for (text, path) in [
        ("/", "/"),
        ("/", "/a/b"),
        ("/pods/*", "/pods/x"),
        ("/pods/*", "/pods/x/y/z"),
        ("/pods/web-?", "/pods/web-1"),
        ("/pods/web-[0-9]", "/pods/web-1"),
        ("/pods/web-[!0-9]", "/pods/web-x"),
        ("/pods/**/web", "/pods/web"),
        ("/pods/**/web", "/pods/a/b/web/c"),
        ("/**/a/**/b", "/x/a/y/z/b"),
        ("/**/a/b", "/a/a/b"),
        ("/(slices)/web", "/web"),
        ("/(slices)/web", "/a.slice/a-b.slice/web"),
        ("/*x2d*", "/a\\x2db"),
    ] {
        assert!(selects(text, path), "{text} and {path}");
    }
    for (text, path) in [
        ("/pods/*", "/pods"),
        ("/pods/*", "/"),
        ("/pods/*", "/podsy/x"),
        ("/pods/*/web", "/pods/a/b/web"),
        ("/pods/web-?", "/pods/web-10"),
        ("/pods/**/web", "/pods/a/webs"),
        ("/(slices)/web", "/a.slice/b.service/web"),
    ] {
        assert!(!selects(text, path), "{text} and {path}");
    }
}

#[test]
fn of_a_folder_it_is_known_what_could_match_below() {
    for (text, path, below) in [
        ("/pods/*", "/", Below::Some),
        ("/pods/*", "/pods", Below::All),
        ("/pods/*", "/pods/x", Below::All),
        ("/pods/*", "/other", Below::None),
        ("/pods/*/web", "/pods/x", Below::Some),
        ("/pods/*/web", "/pods/x/y", Below::None),
        ("/pods/**/web", "/pods/x/y", Below::Some),
        ("/(slices)/web", "/a.slice", Below::Some),
        ("/(slices)/web", "/a.slice/b.service", Below::None),
    ] {
        let pattern = pattern(text);
        assert_eq!(
            pattern.below(pattern.path(path, &NoNames)),
            below,
            "{text} and {path}"
        );
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "ab", "b", "c.slice"]);
    prop::collection::vec(name, 0..5).prop_map(|names| format!("/{}", names.join("/")))
}

fn any_pattern() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "*", "a*", "?", "[a-b]", "**", "(slices)"]);
    prop::collection::vec(part, 0..5).prop_map(|parts| format!("/{}", parts.join("/")))
}

/// The same answer, found the slow way.
fn slowly(parts: &[Part], names: &[&str]) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return true;
    };
    let one = |fits: bool| fits && slowly(rest, names.get(1..).unwrap_or_default());
    let many = |fits: &dyn Fn(&str) -> bool| {
        slowly(rest, names)
            || names
                .split_first()
                .is_some_and(|(name, below)| fits(name) && slowly(parts, below))
    };
    match part {
        Part::Name(wanted) => one(names.first().is_some_and(|name| name == wanted)),
        Part::Any => one(!names.is_empty()),
        Part::Like(like) => one(names.first().is_some_and(|name| like.matches(name))),
        Part::AnyDepth => many(&|_| true),
        Part::Slices => many(&|name| name.ends_with(".slice")),
        Part::Runtimes | Part::ContainerId(_) | Part::ContainerName(_) => unreachable!(),
    }
}

proptest! {
    #[test]
    fn a_pattern_selects_the_same_as_when_it_is_read_slowly(
        text in any_pattern(),
        path in any_path(),
        deeper in any_path(),
    ) {
        let pattern = pattern(&text);
        let names: Vec<&str> = names(&path).collect();
        let selects = |progress| pattern.selects(progress) == Selects::Yes;
        let progress = pattern.path(&path, &NoNames);
        prop_assert_eq!(selects(progress), slowly(&pattern.parts, &names));
        let within = format!("{path}{deeper}");
        let matched = selects(pattern.path(&within, &NoNames));
        match pattern.below(progress) {
            Below::All => prop_assert!(matched || deeper == "/"),
            Below::None => prop_assert!(!matched),
            Below::Some => prop_assert!(!selects(progress)),
        }
    }
}

const ID: &str = "3f5a0c9d1b7e4e2f8a6b0d9c8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f";

/// Knows the container of [`ID`] and no other.
struct OneName;

impl Names for OneName {
    fn names(&self, id: &str) -> Option<Arc<[String]>> {
        (id == ID).then(|| ["web".to_owned()].into())
    }
}

fn container_is(part: Part, path: &str) -> Selects {
    let pattern = CgroupPattern::new("it", vec![Part::Runtimes, part]).unwrap();
    let path = path.replace("ID", ID);
    pattern.selects(pattern.path(&path, &OneName))
}

#[test]
fn a_containers_cgroup_is_known_wherever_a_runtime_of_root_makes_it() {
    let by_id = || Part::ContainerId(ID[..12].to_owned());
    let by_name = |name: &str| Part::ContainerName(Box::new(Part::parse(name).unwrap()));
    for path in [
        "/docker/ID",
        "/system.slice/docker-ID.scope",
        "/machine.slice/libpod-ID.scope/container",
        "/libpod_parent/libpod-ID",
        "/kubepods/burstable/pod11aa/ID",
        "/kubepods.slice/kubepods-pod11aa.slice/cri-containerd-ID.scope",
        "/kubepods.slice/kubepods-pod11aa.slice/crio-ID.scope",
    ] {
        assert_eq!(container_is(by_id(), path), Selects::Yes, "{path}");
        assert_eq!(container_is(by_name("web"), path), Selects::Yes, "{path}");
        assert_eq!(container_is(by_name("w*"), path), Selects::Yes, "{path}");
        assert_eq!(container_is(by_name("db"), path), Selects::No, "{path}");
        let other = path.replace("ID", &ID.replace('3', "4"));
        assert_eq!(container_is(by_id(), &other), Selects::No, "{other}");
        let other = container_is(by_name("web"), &other);
        assert_eq!(other, Selects::Perhaps, "nobody knows its name");
    }
    for path in [
        "/machine.slice/libpod-conmon-ID.scope",
        "/system.slice/docker.service",
        // Of a user's own runtime, and made in a container.
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
        "/docker/4ID/docker-ID.scope",
    ] {
        let path = path.replace("4ID", &ID.replace('3', "4"));
        assert_eq!(container_is(by_id(), &path), Selects::No, "{path}");
        assert_ne!(container_is(by_name("web"), &path), Selects::Yes, "{path}");
    }
}

use proptest::prelude::*;

use super::*;

fn prefix(path: &str) -> Path {
    Path::new(&PathMatch::Prefix(path.into()))
}

fn exact(path: &str) -> Path {
    Path::new(&PathMatch::Exact(path.into()))
}

#[test]
fn a_prefix_is_about_whole_segments() {
    let status = prefix("/status");
    for path in [
        "/status",
        "/status/",
        "/status/418",
        "/%73tatus/418",
        "/st%61tus",
    ] {
        assert!(status.fits(path), "{path}");
    }
    for path in [
        "/statusx",
        "/statu",
        "/",
        "/Status",
        "/x/status",
        "/status%20",
        "*",
    ] {
        assert!(!status.fits(path), "{path}");
    }
}

#[test]
fn an_exact_path_is_that_path_in_any_spelling_and_nothing_below_it() {
    let path = exact("/caf%C3%A9/a");
    assert!(path.fits("/caf%c3%a9/a") && path.fits("/%63af%C3%A9/%61"));
    for other in ["/caf%C3%A9/a/", "/caf%C3%A9/ab", "/caf%C3%A9", "/cafe/a"] {
        assert!(!path.fits(other), "{other}");
    }
}

#[test]
fn what_servers_may_read_as_another_path_is_not_plain() {
    for path in [
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a/.",
        "/%2e%2e/b",
        "/a/%2E./b",
        "/a/.%2e",
        "/a/%2e",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/..\\b",
        "/a%00",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/%2e%2e%3b/b",
        "/;",
        "/a/;x/b",
        "/a/%3b",
        "/%",
        "/a%2",
        "/%zz/b",
        "/a%+1",
        "",
        "a",
        "a/b",
        "http://a/b",
    ] {
        assert!(!is_plain(path), "{path}");
    }
    for path in [
        "/",
        "/a",
        "/a/",
        "/a.b/.c",
        "/...",
        "/..a",
        "/.well-known/x",
        "/a%20b",
        "/%7Euser",
        "/a;b=1/c",
        "/a%252e%252e",
        "/%2ehidden",
        "/a/..%20",
        "/a;",
        "*",
    ] {
        assert!(is_plain(path), "{path}");
    }
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,3}",
        "[a-z.%\\\\;/2eEfF5cC]{0,6}",
        Just("%2e".to_owned()),
        Just("..".to_owned()),
    ]
}

/// Each byte of a path as it is, or percent-encoded.
fn spelled(path: &str, encode: &[bool]) -> String {
    let spelled = path.bytes().zip(encode.iter().cycle());
    let text = spelled.map(|(byte, encode)| match byte {
        b'/' => "/".to_owned(),
        byte if *encode => format!("%{byte:02x}"),
        byte => char::from(byte).to_string(),
    });
    text.collect()
}

proptest! {
    /// Against what `is_plain` promises: decode once, split, and no segment is special.
    #[test]
    fn a_plain_path_has_the_same_segments_before_and_after_decoding(
        segments in prop::collection::vec(segment(), 0..5),
    ) {
        let path = format!("/{}", segments.join("/"));
        let decoded: Vec<u8> = percent_decode_str(&path).collect();
        let after: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').skip(1).collect();
        let special = after.iter().enumerate().any(|(at, segment)| {
            let name = segment.split(|byte| *byte == b';').next().unwrap();
            let ends = segment.is_empty() && at + 1 == after.len();
            (!ends && matches!(name, b"" | b"." | b"..")) || segment.contains(&b'\\')
        });
        let same = after.len() == path.split('/').skip(1).count();
        if is_plain(&path) {
            prop_assert!(same && !special, "{path}");
        } else {
            let broken = !is_encoded_well(&path) || decoded.contains(&0);
            prop_assert!(!same || special || broken, "{path}");
        }
    }

    #[test]
    fn a_prefix_fits_its_segments_with_more_behind_them_and_no_other_path(
        wanted in prop::collection::vec("[a-c]{1,2}", 1..4),
        path in prop::collection::vec("[a-c]{1,2}", 1..5),
        encode in prop::collection::vec(any::<bool>(), 1..7),
        slash in any::<bool>(),
    ) {
        let prefix = prefix(&format!("/{}", wanted.join("/")));
        let slash = if slash { "/" } else { "" };
        let text = spelled(&format!("/{}{slash}", path.join("/")), &encode);
        prop_assert!(is_plain(&text));
        prop_assert_eq!(prefix.fits(&text), path.starts_with(&wanted));
    }

    #[test]
    fn what_covers_another_fits_all_that_the_other_fits(
        one in "(/[ab]){1,2}", other in "(/[ab]){1,3}", path in "(/[ab]){1,4}",
        exactly in any::<(bool, bool)>(),
    ) {
        let of = |text: &str, exactly: bool| if exactly { exact(text) } else { prefix(text) };
        let (one, other) = (of(&one, exactly.0), of(&other, exactly.1));
        if one.covers(&other) && other.fits(&path) {
            prop_assert!(one.fits(&path));
        }
    }
}

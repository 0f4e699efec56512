//! The built BPF object is what both sides think it is: its programs and maps bear the names of
//! the ABI, and the maps' sizes are those of the ABI's types.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what broke by panicking"
)]

use std::{borrow::Cow, collections::BTreeSet};

use aya_obj::{Map, Object};
use sidetrack_abi::{
    Address, Endpoint, FlowKey, ListenerKey, OwnSocket, Redirected,
    counter::COUNTERS,
    event::EVENT_BUFFER,
    inbound::{InboundPort, ListeningKey, LocalKey},
    names::{map, program},
    rules::{DestinationKey, RULE_SETS, Rule, RuleKey, UserKey},
    settings::Settings,
};

/// What `cargo xtask test` built; else what this test was built with.
fn object() -> Object {
    let bytes = match std::env::var_os("SIDETRACK_BPF_OBJECT") {
        Some(path) => Cow::Owned(std::fs::read(path).expect("read SIDETRACK_BPF_OBJECT")),
        None => Cow::Borrowed(sidetrack::kernel::object::EMBEDDED),
    };
    assert!(
        !bytes.is_empty(),
        "there is no BPF object: run cargo xtask test, which builds it"
    );
    Object::parse(&bytes).expect("the object is one that aya loads")
}

/// Maps of the compiler's making: constants and globals.
fn is_section(name: &str) -> bool {
    name.starts_with('.')
}

#[test]
fn the_object_has_the_programs_of_the_abi_and_no_others() {
    let object = object();
    let built: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
    assert_eq!(built, BTreeSet::from(program::ALL));
}

#[test]
fn the_object_has_the_maps_of_the_abi_and_no_others() {
    let object = object();
    let built: BTreeSet<&str> = object
        .maps
        .keys()
        .map(String::as_str)
        .filter(|name| !is_section(name))
        .collect();
    assert_eq!(built, BTreeSet::from(map::ALL));
}

fn sizes(map: &Map) -> (usize, usize) {
    (map.key_size() as usize, map.value_size() as usize)
}

/// A trie's key has the prefix length before the data.
const fn trie<K>() -> usize {
    size_of::<u32>() + size_of::<K>()
}

#[test]
fn each_maps_key_and_value_are_as_large_as_the_types_of_the_abi() {
    let object = object();
    let index = size_of::<u32>();
    // A socket's storage and a socket map name the socket by a descriptor.
    let descriptor = size_of::<i32>();
    let mut judged = BTreeSet::new();
    for (name, expected) in [
        (map::SETTINGS, (index, size_of::<Settings>())),
        (map::COUNTERS, (index, size_of::<u64>())),
        (map::EVENTS, (0, 0)),
        (map::LISTENERS, (size_of::<ListenerKey>(), descriptor)),
        (
            map::INBOUND_LISTENERS,
            (size_of::<ListenerKey>(), descriptor),
        ),
        (
            map::PENDING,
            (size_of::<FlowKey>(), size_of::<Redirected>()),
        ),
        (map::FORWARD, (size_of::<FlowKey>(), size_of::<Endpoint>())),
        (map::CLIENT, (descriptor, size_of::<Redirected>())),
        (map::ACCEPTED, (descriptor, size_of::<Redirected>())),
        (map::OWN, (descriptor, size_of::<OwnSocket>())),
        (map::SERVED, (descriptor, size_of::<Endpoint>())),
        (
            map::LISTENING,
            (size_of::<ListeningKey>(), size_of::<u64>()),
        ),
        (map::LOCAL, (size_of::<LocalKey>(), size_of::<u32>())),
        (
            map::SOURCES,
            (trie::<DestinationKey>(), size_of::<Address>()),
        ),
    ] {
        assert_eq!(sizes(&object.maps[name]), expected, "{name}");
        judged.insert(name);
    }
    for (name, expected) in [
        (map::CGROUPS, (size_of::<u64>(), size_of::<u32>())),
        (map::USERS, (size_of::<UserKey>(), size_of::<u32>())),
        (
            map::DESTINATIONS,
            (trie::<DestinationKey>(), size_of::<u32>()),
        ),
        (map::RULES, (trie::<RuleKey>(), size_of::<Rule>())),
        (map::PORTS, (size_of::<u32>(), size_of::<InboundPort>())),
    ] {
        let sets = &object.maps[name];
        assert_eq!(sets.max_entries(), RULE_SETS, "{name}");
        let set = sets.inner().expect("a rule set is a map of maps");
        assert_eq!(sizes(&set), expected, "{name}");
        judged.insert(name);
    }
    assert_eq!(judged, BTreeSet::from(map::ALL), "each map is judged");
}

#[test]
fn tables_of_fixed_size_have_the_size_of_the_abi() {
    let object = object();
    for (name, entries) in [
        (map::SETTINGS, 1),
        (map::COUNTERS, COUNTERS),
        (map::EVENTS, EVENT_BUFFER),
    ] {
        assert_eq!(object.maps[name].max_entries() as usize, entries, "{name}");
    }
}

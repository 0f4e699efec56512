//! The built BPF object is what both sides think it is: its programs and maps bear the names of
//! the ABI, and the maps' sizes are those of the ABI's types.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what broke by panicking"
)]

use std::{borrow::Cow, collections::BTreeSet, thread};

use aya::{
    EbpfLoader,
    programs::{CgroupSockAddr, CgroupSockopt, Program, ProgramType, SkLookup, SockOps},
    sys::{BpfHelper, is_helper_supported},
};
use aya_obj::{Map, Object};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use sidetrack_abi::{
    Address, Endpoint, FlowKey, ListenerKey, OwnSocket, Redirected,
    counter::COUNTERS,
    event::{EVENT_BUFFER, ToldDenials},
    executable::{ExecutableKey, ExecutableLayout, ExecutableStep},
    inbound::{InboundPort, ListeningKey, LocalKey},
    names::{global, map, program},
    namespace::{NamespaceFacts, SourceKey},
    rules::{CgroupClass, DestinationKey, RULE_SETS, Rule, RuleKey, StageKey},
    settings::Settings,
};

/// What `cargo xtask test` built; else what this test was built with.
fn bytes() -> Cow<'static, [u8]> {
    let bytes = match std::env::var_os("SIDETRACK_BPF_OBJECT") {
        Some(path) => Cow::Owned(std::fs::read(path).expect("read SIDETRACK_BPF_OBJECT")),
        None => Cow::Borrowed(sidetrack::kernel::object::EMBEDDED),
    };
    assert!(
        !bytes.is_empty(),
        "there is no BPF object: run cargo xtask test, which builds it"
    );
    bytes
}

fn object() -> Object {
    Object::parse(&bytes()).expect("the object is one that aya loads")
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
        (map::ACTIVE, (index, size_of::<u32>())),
        (map::HEARTBEAT, (index, size_of::<u64>())),
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
        (map::DIALLED, (size_of::<FlowKey>(), size_of::<Endpoint>())),
        (map::CLIENT, (descriptor, size_of::<Redirected>())),
        (map::ACCEPTED, (descriptor, size_of::<Redirected>())),
        (map::OWN, (descriptor, size_of::<OwnSocket>())),
        (map::TOLD, (descriptor, size_of::<ToldDenials>())),
        (map::SERVED, (descriptor, size_of::<Endpoint>())),
        (
            map::LISTENING,
            (size_of::<ListeningKey>(), size_of::<u64>()),
        ),
        (map::PROXY_CGROUPS, (size_of::<u64>(), size_of::<u32>())),
        (map::LOCAL, (size_of::<LocalKey>(), size_of::<u32>())),
        (
            map::NAMESPACES,
            (size_of::<u64>(), size_of::<NamespaceFacts>()),
        ),
        (map::SOURCES, (trie::<SourceKey>(), size_of::<Address>())),
    ] {
        assert_eq!(sizes(&object.maps[name]), expected, "{name}");
        judged.insert(name);
    }
    for (name, expected) in [
        (map::CGROUPS, (size_of::<u64>(), size_of::<CgroupClass>())),
        (map::STAGES, (size_of::<StageKey>(), size_of::<u32>())),
        (
            map::EXECUTABLES,
            (size_of::<ExecutableKey>(), size_of::<ExecutableStep>()),
        ),
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
        (map::ACTIVE, 1),
        (map::SETTINGS, RULE_SETS as usize),
        (map::COUNTERS, COUNTERS),
        (map::EVENTS, EVENT_BUFFER),
    ] {
        assert_eq!(object.maps[name].max_entries() as usize, entries, "{name}");
    }
}

/// Loads the program that fails connect(), with the call to `bpf_set_retval` replaced by one to a
/// helper that no kernel has.
fn load_without_set_retval(believed: u32) -> Result<(), aya::programs::ProgramError> {
    // BPF_JMP | BPF_CALL, no registers, no offset, and the helper's number.
    const CALL: [u8; 8] = [0x85, 0, 0, 0, 187, 0, 0, 0];
    let mut bytes = bytes().into_owned();
    let mut replaced = 0;
    for instruction in bytes.chunks_exact_mut(CALL.len()) {
        if instruction == CALL {
            instruction[4..].copy_from_slice(&0x00ff_ffff_u32.to_le_bytes());
            replaced += 1;
        }
    }
    assert!(replaced > 0, "nothing calls bpf_set_retval");
    let mut bpf = EbpfLoader::new()
        .btf(None)
        .override_global(global::HAS_SET_RETVAL, &believed, true)
        .load(&bytes)
        .unwrap();
    let program: &mut CgroupSockAddr = bpf
        .program_mut(program::CONNECT4)
        .unwrap()
        .try_into()
        .unwrap();
    program.load()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_programs_load_on_a_kernel_without_bpf_set_retval_that_is_known_to_lack_it() {
    harness::require_root();
    load_without_set_retval(0).unwrap();
    let error = load_without_set_retval(1).unwrap_err();
    assert!(error.to_string().contains("invalid func"), "{error}");
}

/// Loads every program, as for a kernel whose structures are known or not, and says how many
/// instructions the verifier walked for each, if the kernel tells (Linux 5.16).
fn load_all(structures: bool) -> Vec<(&'static str, Option<u32>)> {
    // Any offsets, so that the verifier takes every way.
    let byte = if structures { 8_u32 } else { 0 };
    let executables = ExecutableLayout {
        task_mm: byte,
        ..ExecutableLayout::default()
    };
    let retval = is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval);
    let retval = u32::from(retval.unwrap());
    let mut bpf = EbpfLoader::new()
        .btf(None)
        .override_global(global::HAS_SET_RETVAL, &retval, true)
        .override_global(global::KERN_SOCK_BYTE, &byte, true)
        .override_global(global::IS_MPTCP_BYTE, &byte, true)
        .override_global(global::EXECUTABLE_LAYOUT, &executables, true)
        .load(&bytes())
        .unwrap();
    let load = |name| {
        let program = bpf.program_mut(name).unwrap();
        match program {
            Program::CgroupSockAddr(program) => CgroupSockAddr::load(program),
            Program::CgroupSockopt(program) => CgroupSockopt::load(program),
            Program::SockOps(program) => SockOps::load(program),
            Program::SkLookup(program) => SkLookup::load(program),
            _ => panic!("{name} is of another type"),
        }
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, program.info().unwrap().verified_instruction_count())
    };
    program::ALL.map(load).into()
}

/// The limit is a million for each program, and older kernels may walk more of the same than newer ones.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn no_program_costs_the_verifier_a_tenth_of_what_it_allows() {
    harness::require_root();
    for (name, walked) in load_all(true) {
        assert!(
            walked.is_none_or(|walked| walked < 100_000),
            "{name}: {walked:?}"
        );
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_programs_load_without_cap_perfmon_where_they_read_nothing_of_the_kernels() {
    harness::require_root();
    // The capabilities of that thread alone.
    let loading = thread::spawn(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective
            .remove(CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN);
        set_capabilities(None, sets).unwrap();
        load_all(false);
    });
    loading.join().unwrap();
}

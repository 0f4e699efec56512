//! The program of connect() without a daemon: its tables are filled by hand, and nobody listens.

use std::{fs::File, net::SocketAddr};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, LpmTrie, MapData, PerCpuArray, lpm_trie::Key},
    programs::{CgroupAttachMode, CgroupSockAddr},
};
use harness::cgroup::Cgroup;
use sidetrack::kernel::{btf::SocketLayout, object::EMBEDDED};
use sidetrack_abi::{
    Address,
    counter::Counter,
    names::{DESTINATION_ENTRIES, RULE_ENTRIES, global, map, program},
    rules::{DestinationKey, FAIL_BLOCK, PROTOCOL_TCP, Rule, RuleKey, SELECTION_ALL},
    settings::{SETTING_SELECT_ALL, Settings},
};

/// `BPF_F_NO_PREALLOC`, without which there is no trie.
const NO_PREALLOC: u32 = 1;

/// Attached as long as this is there.
pub(super) struct ConnectProgram {
    bpf: Ebpf,
}

impl ConnectProgram {
    /// At `cgroup`, with one rule, for everybody who connects to `to`.
    pub(super) fn attach(
        cgroup: &Cgroup,
        layout: SocketLayout,
        to: SocketAddr,
        action: u8,
    ) -> Self {
        let mut bpf = EbpfLoader::new()
            .btf(None)
            .override_global(global::HAS_SET_RETVAL, &1_u32, true)
            .override_global(global::KERN_SOCK_BYTE, &layout.kern_sock_byte, true)
            .override_global(global::KERN_SOCK_BIT, &layout.kern_sock_bit, true)
            .override_global(global::IS_MPTCP_BYTE, &layout.is_mptcp_byte, true)
            .load(EMBEDDED)
            .expect("load the object");
        fill(&mut bpf, to, action);
        let connect = bpf.program_mut(program::CONNECT4).expect("is there");
        let connect: &mut CgroupSockAddr = connect.try_into().expect("is one of a cgroup");
        connect.load().expect("the kernel takes it");
        let place = File::open(cgroup.path()).expect("open the cgroup");
        // A link leaves room for others' programs, and takes no flag that says so.
        let attached = connect.attach(place, CgroupAttachMode::Single);
        attached.expect("attach it");
        Self { bpf }
    }

    /// What it has counted.
    pub(super) fn count(&self, counter: Counter) -> u64 {
        let counters = self.bpf.map(map::COUNTERS).expect("is there");
        let counters: PerCpuArray<&MapData, u64> = counters.try_into().expect("counts");
        let counted = counters.get(&(counter as u32), 0).expect("read a counter");
        counted.iter().sum()
    }
}

fn fill(bpf: &mut Ebpf, to: SocketAddr, action: u8) {
    const SET: u32 = 0;
    const CLASS: u32 = 1;
    let settings = Settings {
        generation: 1,
        flags: SETTING_SELECT_ALL,
        ..Settings::default()
    };
    let rule = Rule {
        action,
        fail: FAIL_BLOCK,
        ..Rule::default()
    };
    let key = RuleKey::new(CLASS, SELECTION_ALL, PROTOCOL_TCP, to.port().to_be());
    let mut rules: LpmTrie<MapData, RuleKey, Rule> =
        LpmTrie::create(RULE_ENTRIES as u32, NO_PREALLOC).expect("make the rules");
    rules
        .insert(&Key::new(RuleKey::BITS, key), rule, 0)
        .expect("fill the rules");
    let address = DestinationKey {
        address: Address::from(to.ip()),
    };
    let mut destinations: LpmTrie<MapData, DestinationKey, u32> =
        LpmTrie::create(DESTINATION_ENTRIES as u32, NO_PREALLOC).expect("make the destinations");
    destinations
        .insert(&Key::new(128, address), CLASS, 0)
        .expect("fill the destinations");
    let of = bpf.map_mut(map::RULES).expect("is there");
    let mut sets: ArrayOfMaps<_, LpmTrie<MapData, RuleKey, Rule>> = of.try_into().expect("rules");
    sets.set(SET, &rules, 0).expect("give it the rules");
    let of = bpf.map_mut(map::DESTINATIONS).expect("is there");
    let mut sets: ArrayOfMaps<_, LpmTrie<MapData, DestinationKey, u32>> =
        of.try_into().expect("destinations");
    sets.set(SET, &destinations, 0)
        .expect("give it the destinations");
    let of = bpf.map_mut(map::SETTINGS).expect("is there");
    let mut sets: Array<_, Settings> = of.try_into().expect("settings");
    sets.set(SET, settings, 0).expect("give it the settings");
}

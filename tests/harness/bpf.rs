//! What BPF objects there are, asked of the kernel itself and not of the daemon under test.
#![expect(unsafe_code, reason = "bpf(2) takes its arguments by pointer")]

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use sidetrack_abi::names::{
    CGROUP_ENTRIES, DESTINATION_ENTRIES, EXECUTABLE_ENTRIES, PORT_ENTRIES, RULE_ENTRIES,
    STAGE_ENTRIES, map,
};

mod foreign;

pub use foreign::{Foreign, looking_up, run_another_in};

const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const MAP_GET_NEXT_KEY: i32 = 4;
const OBJ_GET: i32 = 7;
const MAP_GET_FD_BY_ID: i32 = 14;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;
const LINK_DETACH: i32 = 34;

/// Types of `enum bpf_map_type` whose entries come and go with connections.
const HASH: u32 = 1;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;

/// Attach types of `enum bpf_attach_type` that Sidetrack uses at a cgroup.
const CGROUP_ATTACH_TYPES: [(u32, &str); 10] = [
    (3, "sock_ops"),
    (10, "connect4"),
    (11, "connect6"),
    (14, "sendmsg4"),
    (15, "sendmsg6"),
    (21, "getsockopt"),
    (29, "getpeername4"),
    (30, "getpeername6"),
    (31, "getsockname4"),
    (32, "getsockname6"),
];

/// `union bpf_attr`, as far as it is used here.
type Attr = [u32; 18];

/// The common prefix of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; 16],
}

/// A map of somebody else's.
pub struct ForeignMap {
    map: OwnedFd,
    kind: u32,
    key_size: usize,
    value_size: usize,
}

/// The map of this name that process `pid` holds.
#[track_caller]
pub fn map_of(pid: i32, name: &str) -> ForeignMap {
    map_where(pid, name, |info| named(info) == name)
}

/// Tables of which each rule set has one: type, sizes of key and value, capacity. They have no names
/// of their own.
const OF_SETS: [(&str, u32, u32, u32, usize); 6] = [
    (map::CGROUPS, HASH, 8, 8, CGROUP_ENTRIES),
    (map::STAGES, HASH, 16, 4, STAGE_ENTRIES),
    (map::EXECUTABLES, HASH, 128, 8, EXECUTABLE_ENTRIES),
    (map::DESTINATIONS, LPM_TRIE, 20, 4, DESTINATION_ENTRIES),
    (map::RULES, LPM_TRIE, 16, 8, RULE_ENTRIES),
    (map::PORTS, HASH, 4, 8, PORT_ENTRIES),
];

/// The table of this name that process `pid` has filled last.
#[track_caller]
pub fn table_of(pid: i32, name: &str) -> ForeignMap {
    let found = OF_SETS.into_iter().find(|one| one.0 == name);
    let (_, kind, key, value, most) = found.unwrap_or_else(|| panic!("no table is called {name}"));
    map_where(pid, name, |info| {
        (info.kind, info.key_size, info.value_size) == (kind, key, value)
            && info.max_entries == most as u32
    })
}

fn map_where(pid: i32, name: &str, wanted: impl Fn(&MapInfo) -> bool) -> ForeignMap {
    let found = maps_of(pid).into_iter().rfind(|(_, info)| wanted(info));
    let (map, info) = found.unwrap_or_else(|| panic!("process {pid} holds no map {name}"));
    ForeignMap {
        map,
        kind: info.kind,
        key_size: info.key_size as usize,
        value_size: info.value_size as usize,
    }
}

impl ForeignMap {
    /// Adds to the first word of the value of the key that is all zero.
    #[track_caller]
    pub fn change_first(&self, by: u32) {
        self.add(&mut vec![0; self.key_size], by);
    }

    /// Adds one to the first word of the value of one entry.
    #[track_caller]
    pub fn change_one(&self) {
        self.add(&mut self.one().expect("it has an entry"), 1);
    }

    /// Adds an entry like one that there is.
    #[track_caller]
    pub fn add_one(&self) {
        let mut key = self.one().expect("it has an entry");
        let mut value = vec![0; self.value_size];
        self.with(MAP_LOOKUP_ELEM, &mut key, &mut value);
        *key.last_mut().expect("keys have bytes") ^= 0x5a;
        if self.kind == LPM_TRIE {
            let bits = (self.key_size - 4) as u32 * 8;
            key[..4].copy_from_slice(&bits.to_ne_bytes());
        }
        self.with(MAP_UPDATE_ELEM, &mut key, &mut value);
    }

    /// Removes one entry, if there is one.
    pub fn remove_one(&self) {
        if let Some(mut key) = self.one() {
            // It may have just gone.
            let _ = self.ask(MAP_DELETE_ELEM, &mut key, &mut []);
        }
    }

    /// How many entries it has.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        entries(&self.map, self.key_size)
    }

    /// Writes the value of the key that is all zero.
    #[track_caller]
    pub fn set_first(&self, value: u64) {
        let mut value = value.to_ne_bytes().to_vec();
        assert_eq!(value.len(), self.value_size);
        self.with(MAP_UPDATE_ELEM, &mut vec![0; self.key_size], &mut value);
    }

    /// Some key.
    fn one(&self) -> Option<Vec<u8>> {
        let mut key = vec![0; self.key_size];
        let mut attr = Attr::default();
        attr[0] = self.map.as_raw_fd() as u32;
        put_pointer(&mut attr, 4, key.as_mut_ptr());
        bpf(MAP_GET_NEXT_KEY, &mut attr).ok().map(|_| key)
    }

    #[track_caller]
    fn add(&self, key: &mut [u8], by: u32) {
        let mut value = vec![0; self.value_size];
        self.with(MAP_LOOKUP_ELEM, key, &mut value);
        let first = u32::from_ne_bytes(value[..4].try_into().expect("four bytes"));
        value[..4].copy_from_slice(&first.wrapping_add(by).to_ne_bytes());
        self.with(MAP_UPDATE_ELEM, key, &mut value);
    }

    #[track_caller]
    fn with(&self, command: i32, key: &mut [u8], value: &mut [u8]) {
        self.ask(command, key, value).expect("read or write a map");
    }

    fn ask(&self, command: i32, key: &mut [u8], value: &mut [u8]) -> io::Result<i32> {
        let mut attr = Attr::default();
        attr[0] = self.map.as_raw_fd() as u32;
        put_pointer(&mut attr, 2, key.as_mut_ptr());
        if !value.is_empty() {
            put_pointer(&mut attr, 4, value.as_mut_ptr());
        }
        bpf(command, &mut attr)
    }
}

/// Name and number of entries of each hash map that process `pid` holds, sorted.
pub fn hash_maps_of(pid: i32) -> Vec<(String, usize)> {
    let mut maps: Vec<_> = maps_of(pid)
        .into_iter()
        .filter(|(_, info)| matches!(info.kind, HASH | LRU_HASH))
        .map(|(map, info)| (named(&info), entries(&map, info.key_size as usize)))
        .collect();
    maps.sort();
    maps
}

fn named(info: &MapInfo) -> String {
    String::from_utf8_lossy(&info.name)
        .trim_end_matches('\0')
        .to_owned()
}

/// The maps that process `pid` holds.
fn maps_of(pid: i32) -> Vec<(OwnedFd, MapInfo)> {
    let mut ids: Vec<u32> = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("read the process's descriptors")
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|info| {
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix("map_id:").map(str::to_owned))?;
            line.trim().parse().ok()
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .filter_map(|id| {
            let map = open_map(id).ok()?;
            let info = map_info(&map).ok()?;
            Some((map, info))
        })
        .collect()
}

/// How many BPF links to a network namespace process `pid` holds.
pub fn netns_links_of(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("read the process's descriptors")
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter(|info| info.lines().any(|line| line == "link_type:\tnetns"))
        .count()
}

/// Programs of a daemon at its attach point: sockops, and one of each family for connect, sendmsg,
/// getpeername and getsockname.
pub const AT_THE_ATTACH_POINT: usize = 9;

/// Hooks of the cgroup at `path` that have programs, ancestors' not counted.
pub fn attached_to(path: &Path) -> Vec<&'static str> {
    let cgroup = fs::File::open(path).expect("open a cgroup");
    CGROUP_ATTACH_TYPES
        .into_iter()
        .filter(|&(kind, _)| {
            // bpf_attr for PROG_QUERY: target_fd, attach_type, query_flags, attach_flags,
            // prog_ids, prog_cnt.
            let mut attr = Attr::default();
            attr[0] = cgroup.as_raw_fd() as u32;
            attr[1] = kind;
            // Without room for ids the kernel still says how many there are.
            let queried = bpf(PROG_QUERY, &mut attr);
            queried.is_ok() && attr[6] > 0
        })
        .map(|(_, name)| name)
        .collect()
}

/// Ends the link that is pinned at `path`; the pin stays.
#[track_caller]
pub fn detach_pinned(path: &Path) {
    let link = open_pinned(path);
    let mut attr = Attr::default();
    attr[0] = link.as_raw_fd() as u32;
    bpf(LINK_DETACH, &mut attr).expect("detach a link");
}

fn open_pinned(path: &Path) -> OwnedFd {
    let text = std::ffi::CString::new(path.to_str().expect("a text")).expect("no zero");
    let mut attr = Attr::default();
    put_pointer(&mut attr, 0, text.as_ptr().cast_mut().cast());
    let fd =
        bpf(OBJ_GET, &mut attr).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn open_map(id: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr[0] = id;
    let fd = bpf(MAP_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn map_info(map: &OwnedFd) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attr = Attr::default();
    attr[0] = map.as_raw_fd() as u32;
    attr[1] = size_of::<MapInfo>() as u32;
    put_pointer(&mut attr, 2, (&raw mut info).cast());
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn entries(map: &OwnedFd, key_size: usize) -> usize {
    let mut key = vec![0_u8; key_size];
    let mut next = vec![0_u8; key_size];
    let mut count = 0;
    let mut first = true;
    loop {
        let mut attr = Attr::default();
        attr[0] = map.as_raw_fd() as u32;
        if !first {
            put_pointer(&mut attr, 2, key.as_mut_ptr());
        }
        put_pointer(&mut attr, 4, next.as_mut_ptr());
        if bpf(MAP_GET_NEXT_KEY, &mut attr).is_err() || count > 1_000_000 {
            return count;
        }
        std::mem::swap(&mut key, &mut next);
        first = false;
        count += 1;
    }
}

fn put_pointer(attr: &mut Attr, at: usize, pointer: *mut u8) {
    let halves = (pointer as u64).to_ne_bytes();
    attr[at] = u32::from_ne_bytes(halves[..4].try_into().expect("four bytes"));
    attr[at + 1] = u32::from_ne_bytes(halves[4..].try_into().expect("four bytes"));
}

/// `attr` is aligned for its 64-bit members by `Aligned`.
fn bpf(command: i32, attr: &mut Attr) -> io::Result<i32> {
    #[repr(C, align(8))]
    struct Aligned(Attr);
    let mut aligned = Aligned(*attr);
    // SAFETY: the attributes are initialised bytes, zero where unused, and each pointer in
    // them leads to a live buffer of the size that the command expects.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut aligned, size_of::<Attr>()) };
    *attr = aligned.0;
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(rc as i32)
}

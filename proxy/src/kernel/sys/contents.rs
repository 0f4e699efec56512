//! What a map holds, all of it.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{Pod, maps::IterableMap};

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
/// For hashes since Linux 5.6, for tries since 5.13.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// Entries that are asked for at once.
const BATCH: usize = 4096;

/// The members of `union bpf_attr` for BPF_MAP_LOOKUP_BATCH.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The members of `union bpf_attr` for BPF_MAP_LOOKUP_ELEM.
#[repr(C)]
struct LookupAttr {
    map_fd: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Every entry of a hash or a trie.
///
/// # Errors
/// More than it has room for, because somebody else writes to it meanwhile; or the kernel's.
pub fn contents<K: Pod, V: Pod>(map: &impl IterableMap<K, V>) -> io::Result<Vec<(K, V)>> {
    let map = map.map();
    let info = map.info().map_err(io::Error::other)?;
    if (info.key_size() as usize, info.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
        return Err(io::Error::other("its entries are of another size"));
    }
    let mut all = Vec::new();
    // What the kernel goes on from: for tries a key, for hashes the number of a bucket.
    let mut from = vec![0_u8; size_of::<K>().max(size_of::<u32>())];
    let mut next = from.clone();
    let mut keys = vec![MaybeUninit::<K>::uninit(); BATCH];
    let mut values = vec![MaybeUninit::<V>::uninit(); BATCH];
    let mut is_first = true;
    loop {
        let mut attr = BatchAttr {
            in_batch: if is_first { 0 } else { from.as_ptr() as u64 },
            out_batch: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: map.fd().as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: `attr` is laid out as the kernel reads it and its size is passed. `keys` and
        // `values` have room for `count` of what the map was just seen to hold, `in_batch` and
        // `out_batch` for a key; all live through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                &raw mut attr,
                size_of::<BatchAttr>(),
            )
        };
        let is_last = match result {
            0 => false,
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOENT) => true,
                error => return Err(error),
            },
        };
        let found = keys.iter().zip(&values).take(attr.count as usize);
        // SAFETY: the kernel has written the first `count` of both, whose types take any bytes.
        all.extend(found.map(|(key, value)| unsafe { (key.assume_init(), value.assume_init()) }));
        if is_last {
            return Ok(all);
        }
        if all.len() > info.max_entries() as usize {
            return Err(io::Error::other("it changes while it is read"));
        }
        std::mem::swap(&mut from, &mut next);
        is_first = false;
    }
}

/// Id of the map that stands in an array of maps.
///
/// # Errors
/// ENOENT where none does.
pub fn id_of_inner(outer: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    let mut id = 0_u32;
    let mut attr = LookupAttr {
        map_fd: outer.as_raw_fd() as u32,
        zero: 0,
        key: (&raw const index) as u64,
        value: (&raw mut id) as u64,
        flags: 0,
    };
    // SAFETY: `attr` is laid out as the kernel reads it and its size is passed; key and value of an
    // array of maps are words, which live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_ELEM,
            &raw mut attr,
            size_of::<LookupAttr>(),
        )
    };
    match result {
        0 => Ok(id),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Which of the executables that selections name the current task runs.
//!
//! The kernel knows it in the moment of connect(): there is no table of processes that an exec could
//! be ahead of. The names are read as `d_path()` (fs/d_path.c) reads them, from the file upwards, and
//! no lock is taken: whoever can move a part of the path meanwhile may as well write there. A file
//! that was replaced or deleted keeps its name.
//!
//! The name that is looked up lies on the stack: programs can be preempted, and a map for each CPU
//! would be overwritten by the next task's.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated as helpers;
use sidetrack_abi::executable::{
    EXECUTABLE_MOUNTS, EXECUTABLE_NAMES, ExecutableKey, ExecutableLayout, ExecutableStep,
    NAME_BYTES, NO_EXECUTABLE,
};

use super::maps::RuleSet;

/// Set when this is loaded; zeros if it is not known.
#[unsafe(no_mangle)]
static EXECUTABLE_LAYOUT: ExecutableLayout = ExecutableLayout {
    task_mm: 0,
    task_cred: 0,
    mm_file: 0,
    file_dentry: 0,
    file_mount: 0,
    dentry_parent: 0,
    dentry_name: 0,
    mount_inner: 0,
    mount_root: 0,
    mount_parent: 0,
    mount_point: 0,
    mount_namespace: 0,
    namespace_owner: 0,
    cred_owner: 0,
    owner_number: 0,
    own_number: 0,
};

/// A member of the layout.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: read-only data; volatile, or the compiler would take the zeros above for its values.
        u64::from(unsafe { core::ptr::read_volatile(&raw const EXECUTABLE_LAYOUT.$member) })
    };
}

/// The number of the current task's executable, or [`NO_EXECUTABLE`].
#[inline(always)]
pub(super) fn number(set: RuleSet) -> u32 {
    st_executable(set.index())
}

/// [`number`], with a stack of its own, of the rule set with this index.
///
/// The verifier follows a function into which a program calls anew from each state of the caller. One
/// that is global to the kernel, by its name and by what the object's BTF says of it, is verified
/// once, for any argument; it can take and give numbers only.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn st_executable(set: u32) -> u32 {
    let set = RuleSet::at(set);
    if offset!(task_mm) == 0 {
        return NO_EXECUTABLE;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { helpers::bpf_get_current_task() };
    // Threads of the kernel have no memory of their own, and it is no address then.
    let file = pointer(pointer(task + offset!(task_mm)) + offset!(mm_file));
    let mut dentry = pointer(file + offset!(file_dentry));
    let mut mount = pointer(file + offset!(file_mount)).wrapping_sub(offset!(mount_inner));
    let first = mount;
    let mut found = ExecutableStep {
        next: 0,
        number: NO_EXECUTABLE,
    };
    let mut turn = 0;
    while turn < EXECUTABLE_NAMES + EXECUTABLE_MOUNTS {
        turn += 1;
        if dentry == pointer(mount + offset!(mount_root)) {
            let parent = pointer(mount + offset!(mount_parent));
            if parent == mount {
                return match found.number != NO_EXECUTABLE && is_trusted(task, first) {
                    true => found.number,
                    false => NO_EXECUTABLE,
                };
            }
            dentry = pointer(mount + offset!(mount_point));
            mount = parent;
            continue;
        }
        match step(set, found.next, dentry) {
            Some(next) => found = next,
            None => return NO_EXECUTABLE,
        }
        dentry = pointer(dentry + offset!(dentry_parent));
    }
    NO_EXECUTABLE
}

/// Where the name of `dentry` leads.
#[inline(always)]
fn step(set: RuleSet, state: u32, dentry: u64) -> Option<ExecutableStep> {
    let mut key = MaybeUninit::uninit();
    let key = zeroed(&mut key);
    key.state = state;
    let name = pointer(dentry + offset!(dentry_name));
    // SAFETY: the helper checks the address, and writes no more than the name's bytes.
    let length = unsafe {
        helpers::bpf_probe_read_kernel_str(
            (&raw mut key.name).cast(),
            NAME_BYTES as u32,
            name as *const _,
        )
    };
    // With its zero; what fills all of it may have been cut off.
    if length <= 1 || length >= NAME_BYTES as i64 {
        return None;
    }
    set.executable_step(key)
}

/// Fills a key with zeros, word by word. The compiler's own way is a loop over the bytes, which takes
/// longer than all else of a step, and the verifier as well.
#[inline(always)]
fn zeroed(key: &mut MaybeUninit<ExecutableKey>) -> &mut ExecutableKey {
    let words = key.as_mut_ptr().cast::<u64>();
    let mut word = 0;
    while word < size_of::<ExecutableKey>() / size_of::<u64>() {
        // SAFETY: within the key, and aligned as it is; volatile, or the loop over bytes would be back.
        unsafe { words.add(word).write_volatile(0) };
        word += 1;
    }
    // SAFETY: made of integers, all of which are written.
    unsafe { key.assume_init_mut() }
}

/// Whether a path says what it seems to. In a user namespace of their own anybody may mount over any
/// path, and have a process pass for any executable that they may start (PR_SET_MM_MAP). The latter
/// also for one outside that shares its memory (CLONE_VM). Of most executables that is no more than to
/// start them and have them do what one likes. Of those that are set-uid or set-gid or have capabilities
/// it is more, since they heed neither LD_PRELOAD nor a debugger: whoever may make user namespaces
/// passes for them here without what they ask of those who start them.
#[inline(always)]
fn is_trusted(task: u64, mount: u64) -> bool {
    let user = pointer(pointer(task + offset!(task_cred)) + offset!(cred_owner));
    let owner = pointer(pointer(mount + offset!(mount_namespace)) + offset!(namespace_owner));
    let mut number = 0_u32;
    read(user + offset!(owner_number), &mut number);
    user != 0 && user == owner && u64::from(number) == offset!(own_number)
}

/// What the kernel's memory holds at an address; 0 if it cannot be read.
#[inline(always)]
fn pointer(at: u64) -> u64 {
    let mut value = 0_u64;
    read(at, &mut value);
    value
}

#[inline(always)]
fn read<T>(at: u64, value: &mut T) {
    // SAFETY: the helper checks the address, and writes as many bytes as `value` has, all of which
    // any bytes are fit for: it is an integer here.
    unsafe {
        helpers::bpf_probe_read_kernel(
            core::ptr::from_mut(value).cast(),
            size_of::<T>() as u32,
            at as *const _,
        );
    }
}

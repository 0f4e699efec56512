//! The system calls that no crate wraps.
#![expect(unsafe_code, reason = "raw system calls, one function each")]

use std::{
    fs::File,
    io,
    mem::{size_of, size_of_val},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd as _},
        unix::net::UnixDatagram,
    },
    sync::Arc,
};

use aya::maps::{MapData, RingBuf};
use nix::errno::Errno;
use sidetrack_abi::event::Refused;
use tokio::io::{Interest, unix::AsyncFd};

use super::cgroup::watch::Watch;

pub mod contents;
pub mod link;

/// include/uapi/asm-generic/socket.h, since Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;
/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_PROG_QUERY: libc::c_long = 16;
/// Asks for what takes effect and not only for what is attached at the very place.
const BPF_F_QUERY_EFFECTIVE: u32 = 1;
/// More programs than the kernel allows at one place (BPF_CGROUP_MAX_PROGS is 64).
const MAX_PROGRAMS: usize = 128;

/// Cookie of this thread's network namespace, as `bpf_get_netns_cookie()` gives it.
///
/// # Errors
/// ENOPROTOOPT before Linux 5.14.
pub fn netns_cookie() -> io::Result<u64> {
    // Any socket will do: the option tells of its namespace. This kind needs no address there.
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0_u64;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: the pointers are to a u64 and to its length, both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes no data in the SYN at a listener, whatever net.ipv4.tcp_fastopen makes the default of: its
/// sender has not shown that its address is its own.
///
/// # Errors
/// ENOPROTOOPT from a kernel that does not have it, for which there is nothing to refuse.
pub fn refuse_fast_open(listener: &impl AsRawFd) -> io::Result<()> {
    let none: libc::c_int = 0;
    // SAFETY: the kernel reads an int from `none`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN,
            (&raw const none).cast(),
            size_of_val(&none) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Commands of bpf(2) whose arguments begin with a descriptor: `enum bpf_cmd`,
/// include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub enum BpfCommand {
    /// BPF_OBJ_GET_INFO_BY_FD
    GetInfo = 15,
    /// BPF_LINK_CREATE, since Linux 5.7.
    CreateLink = 28,
}

/// What the kernel answers to `command` on a descriptor that is of nothing. It has no effect.
///
/// EBADF or EBADFD from a kernel that knows the command, EINVAL from one that does not, ENOSYS
/// from one without bpf(2), EPERM to those who may not ask.
pub fn answer_without_object(command: BpfCommand) -> Errno {
    #[repr(C, align(8))]
    struct Attr {
        fd: i32,
        rest: [u32; 3],
    }
    let mut attr = Attr {
        fd: -1,
        rest: [0; 3],
    };
    // SAFETY: `attr` is 16 initialised bytes and its size is passed; the kernel takes the rest of
    // its own structure for zero. No member is followed as a pointer before the descriptor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            &raw mut attr,
            size_of::<Attr>(),
        )
    };
    if result < 0 {
        Errno::last()
    } else {
        // Not on any kernel: nothing is at descriptor -1.
        Errno::UnknownErrno
    }
}

/// The members of `union bpf_attr` for BPF_PROG_QUERY, up to the last one that is used.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    zero: u32,
}

/// Ids of the programs that take effect at a cgroup (or are attached to a network namespace), in
/// the order in which they run.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN; EINVAL for an attach type that the kernel does not have.
pub fn query_programs(
    target: BorrowedFd<'_>,
    attach_type: u32,
    cgroup: bool,
) -> io::Result<Vec<u32>> {
    let flags = if cgroup { BPF_F_QUERY_EFFECTIVE } else { 0 };
    query(target, attach_type, flags).map(|(ids, _)| ids)
}

/// Ids of the programs that are attached at a place itself, and the `BPF_F_ALLOW_*` that they are
/// attached with.
///
/// # Errors
/// As [`query_programs`].
pub fn query_attached(target: BorrowedFd<'_>, attach_type: u32) -> io::Result<(Vec<u32>, u32)> {
    query(target, attach_type, 0)
}

fn query(
    target: BorrowedFd<'_>,
    attach_type: u32,
    query_flags: u32,
) -> io::Result<(Vec<u32>, u32)> {
    let mut ids = [0_u32; MAX_PROGRAMS];
    let mut attr = QueryAttr {
        target_fd: target.as_raw_fd() as u32,
        attach_type,
        query_flags,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_count: MAX_PROGRAMS as u32,
        ..QueryAttr::default()
    };
    // SAFETY: `attr` is laid out as the kernel reads it, its size is passed, and `prog_ids`
    // points to `prog_count` words that live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut attr,
            size_of::<QueryAttr>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let ids = ids.into_iter().take(attr.prog_count as usize).collect();
    Ok((ids, attr.attach_flags))
}

/// Copies a refusal out of a ring buffer record; absent if the record is shorter.
pub fn read_refused(record: &[u8]) -> Option<Refused> {
    if record.len() < size_of::<Refused>() {
        return None;
    }
    // SAFETY: long enough, every bit pattern is a valid value, and the read needs no alignment.
    Some(unsafe { record.as_ptr().cast::<Refused>().read_unaligned() })
}

/// Waits for a ring buffer with the runtime of this task.
///
/// # Errors
/// If the runtime cannot register the descriptor.
pub fn watch_ring(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring buffer owns its descriptor, never replaces it, and closes it only when it
    // is dropped, which AsyncFd does after it has deregistered it.
    unsafe { AsyncFd::register(ring) }.map_err(Into::into)
}

/// Waits for an inotify instance with the runtime of this task.
///
/// # Errors
/// If the runtime cannot register the descriptor.
pub fn watch_cgroups(watch: Arc<Watch>) -> io::Result<AsyncFd<Arc<Watch>>> {
    // SAFETY: a watch owns its descriptor, never replaces it, and closes it only when the last
    // reference is dropped, of which AsyncFd keeps one until it has deregistered it.
    unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) }.map_err(Into::into)
}

/// Waits, with the runtime of this task, for a mount to appear or go: /proc/self/mountinfo is then
/// marked as urgent.
///
/// # Errors
/// If the runtime cannot register the descriptor.
pub fn watch_mounts(mountinfo: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a file owns its descriptor, never replaces it, and closes it only when it is dropped,
    // which AsyncFd does after it has deregistered it.
    unsafe { AsyncFd::register_with_interest(mountinfo, Interest::PRIORITY) }.map_err(Into::into)
}

/// The user namespace that owns another namespace: in it are those who may change that.
///
/// # Errors
/// EPERM if it is outside this process's own.
pub fn owner_of_namespace(namespace: &File) -> io::Result<File> {
    /// `NS_GET_USERNS`, include/uapi/linux/nsfs.h.
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the ioctl takes no argument.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has made this descriptor for us, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(result) })
}

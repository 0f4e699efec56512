//! BPF links and pins: aya 0.14 can neither replace the program of a cgroup's link nor say which
//! cgroup a link is at.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `enum bpf_link_type`.
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_NETNS: u32 = 5;

/// Where a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// At a cgroup; id 0 once that is gone.
    Cgroup {
        /// The cgroup's id.
        id: u64,
        /// `enum bpf_attach_type`.
        attach_type: u32,
    },
    /// At a network namespace; inode 0 once that is gone.
    Netns {
        /// Inode of the namespace.
        inode: u64,
        /// `enum bpf_attach_type`.
        attach_type: u32,
    },
    /// Of a kind that is not ours.
    Other,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its id.
    pub id: u32,
    /// Id of the program that it runs.
    pub program: u32,
    /// Where it is.
    pub target: LinkTarget,
}

/// Makes a link of `program` at `target`; it ends when the last descriptor and pin of it is gone.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, or if a cgroup above allows nobody beside its own program.
pub fn create_link(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: i32,
        target: i32,
        attach_type: u32,
        flags: u32,
    }
    let attr = Attr {
        program: program.as_raw_fd(),
        target: target.as_raw_fd(),
        attach_type,
        // Links at cgroups always let others attach beside them.
        flags: 0,
    };
    // SAFETY: the attributes hold no pointer.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &attr) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts `program` in the place of the link's own: no event is run by neither or by both
/// (`cgroup_bpf_replace()`, kernel/bpf/cgroup.c; `bpf_netns_link_update_prog()`,
/// kernel/bpf/net_namespace.c).
///
/// # Errors
/// ENOLINK if what the link is at is gone.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link: i32,
        program: i32,
        flags: u32,
        old_program: u32,
    }
    let attr = Attr {
        link: link.as_raw_fd(),
        program: program.as_raw_fd(),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: the attributes hold no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &attr) }.map(drop)
}

/// Ends a link, whoever else holds it. When the last descriptor and pin of one goes, a worker of the
/// kernel ends it, some time later (`bpf_link_put()`, kernel/bpf/syscall.c).
///
/// # Errors
/// EOPNOTSUPP before Linux 5.9.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let attr = link.as_raw_fd();
    // SAFETY: the one attribute is the descriptor; there is no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &attr) }.map(drop)
}

/// What a link runs, and where.
///
/// # Errors
/// EINVAL if the descriptor is of something else than a BPF object.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    /// The beginning of `struct bpf_link_info`; what a newer kernel has beyond it is not copied.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        zero: u32,
        first: u64,
        second: u32,
        rest: u32,
    }
    #[repr(C)]
    struct Attr {
        fd: i32,
        length: u32,
        info: u64,
    }
    let mut info = Info::default();
    let attr = Attr {
        fd: link.as_raw_fd(),
        length: size_of::<Info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` leads to `length` writable bytes that live through the call, and every bit
    // pattern is a valid value of them.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) }?;
    let target = match info.kind {
        BPF_LINK_TYPE_CGROUP => LinkTarget::Cgroup {
            id: info.first,
            attach_type: info.second,
        },
        // Two words of 32 bits: the inode, then the attach type.
        BPF_LINK_TYPE_NETNS => {
            let words = info.first.to_ne_bytes();
            let word = |at: usize| {
                words
                    .get(at..at + 4)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map_or(0, u32::from_ne_bytes)
            };
            LinkTarget::Netns {
                inode: u64::from(word(0)),
                attach_type: word(4),
            }
        }
        _ => LinkTarget::Other,
    };
    Ok(LinkInfo {
        id: info.id,
        program: info.program,
        target,
    })
}

#[repr(C)]
struct PinAttr {
    path: u64,
    fd: i32,
    flags: u32,
}

/// Gives a BPF object a name in a bpf file system, which keeps it alive.
///
/// # Errors
/// EEXIST if there is one of that name; EPERM for a dot in it.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = PinAttr {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd(),
        flags: 0,
    };
    // SAFETY: `path` leads to a text with its terminating zero, which lives through the call.
    unsafe { bpf(BPF_OBJ_PIN, &attr) }.map(drop)
}

/// Opens what is pinned at `path`.
///
/// # Errors
/// ENOENT if nothing is.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = PinAttr {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: as for `pin`.
    let fd = unsafe { bpf(BPF_OBJ_GET, &attr) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attr` is laid out as the beginning of the members of `union bpf_attr` for `command`, and what
/// it points to is valid for what the command does with it.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: initialised bytes and their size; the kernel takes the rest of its own union for
    // zero. The caller answers for the pointers in it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}

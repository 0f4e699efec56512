//! Programs of another tool.

use std::{
    fs::File,
    net::SocketAddrV4,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use super::{Attr, bpf, put_pointer};

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;

const CGROUP_SOCK_ADDR: u32 = 18;
const CONNECT4: u32 = 10;
const SK_LOOKUP_TYPE: u32 = 30;
const SK_LOOKUP: u32 = 36;

/// BPF_F_ALLOW_OVERRIDE
const ALLOW_OVERRIDE: u32 = 1;
/// BPF_F_ALLOW_MULTI
const ALLOW_MULTI: u32 = 2;

const RETURN_1: [u64; 2] = [
    // r0 = 1; exit
    instruction(0xb7, 0x00, 0, 1),
    instruction(0x95, 0x00, 0, 0),
];

/// Offsets in `struct bpf_sock_addr`.
const USER_IP4: u16 = 4;
const USER_PORT: u16 = 24;

const fn instruction(code: u8, registers: u8, offset: u16, immediate: u32) -> u64 {
    code as u64 | (registers as u64) << 8 | (offset as u64) << 16 | (immediate as u64) << 32
}

/// A connect4 program of somebody else's, detached on drop.
pub struct Foreign {
    cgroup: File,
    program: OwnedFd,
}

impl Foreign {
    /// One that lets every connect() pass, attached to the cgroup at `path` without
    /// BPF_F_ALLOW_MULTI: whoever attaches another there gets EPERM.
    #[track_caller]
    pub fn exclusive(path: &Path) -> Self {
        Self::attach(path, &RETURN_1, 0)
    }

    /// One that sends every connect() to `address`, with BPF_F_ALLOW_OVERRIDE: whoever attaches
    /// another below has that run in its place.
    #[track_caller]
    pub fn overridable(path: &Path, address: SocketAddrV4) -> Self {
        Self::attach(path, &sending_to(address), ALLOW_OVERRIDE)
    }

    /// One that lets every connect() pass, after those that are there.
    #[track_caller]
    pub fn passing(path: &Path) -> Self {
        Self::attach(path, &RETURN_1, ALLOW_MULTI)
    }

    /// One that sends every connect() to `address`, after those that are there.
    #[track_caller]
    pub fn rewriting(path: &Path, address: SocketAddrV4) -> Self {
        Self::attach(path, &sending_to(address), ALLOW_MULTI)
    }

    fn attach(path: &Path, instructions: &[u64], flags: u32) -> Self {
        let program = load(instructions, (CGROUP_SOCK_ADDR, CONNECT4));
        let cgroup = File::open(path).expect("open a cgroup");
        let mut attr = Attr::default();
        attr[0] = cgroup.as_raw_fd() as u32;
        attr[1] = program.as_raw_fd() as u32;
        attr[2] = CONNECT4;
        attr[3] = flags;
        bpf(PROG_ATTACH, &mut attr).expect("attach a program");
        Self { cgroup, program }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let mut attr = Attr::default();
        attr[0] = self.cgroup.as_raw_fd() as u32;
        attr[1] = self.program.as_raw_fd() as u32;
        attr[2] = CONNECT4;
        let _ = bpf(PROG_DETACH, &mut attr);
    }
}

fn sending_to(address: SocketAddrV4) -> Vec<u64> {
    let ip = u32::from_ne_bytes(address.ip().octets());
    let port = u32::from(address.port().to_be());
    let mut program = vec![
        // r2 = ip; *(u32 *)(r1 + USER_IP4) = r2
        instruction(0xb7, 0x02, 0, ip),
        instruction(0x63, 0x21, USER_IP4, 0),
        instruction(0xb7, 0x02, 0, port),
        instruction(0x63, 0x21, USER_PORT, 0),
    ];
    program.extend(RETURN_1);
    program
}

/// Puts a program that lets every connect() pass into the pinned link of another.
#[track_caller]
pub fn run_another_in(link: &Path) {
    let link = super::open_pinned(link);
    let program = load(&RETURN_1, (CGROUP_SOCK_ADDR, CONNECT4));
    let mut attr = Attr::default();
    attr[0] = link.as_raw_fd() as u32;
    attr[1] = program.as_raw_fd() as u32;
    bpf(LINK_UPDATE, &mut attr).expect("update a link");
}

/// Attaches an sk_lookup program that lets everything pass to the network namespace at `path`, for as long
/// as the link is held.
#[track_caller]
pub fn looking_up(path: &str) -> OwnedFd {
    let program = load(&RETURN_1, (SK_LOOKUP_TYPE, SK_LOOKUP));
    let namespace = File::open(path).expect("open a network namespace");
    let mut attr = Attr::default();
    attr[0] = program.as_raw_fd() as u32;
    attr[1] = namespace.as_raw_fd() as u32;
    attr[2] = SK_LOOKUP;
    let fd = bpf(LINK_CREATE, &mut attr).expect("attach to a network namespace");
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn load(instructions: &[u64], (kind, attach_type): (u32, u32)) -> OwnedFd {
    let mut attr = Attr::default();
    (attr[0], attr[1]) = (kind, instructions.len() as u32);
    put_pointer(&mut attr, 2, instructions.as_ptr().cast_mut().cast());
    put_pointer(&mut attr, 4, c"GPL".as_ptr().cast_mut().cast());
    let mut name = [0_u8; 16];
    name[..7].copy_from_slice(b"foreign");
    for (word, bytes) in attr[12..16].iter_mut().zip(name.chunks(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    }
    // expected_attach_type
    attr[17] = attach_type;
    let fd = bpf(PROG_LOAD, &mut attr).expect("load a program");
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

//! A program of another tool that lets nobody beside it.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use super::{Attr, bpf, put_pointer};

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;

const CGROUP_SOCK_ADDR: u32 = 18;
const CONNECT4: u32 = 10;

/// Lets every connect() pass: `r0 = 1; exit`.
const PASS: [u64; 2] = [
    u64::from_le_bytes([0xb7, 0, 0, 0, 1, 0, 0, 0]),
    u64::from_le_bytes([0x95, 0, 0, 0, 0, 0, 0, 0]),
];

/// A connect4 program, attached without BPF_F_ALLOW_MULTI: whoever attaches another at the same
/// cgroup gets EPERM. Detached on drop.
pub struct Exclusive {
    cgroup: File,
    _program: OwnedFd,
}

impl Exclusive {
    /// Attaches one to the cgroup at `path`.
    #[track_caller]
    pub fn connect4(path: &Path) -> Self {
        let mut attr = Attr::default();
        (attr[0], attr[1]) = (CGROUP_SOCK_ADDR, PASS.len() as u32);
        put_pointer(&mut attr, 2, PASS.as_ptr().cast_mut().cast());
        put_pointer(&mut attr, 4, c"GPL".as_ptr().cast_mut().cast());
        // expected_attach_type
        attr[17] = CONNECT4;
        let fd = bpf(PROG_LOAD, &mut attr).expect("load a program");
        // SAFETY: the kernel has just made this descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        let cgroup = File::open(path).expect("open a cgroup");
        let mut attr = Attr::default();
        attr[0] = cgroup.as_raw_fd() as u32;
        attr[1] = program.as_raw_fd() as u32;
        attr[2] = CONNECT4;
        bpf(PROG_ATTACH, &mut attr).expect("attach a program");
        Self {
            cgroup,
            _program: program,
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let mut attr = Attr::default();
        attr[0] = self.cgroup.as_raw_fd() as u32;
        attr[2] = CONNECT4;
        let _ = bpf(PROG_DETACH, &mut attr);
    }
}

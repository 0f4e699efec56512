//! A kernel that lacks one command of bpf(2), by seccomp.
#![expect(unsafe_code, reason = "prctl(2) takes a filter by pointer")]

use std::{os::unix::process::CommandExt, process::Command};

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JEQ: u16 = 0x15;
const BPF_RET: u16 = 0x06;
/// Offsets into `struct seccomp_data`: the call's number, and the low half of its first argument
/// on a little-endian host.
const SYSCALL: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

/// See [`crate::Peer::OldKernel`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command of bpf(2) that fails; absent is every one.
    #[arg(long)]
    command: Option<u32>,
    /// What it fails with.
    #[arg(long)]
    errno: u32,
    #[arg(last = true, required = true)]
    run: Vec<String>,
}

pub(crate) fn run(args: &Args) {
    let statement = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let unless = |k, jf| libc::sock_filter {
        code: BPF_JEQ,
        jt: 0,
        jf,
        k,
    };
    let fail = statement(BPF_RET, libc::SECCOMP_RET_ERRNO | args.errno);
    let allow = statement(BPF_RET, libc::SECCOMP_RET_ALLOW);
    let mut filter = vec![statement(BPF_LD_W_ABS, SYSCALL)];
    match args.command {
        Some(command) => filter.extend([
            unless(libc::SYS_bpf as u32, 3),
            statement(BPF_LD_W_ABS, FIRST_ARGUMENT),
            unless(command, 1),
            fail,
            allow,
        ]),
        None => filter.extend([unless(libc::SYS_bpf as u32, 1), fail, allow]),
    }
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the arguments are numbers.
    let rc = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(rc, 0, "set no_new_privs");
    // SAFETY: `program` points to `filter`, which outlives the call; the kernel copies both.
    let rc = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(
        rc,
        0,
        "install the filter: {}",
        std::io::Error::last_os_error()
    );
    let error = Command::new(&args.run[0]).args(&args.run[1..]).exec();
    panic!("run {}: {error}", args.run[0]);
}

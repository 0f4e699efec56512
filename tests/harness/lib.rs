//! What the tests against the real kernel stand on: two hosts made of network namespaces and
//! cgroups, the real binary, real applications, a capture of the wire.
//!
//! Everything made here is a guard: it owns what it made, undoes it on drop and does not panic in
//! a panic. Names carry the process id and a counter, so that runs do not meet.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test says what broke by panicking"
)]

pub mod beyond;
pub mod bpf;
pub mod capture;
pub mod cgroup;
pub mod clients;
pub mod daemon;
pub mod host;
pub mod http;
pub mod lacking;
pub mod load;
pub mod mesh;
pub mod nat;
pub mod netns;
pub mod openssl;
pub mod peer;
pub mod pins;
pub mod pki;
pub mod podman;
pub mod process;
pub mod proxies;
pub mod record;
pub mod rules;
pub mod selected;
pub mod status;
pub mod wait;
pub mod web;
pub mod webserver;

use std::path::PathBuf;

pub use beyond::Beyond;
pub use capture::Capture;
pub use daemon::Daemon;
pub use host::{Host, World};
pub use load::load;
pub use mesh::Mesh;
pub use nat::Nat;
pub use pki::{Credential, Flaw, SHORT_LIFE};
pub use process::{Finished, Running};
pub use record::Record;
pub use status::Status;
pub use wait::{holds, holds_within, until};

/// The binary under test.
pub fn sidetrack_bin() -> PathBuf {
    let path = std::env::var_os("SIDETRACK_BIN").map(PathBuf::from);
    match path {
        Some(path) if path.is_absolute() && path.is_file() => path,
        Some(path) => panic!(
            "SIDETRACK_BIN={} is not the absolute path of a file: run cargo xtask test",
            path.display()
        ),
        None => panic!("SIDETRACK_BIN is not set: run cargo xtask test, which builds and sets it"),
    }
}

/// Explains at once what a privileged test lacks.
pub fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces and cgroups and loads BPF programs: run cargo xtask test as root"
    );
}

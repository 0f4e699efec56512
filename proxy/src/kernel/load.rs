//! Loading the programs: verified by the kernel, attached nowhere.

use std::{io, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        CgroupSockAddr, CgroupSockopt, Program, ProgramError, ProgramType, SkLookup, SockOps,
    },
    sys::{BpfHelper, is_helper_supported},
};
use sidetrack_abi::{
    executable::ExecutableLayout,
    names::{global, map, program},
};

use super::{
    btf::{self, SocketLayout},
    maps::Maps,
    object,
    pins::{PinError, Pins},
};

/// Why the kernel side could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// See [`object::Missing`].
    #[error(transparent)]
    NoObject(#[from] object::Missing),
    /// The namespace has no cookie.
    #[error("reading the cookie of the network namespace: {0}; it needs Linux 5.14")]
    Netns(io::Error),
    /// No cgroup2 hierarchy.
    #[error("{0}")]
    Cgroup2(String),
    /// The object or its maps.
    #[error(
        "loading the BPF object: {0}; it needs Linux 5.15, CAP_BPF and CAP_NET_ADMIN \
         (`sidetrack doctor` tells which is missing)"
    )]
    Object(#[source] Box<aya::EbpfError>),
    /// The pins of the instance.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// A map of the object.
    #[error("the BPF object's maps: {0}; the object and this binary are of different builds")]
    Maps(#[from] aya::maps::MapError),
    /// A program was rejected.
    #[error(
        "the kernel rejected the program {name}: {source}; it needs Linux 5.15, CAP_BPF and \
         CAP_NET_ADMIN (`sidetrack doctor` tells which is missing)"
    )]
    Program {
        /// The program.
        name: &'static str,
        /// With the verifier's words.
        source: Box<ProgramError>,
    },
    /// The object lacks a program.
    #[error(
        "the BPF object has no program {0}; the object and this binary are of different builds"
    )]
    NoProgram(&'static str),
}

/// The loaded programs.
pub(super) struct Programs {
    pub(super) bpf: Ebpf,
    /// Why they cannot tell executables apart, if they cannot.
    pub(super) no_executables: Option<String>,
}

/// Maps that are pinned already are used as they are; what is not is made, and pinned.
pub(super) fn load(netns: u64, pins: Option<&Pins>) -> Result<(Programs, Maps), LoadError> {
    let (executables, no_executables) = match knows_executables() {
        Ok(layout) => (layout, None),
        // Only rules that ask for them need it, and are refused without.
        Err(why) => (ExecutableLayout::default(), Some(why)),
    };
    let mut bpf = open(netns, pins, (kernel_sockets(), executables))?;
    #[cfg(feature = "bpf-log")]
    super::log::start(&mut bpf);
    for name in program::ALL {
        verify(&mut bpf, name)?;
    }
    let mount = cgroup2_mount()?;
    let maps = Maps::take(&mut bpf, mount)?;
    tracing::info!(
        sha256 = object::SHA256,
        bytes = object::embedded()?.len(),
        "BPF object loaded"
    );
    Ok((
        Programs {
            bpf,
            no_executables,
        },
        maps,
    ))
}

/// One more sk_lookup, for another network namespace, on the maps that are pinned.
pub(super) fn load_steering(netns: u64, pins: &Pins) -> Result<Ebpf, LoadError> {
    // It reads nothing of the kernel's.
    let mut bpf = open(netns, Some(pins), Default::default())?;
    verify(&mut bpf, program::SK_LOOKUP)?;
    Ok(bpf)
}

fn open(
    netns: u64,
    pins: Option<&Pins>,
    (sockets, executables): (SocketLayout, ExecutableLayout),
) -> Result<Ebpf, LoadError> {
    let object = object::embedded()?;
    // Where the question fails, loading will too, and says more.
    let set_retval = u32::from(has_set_retval().unwrap_or(true));
    let mut loader = EbpfLoader::new();
    // No relocation is needed, and a kernel without its BTF is served as well.
    loader
        .btf(None)
        .override_global(global::NETNS_COOKIE, &netns, true)
        .override_global(global::HAS_SET_RETVAL, &set_retval, true)
        .override_global(global::KERN_SOCK_BYTE, &sockets.kern_sock_byte, true)
        .override_global(global::KERN_SOCK_BIT, &sockets.kern_sock_bit, true)
        .override_global(global::EXECUTABLE_LAYOUT, &executables, true)
        .override_global(global::IS_MPTCP_BYTE, &sockets.is_mptcp_byte, true);
    if let Some(pins) = pins {
        pins.make_maps()?;
        for name in map::ALL {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    loader
        .load(object)
        .map_err(|error| LoadError::Object(Box::new(error)))
}

fn verify(bpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let loaded = match bpf.program_mut(name).ok_or(LoadError::NoProgram(name))? {
        Program::CgroupSockAddr(program) => CgroupSockAddr::load(program),
        Program::CgroupSockopt(program) => CgroupSockopt::load(program),
        Program::SockOps(program) => SockOps::load(program),
        Program::SkLookup(program) => SkLookup::load(program),
        _ => return Err(LoadError::NoProgram(name)),
    };
    loaded.map_err(|source| LoadError::Program {
        name,
        source: Box::new(source),
    })
}

/// Whether a program may choose the errno of a connect() that it fails (Linux 5.18).
pub(super) fn has_set_retval() -> Result<bool, ProgramError> {
    is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval)
}

/// Where programs find out that a socket is the kernel's own; nowhere, if they cannot.
fn kernel_sockets() -> SocketLayout {
    let layout = knows_kernel_sockets();
    layout.unwrap_or_else(|why| {
        tracing::warn!(
            "connections of the kernel's own (NFS, SMB, Ceph) are not told from those of \
             applications, {why}: exclude their servers by exclude_to"
        );
        SocketLayout::default()
    })
}

/// Whether programs can tell the kernel's own sockets from those of applications, and where; else
/// why not.
pub(super) fn knows_kernel_sockets() -> Result<SocketLayout, String> {
    have(&[
        BpfHelper::BPF_FUNC_skc_to_tcp_sock,
        BpfHelper::BPF_FUNC_probe_read_kernel,
    ])?;
    SocketLayout::of_kernel().map_err(|error| no_btf(&error))
}

/// Whether programs can tell which executable a task runs, and how; else why not.
pub(super) fn knows_executables() -> Result<ExecutableLayout, String> {
    have(&[
        BpfHelper::BPF_FUNC_get_current_task,
        BpfHelper::BPF_FUNC_probe_read_kernel,
        BpfHelper::BPF_FUNC_probe_read_kernel_str,
    ])?;
    btf::executable_layout().map_err(|error| no_btf(&error))
}

fn have(helpers: &[BpfHelper]) -> Result<(), String> {
    for helper in helpers {
        match is_helper_supported(ProgramType::CgroupSockAddr, *helper) {
            Ok(true) => {}
            _ => {
                return Err(format!(
                    "for want of CAP_PERFMON or of {helper:?}, which lockdown=confidentiality takes \
                     away too"
                ));
            }
        }
    }
    Ok(())
}

fn no_btf(error: &io::Error) -> String {
    format!("for want of the kernel's BTF: {error}")
}

fn cgroup2_mount() -> Result<PathBuf, LoadError> {
    super::preflight::cgroup2_mount().map_err(|error| LoadError::Cgroup2(error.to_string()))
}

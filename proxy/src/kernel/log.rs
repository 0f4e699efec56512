//! Log lines of the programs, in builds for their development: the object with the feature `log`,
//! this binary with `bpf-log`. Neither is in a release.

use std::{io, os::fd::AsFd as _, thread};

use aya::Ebpf;
use aya_log::EbpfLogger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Copies the programs' lines to this process's log until it ends. To be called before the
/// programs are loaded, since they hold the map that is read.
pub(super) fn start(bpf: &mut Ebpf) {
    let mut logger = match EbpfLogger::init(bpf) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "no log of the programs; was the object built with `--log`?");
            return;
        }
    };
    let mut read = move || -> io::Result<()> {
        loop {
            poll(
                &mut [PollFd::new(logger.as_fd(), PollFlags::POLLIN)],
                PollTimeout::NONE,
            )?;
            logger.flush();
        }
    };
    let thread = thread::Builder::new().name("bpf-log".into());
    if let Err(error) = thread.spawn(move || {
        if let Err(error) = read() {
            tracing::warn!(%error, "reading the log of the programs");
        }
    }) {
        tracing::warn!(%error, "starting the reader of the programs' log");
    }
}

//! tcpdump on a host's end of the wire.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::{
    host::{DEVICE, Host, Running},
    wire::{self, Stream},
};

/// A capture that goes on.
pub(super) struct Capture {
    tcpdump: Running,
    file: PathBuf,
}

/// What a finished capture holds.
pub(super) struct Captured {
    /// The file as it is.
    pub(super) raw: Vec<u8>,
    /// Its TCP streams.
    pub(super) streams: Vec<Stream>,
}

impl Capture {
    /// Returns when tcpdump listens: packets from then on are in.
    pub(super) fn start(host: &Host<'_>) -> Result<Self> {
        let file = host.stage.folder().join("wire.pcap");
        let mut command = host.outsider("tcpdump");
        // Everything, whole, written at once; as root, since the folder is root's.
        command
            .args([
                "-i",
                DEVICE,
                "-s",
                "0",
                "-U",
                "--immediate-mode",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file);
        let mut tcpdump = Running::start(host.stage, "tcpdump", &mut command)?;
        tcpdump.wait_until("listening", |tcpdump| {
            tcpdump.errors().contains("listening on")
        })?;
        Ok(Self { tcpdump, file })
    }

    /// Ends it and reads what it wrote.
    pub(super) fn finish(mut self) -> Result<Captured> {
        self.tcpdump.stop(Signal::SIGINT);
        let raw = fs::read(&self.file)
            .with_context(|| format!("reading the capture {}", self.file.display()))?;
        let streams = wire::streams(&raw).map_err(anyhow::Error::msg)?;
        Ok(Captured { raw, streams })
    }
}

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

impl Captured {
    /// Whether every stream of it is TLS, of which some is TLS 1.3 that carried something, and none of
    /// `secrets` can be read.
    pub(super) fn is_encrypted(&self, secrets: &[&str]) -> Result<String, String> {
        for secret in secrets {
            if wire::contains(&self.raw, secret.as_bytes()) {
                return Err(format!(
                    "expected only TLS, and read {secret:?} in the capture"
                ));
            }
        }
        let (mut chose, mut carried) = (0, 0);
        for stream in &self.streams {
            let records = wire::records(&stream.bytes)
                .map_err(|error| format!("from {} to {}: {error}", stream.from, stream.to))?;
            chose += usize::from(records.chose_tls13);
            carried += records.application_data;
        }
        if chose == 0 || carried == 0 {
            return Err(format!(
                "expected TLS 1.3 that carries something, and saw {chose} handshakes and {carried} records of \
                 application data"
            ));
        }
        Ok(format!(
            "{} bytes captured: {chose} handshakes of TLS 1.3, {carried} records of application data, and \
             nothing else",
            self.raw.len()
        ))
    }
}

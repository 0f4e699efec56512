//! Two proxies of other make with mutual TLS between them, one on each host.
//!
//! Nothing intercepts: the client connects to the near one by its address, which is what these pairs
//! are fastest with. What they negotiate is the same for all of them, and what `mtls-full` and
//! `mtls-tls` negotiate: TLS 1.3, X25519, AES-128-GCM, ECDSA P-256.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    num::NonZero,
    path::PathBuf,
    thread,
};

use nix::sys::resource::{Resource, getrlimit};

use super::{Place, Proxies, ready::PORT};
use crate::{
    Trouble,
    agent::{Target, Tls},
    stage::{Certificates, Credential, Host, Process, Room, SERVER, Stage},
};

/// Where the client connects to.
pub(super) const NEAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15_010);
/// Where the near proxy does.
pub(super) const FAR: SocketAddrV4 = SocketAddrV4::new(SERVER, 8443);
/// Where the far one does.
pub(super) const APP: SocketAddrV4 = SocketAddrV4::new(SERVER, PORT);
/// The group of all their handshakes.
pub(super) const GROUP: &str = "X25519";
/// The suite of all their handshakes.
pub(super) const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// Descriptors that a process of this host can have.
pub(super) fn descriptors() -> u64 {
    const MOST: u64 = 40_000;
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard.min(MOST))
}

/// Connections that a proxy can have open, each with two of them.
pub(super) fn connections() -> u64 {
    // What it has open beside: listeners, event loops, pipes.
    const OTHERS: u64 = 500;
    descriptors().saturating_sub(OTHERS) / 2
}

/// As many threads or processes as this machine has CPUs.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Both ends of a pair, which `start` starts with what is its own.
pub(super) fn set_up(
    stage: &Stage,
    room: &Room,
    start: impl Fn(End<'_>) -> Result<Process, Trouble>,
) -> Result<Proxies, Trouble> {
    let certificates = room.certificates()?;
    let end = |host, own, side, listen: SocketAddrV4| {
        let mut process = start(End {
            host,
            own,
            certificates: &certificates,
            side,
        })?;
        process.wait_listening(listen.into())?;
        Ok::<_, Trouble>(process)
    };
    let far = end(&stage.server, &certificates.server, Side::Far, FAR)?;
    let near = end(&stage.client, &certificates.client, Side::Near, NEAR)?;
    Ok(Proxies {
        dial: Target {
            to: NEAR.into(),
            tls: None,
        },
        handshakes: Some(Target {
            to: FAR.into(),
            tls: Some(Tls {
                server_name: certificates.server.name.clone(),
                ca: certificates.ca.clone(),
                certificate: certificates.client.certificate.clone(),
                key: certificates.client.key.clone(),
                groups: vec![GROUP.to_owned()],
            }),
        }),
        client: Place::Other,
        groups: vec![stage.client.proxy.clone(), stage.server.proxy.clone()],
        processes: vec![near, far],
        ..Proxies::none()
    })
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that the client connects to.
    Near,
    /// The one that connects to the server.
    Far,
}

/// What an end of a pair needs.
pub(super) struct End<'a> {
    /// Where it runs.
    pub(super) host: &'a Host,
    /// Who it is.
    pub(super) own: &'a Credential,
    /// Who vouches for the other, and who that is.
    pub(super) certificates: &'a Certificates,
    /// Which one it is.
    pub(super) side: Side,
}

impl End<'_> {
    /// Certificate and key in one file, as HAProxy wants them.
    pub(super) fn pem(&self) -> Result<PathBuf, Trouble> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path)
                .map_err(|error| Trouble::new(format!("reading {}", path.display()), error))
        };
        let both = read(&self.own.certificate)? + &read(&self.own.key)?;
        self.host.write("own.pem", &both)
    }
}

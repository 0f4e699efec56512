//! A path that stands, and what a slice on it costs.

use std::{
    net::{SocketAddr, SocketAddrV4},
    path::Path,
    time::Duration,
};

use super::{Kind, Spec, direct, haproxy, iptables, nginx, relay, sidetrack, stunnel};
use crate::{
    Trouble,
    agent::{Client, Target},
    load::Load,
    measured::{Measured, Usage},
    stage::{self, Group, Process, Room, SERVER, Stage, Streams, machine},
};

/// Where the server's application listens.
pub(crate) const PORT: u16 = 7000;
/// Connections that a path must carry before it is taken for one that stands.
const PROOF: u32 = 20;

/// In which cgroup of its host the client lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The one that rules name.
    Selected,
    /// Another.
    Other,
}

/// What stands between client and server.
pub(crate) struct Proxies {
    /// Where the client connects to.
    pub(crate) dial: Target,
    /// Where it connects to when it speaks TLS itself, with what ends TLS at the far end.
    pub(crate) handshakes: Option<Target>,
    /// Where the client lives.
    pub(crate) client: Place,
    /// Whose use of the machine is that of the proxies.
    pub(crate) groups: Vec<Group>,
    /// What runs; ended in this order.
    pub(crate) processes: Vec<Process>,
}

impl Proxies {
    /// None, for a client that connects to the server and is not selected.
    pub(crate) fn none() -> Self {
        Self {
            dial: Target {
                to: server(PORT),
                tls: None,
            },
            handshakes: None,
            client: Place::Other,
            groups: Vec::new(),
            processes: Vec::new(),
        }
    }
}

/// A port of the server's host, as the client sees it.
pub(crate) fn server(port: u16) -> SocketAddr {
    SocketAddrV4::new(SERVER, port).into()
}

/// A path that stands, with an agent at each end.
pub struct Ready {
    agent: Client,
    // In the order in which they are ended: who connects goes before whom it connects to.
    client: Process,
    server: Process,
    proxies: Proxies,
    _stage: Stage,
}

/// Whether this host has all that `kind` needs.
///
/// # Errors
/// What is missing, with the fix.
pub fn available(kind: Kind) -> Result<(), Trouble> {
    stage::available()?;
    match kind {
        Kind::IptablesRelay | Kind::IptablesPassed => iptables::available(),
        Kind::RedirectHaproxy
        | Kind::IptablesHaproxy
        | Kind::TproxyHaproxy
        | Kind::HaproxyPair
        | Kind::HaproxyPairFull => haproxy::available(kind),
        Kind::NginxPair => nginx::available(),
        Kind::StunnelPair => stunnel::available(),
        _ => Ok(()),
    }
}

/// Sets up a path, and lets some connections through.
///
/// # Errors
/// What did not come up, with the end of its log.
pub fn set_up(spec: &Spec, room: &Room) -> Result<Ready, Trouble> {
    available(spec.kind)?;
    let stage = match spec.kind {
        Kind::TproxyHaproxy => Stage::with_router(room, spec.kind.name())?,
        kind => Stage::new(room, kind.name())?,
    };
    let proxies = match spec.kind {
        Kind::Direct => direct::set_up(),
        Kind::Unselected
        | Kind::Passed
        | Kind::Redirected
        | Kind::Mtls
        | Kind::MtlsTls
        | Kind::MtlsFull => sidetrack::set_up(&stage, spec, room),
        Kind::RedirectRelay | Kind::IptablesRelay => relay::set_up(&stage, spec, room),
        Kind::IptablesPassed => iptables::set_up(&stage, spec),
        Kind::RedirectHaproxy | Kind::IptablesHaproxy | Kind::TproxyHaproxy => {
            haproxy::behind(&stage, spec, room)
        }
        Kind::HaproxyPair | Kind::HaproxyPairFull => haproxy::pair(&stage, spec, room),
        Kind::NginxPair => nginx::pair(&stage, room),
        Kind::StunnelPair => stunnel::pair(&stage, room),
    }?;
    Ready::new(stage, proxies, room)
}

impl Ready {
    fn new(stage: Stage, proxies: Proxies, room: &Room) -> Result<Self, Trouble> {
        let at = server(PORT);
        let server = serve(&stage, room, at)?;
        let group = match proxies.client {
            Place::Selected => &stage.client.app,
            Place::Other => &stage.client.other,
        };
        let words = room.agent("client");
        let mut client = stage
            .client
            .spawn(group, room.program(), &words, Streams::Talk)?;
        let (stdin, stdout) = client.talk()?;
        let mut ready = Self {
            agent: Client::new(stdin, stdout),
            client,
            server,
            proxies,
            _stage: stage,
        };
        ready.prove()?;
        Ok(ready)
    }

    /// Lets some connections through. A path is not measured past the proxies that it is said to have.
    fn prove(&mut self) -> Result<(), Trouble> {
        let before = self.used()?;
        let sample = self.run(&Load::FirstByte { count: PROOF })?.sample;
        if sample.failed > 0 {
            let cause = format!("{} of {PROOF} connections failed", sample.failed);
            return Err(self.blame("trying the path", &cause));
        }
        let idle = self.used()?.into_iter().zip(before);
        match idle.filter(|(after, before)| after == before).count() {
            0 => Ok(()),
            _ => Err(self.blame(
                "trying the path",
                "connections went past a proxy that should carry them",
            )),
        }
    }

    /// CPU time of the proxies so far.
    fn used(&self) -> Result<Vec<Duration>, Trouble> {
        self.proxies.groups.iter().map(Group::cpu).collect()
    }

    /// Runs one slice, and gives what it cost.
    ///
    /// # Errors
    /// The load could not be run, with what the path's programs said.
    pub fn run(&mut self, load: &Load) -> Result<Measured, Trouble> {
        let target = match (load, &self.proxies.handshakes) {
            (Load::Handshake { .. }, Some(target)) => target,
            (Load::Handshake { .. }, None) => {
                return Err(
                    Trouble::new("measuring handshakes", "nothing ends TLS on this path")
                        .fix("ask for them on a path with mutual TLS"),
                );
            }
            _ => &self.proxies.dial,
        };
        let (before, machine) = (self.used()?, machine::cpu()?);
        let sample = self.agent.run(target, load);
        let machine = machine::cpu()?.saturating_sub(machine);
        let sample = match sample {
            Ok(sample) => sample,
            Err(trouble) => return Err(self.blame("running a slice", &trouble.to_string())),
        };
        let mut proxies = Usage::default();
        for (group, before) in self.proxies.groups.iter().zip(before) {
            let now = group.usage()?;
            proxies.cpu += now.cpu.saturating_sub(before);
            proxies.memory += now.memory;
        }
        Ok(Measured {
            sample,
            proxies,
            machine,
        })
    }

    /// A trouble of this path: with the log of whoever has ended, else of the client.
    fn blame(&mut self, doing: &str, cause: &str) -> Trouble {
        let others = self.proxies.processes.iter_mut().chain([&mut self.server]);
        let ended = others.into_iter().find_map(|process| {
            let gone = process.ended().is_some();
            gone.then_some(process)
        });
        match ended {
            Some(process) => process.trouble(doing, cause),
            None => self.client.trouble(doing, cause),
        }
    }
}

/// The server's application at `at`, which listens.
pub(crate) fn serve(stage: &Stage, room: &Room, at: SocketAddr) -> Result<Process, Trouble> {
    let mut words = room.agent("serve");
    words.extend(["--at".into(), at.to_string().into()]);
    let host = &stage.server;
    let mut server = host.spawn(&host.app, room.program(), &words, Streams::Log)?;
    server.wait_listening(at)?;
    Ok(server)
}

/// The build of `sidetrack` that is on the path.
pub(crate) fn program<'a>(spec: &'a Spec, room: &'a Room) -> &'a Path {
    spec.build.as_deref().unwrap_or(room.program())
}

//! A path that stands, and what a slice on it costs.

use std::{
    net::{SocketAddr, SocketAddrV4},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    Kind, Spec, direct, haproxy, iptables, nginx, relay,
    sidetrack::{self, Daemon},
    stunnel,
};
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
const RUNNING: &str = "running a slice";
/// How long a program that failed a connection may take to be gone, and how often that is looked at.
const DYING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

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
    /// The daemon of the client's host, which is ended first.
    pub(crate) daemon: Option<Daemon>,
    /// What runs beside; ended in this order.
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
            daemon: None,
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
    stage: Stage,
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
        Kind::TproxyHaproxy => Stage::with_router(room, spec.kind.name()),
        kind => Stage::new(room, kind.name()),
    }?;
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
    Ready::new(stage, proxies, room, spec.kind)
}

impl Ready {
    fn new(stage: Stage, proxies: Proxies, room: &Room, kind: Kind) -> Result<Self, Trouble> {
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
            stage,
        };
        ready.prove(kind)?;
        Ok(ready)
    }

    /// Lets some connections through, and looks who carried them: nothing is measured past the proxies
    /// that a path is said to have.
    fn prove(&mut self, kind: Kind) -> Result<(), Trouble> {
        let doing = "trying the path";
        let (used, redirected) = (self.used()?, self.redirected()?);
        let sample = self.run(&Load::FirstByte { count: PROOF })?.sample;
        if sample.failed > 0 {
            let reason = sample.reason.unwrap_or_default();
            let cause = format!("{} of {PROOF} connections failed: {reason}", sample.failed);
            return Err(self.blame(doing, &cause));
        }
        let redirected = self.redirected()? - redirected;
        let left_alone = matches!(kind, Kind::Unselected | Kind::Passed);
        let idle = self
            .used()?
            .iter()
            .zip(&used)
            .any(|(after, before)| after == before);
        let by_rule = self.proxies.daemon.is_none() || (redirected >= PROOF.into()) != left_alone;
        if by_rule && !idle {
            return Ok(());
        }
        let cause = match left_alone {
            true => "connections were redirected that should be left alone",
            false => "connections went past a proxy that should carry them",
        };
        Err(self.blame(doing, cause))
    }

    /// Connections that the daemon of the client's host has redirected so far.
    fn redirected(&self) -> Result<u64, Trouble> {
        match &self.proxies.daemon {
            Some(daemon) => daemon.redirected(&self.stage.client),
            None => Ok(0),
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
            Ok(sample) if sample.failed == 0 => sample,
            Ok(sample) => match self.gone() {
                Some(process) => {
                    let reason = sample.reason.as_deref();
                    return Err(process.trouble(RUNNING, reason.unwrap_or("connections failed")));
                }
                None => sample,
            },
            Err(trouble) => return Err(self.blame(RUNNING, &trouble.to_string())),
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

    /// One of the path's programs that has ended, which none should. One that is killed closes its
    /// sockets, which fails a connection, before anybody can see that it has ended.
    fn gone(&mut self) -> Option<&mut Process> {
        let deadline = Instant::now() + DYING;
        loop {
            let ended = self
                .programs()
                .position(|process| process.ended().is_some());
            if let Some(number) = ended {
                return self.programs().nth(number);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(LOOK);
        }
    }

    fn programs(&mut self) -> impl Iterator<Item = &mut Process> {
        let daemon = self.proxies.daemon.iter_mut();
        daemon
            .map(|daemon| &mut daemon.process)
            .chain(&mut self.proxies.processes)
            .chain([&mut self.server])
    }

    /// A trouble of this path: with the log of whoever has ended, else of the client.
    fn blame(&mut self, doing: &str, cause: &str) -> Trouble {
        match self.gone() {
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

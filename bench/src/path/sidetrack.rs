//! Daemons of our own: at the client's host, or at both.

use std::{fmt::Write as _, net::SocketAddr};

use super::{
    Kind, Place, Proxies, Spec, others,
    pair::GROUP,
    ready::{self, PORT, program},
};
use crate::{
    Trouble,
    agent::{Target, Tls},
    stage::{Certificates, Credential, Room, SERVER, Stage},
};

mod daemon;

pub(crate) use daemon::Daemon;

/// Where the server listens for clients that speak TLS themselves: no rule of the client's host names
/// it, so that they meet the daemon of the server's host.
const HANDSHAKES: u16 = 7001;

pub(super) fn set_up(stage: &Stage, spec: &Spec, room: &Room) -> Result<Proxies, Trouble> {
    let mut proxies = match spec.kind {
        Kind::Mtls | Kind::MtlsTls | Kind::MtlsFull => return pair(stage, spec, room),
        Kind::Passed => near(stage, spec, room, "", "action = \"ignore\"")?,
        _ => near(stage, spec, room, "", "action = \"passthrough\"")?,
    };
    if spec.kind == Kind::Unselected {
        proxies.client = Place::Other;
    }
    Ok(proxies)
}

/// A daemon that sends the client to a proxy of others, which listens at `at` on a socket of root.
pub(crate) fn redirect(
    stage: &Stage,
    spec: &Spec,
    room: &Room,
    at: SocketAddr,
) -> Result<Proxies, Trouble> {
    let tables = format!("[proxy.other]\nlisten = [\"{at}\"]\n");
    near(
        stage,
        spec,
        room,
        &tables,
        "action = \"redirect\"\nproxy = \"other\"",
    )
}

/// A daemon on the client's host, with so many rules that do the same.
fn near(
    stage: &Stage,
    spec: &Spec,
    room: &Room,
    tables: &str,
    action: &str,
) -> Result<Proxies, Trouble> {
    let host = &stage.client;
    let rules = outbound(host.app.name(), spec.rules, action);
    let daemon = Daemon::start(host, program(spec, room), &format!("{tables}{rules}"))?;
    Ok(Proxies {
        client: Place::Selected,
        groups: vec![host.proxy.clone()],
        daemon: Some(daemon),
        ..Proxies::none()
    })
}

/// A daemon on each host, and mutual TLS between them.
fn pair(stage: &Stage, spec: &Spec, room: &Room) -> Result<Proxies, Trouble> {
    let certificates = room.certificates()?;
    let host = &stage.server;
    let far = Daemon::start(
        host,
        program(spec, room),
        &(identity(&certificates, &certificates.server) + &inbound(&certificates)),
    )?;
    let handshakes = ready::server(HANDSHAKES);
    let server = ready::serve(stage, room, handshakes)?;
    let tables = identity(&certificates, &certificates.client);
    let wire = match spec.kind {
        Kind::Mtls => "wire = \"tunnel\"".to_owned(),
        // Where handshakes are compared with those of other make, they are of the same group.
        Kind::MtlsTls => format!("wire = \"tls\"\ngroups = [\"{GROUP}\"]"),
        _ => format!("wire = \"tls\"\ngroups = [\"{GROUP}\"]\nresumption = false"),
    };
    let action = format!(
        "action = \"mtls\"\nidentity = \"own\"\nexpect = [\"{}\"]\n{wire}",
        certificates.server.spiffe
    );
    let mut proxies = near(stage, spec, room, &tables, &action)?;
    proxies.groups.push(host.proxy.clone());
    proxies.processes.extend([far.process, server]);
    let group = match spec.kind {
        Kind::Mtls => "X25519MLKEM768",
        _ => GROUP,
    };
    proxies.handshakes = Some(Target {
        to: handshakes,
        tls: Some(Tls {
            server_name: certificates.server.name,
            ca: certificates.ca,
            certificate: certificates.client.certificate,
            key: certificates.client.key,
            groups: vec![group.to_owned()],
        }),
    });
    Ok(proxies)
}

fn identity(certificates: &Certificates, own: &Credential) -> String {
    format!(
        "[identity.own]\ncertificate = {:?}\nprivate_key = {:?}\n[trust.{:?}]\nbundle = {:?}\n",
        own.certificate,
        own.key,
        certificates.domain(),
        certificates.ca,
    )
}

fn inbound(certificates: &Certificates) -> String {
    format!(
        "[[inbound]]\nname = \"measured\"\nports = [\"{PORT}\", \"{HANDSHAKES}\"]\nidentity = \"own\"\n\
         accept = [\"tunnel\", \"mtls\"]\nallow = [\"{}\"]\n",
        certificates.client.spiffe
    )
}

/// Rules of which the last one is for the server, all for the client's cgroup.
fn outbound(cgroup: &str, rules: u32, action: &str) -> String {
    let mut toml = format!("[select.client]\ninclude = [{{ cgroup = {cgroup:?} }}]\n");
    let server = std::net::SocketAddrV4::new(SERVER, PORT);
    let all = others::destinations(rules.saturating_sub(1)).chain([server]);
    for (number, to) in all.enumerate() {
        let _ = writeln!(
            toml,
            "[[outbound]]\nname = \"rule-{number}\"\nselect = \"client\"\nto = [\"{}\"]\n\
             ports = [\"{}\"]\n{action}",
            to.ip(),
            to.port()
        );
    }
    toml
}

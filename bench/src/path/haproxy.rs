//! HAProxy: a pair of them, and one in plain text behind what intercepts.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
};

use super::{
    Kind, Place, Proxies, Spec, iptables,
    pair::{self, APP, End, FAR, GROUP, NEAR, SUITE, Side},
    relay::USER,
    sidetrack,
};
use crate::{
    Trouble,
    stage::{Group, Host, Process, Room, Stage, Streams, has},
};

/// Where it listens behind what intercepts.
const BEHIND: u16 = 15_001;
/// What one read takes, and one TLS record holds at most.
const BUFFER: u32 = 65_536;
/// The mark of packets that a router keeps for its proxy, and the table of routes for them.
const KEPT: &str = "1";

/// Whether it is there.
pub(crate) fn available(kind: Kind) -> Result<(), Trouble> {
    has("haproxy", "haproxy")?;
    match kind {
        Kind::IptablesHaproxy | Kind::TproxyHaproxy => iptables::available(),
        _ => Ok(()),
    }
}

/// One at each end, with mutual TLS between them.
pub(super) fn pair(stage: &Stage, spec: &Spec, room: &Room) -> Result<Proxies, Trouble> {
    let resumption = spec.kind != Kind::HaproxyPairFull;
    pair::set_up(stage, room, |end| {
        let configuration = global("") + &tls(&end, resumption)?;
        start(end.host, &end.host.proxy, &configuration)
    })
}

/// One that asks where its connections wanted to go: by SO_ORIGINAL_DST, which iptables answers or
/// we do, or by the address at which TPROXY let it accept them.
pub(super) fn behind(stage: &Stage, spec: &Spec, room: &Room) -> Result<Proxies, Trouble> {
    if spec.kind == Kind::TproxyHaproxy {
        return on_a_router(stage, spec);
    }
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, BEHIND);
    let host = &stage.client;
    let own = host.group("haproxy")?;
    let mut haproxy = start(host, &own, &plain(at, ""))?;
    haproxy.wait_listening(at.into())?;
    let mut proxies = match spec.kind {
        Kind::IptablesHaproxy => {
            iptables::redirect(host, spec.rules, BEHIND, USER)?;
            Proxies::none()
        }
        _ => sidetrack::redirect(stage, spec, room, at.into())?,
    };
    proxies.client = Place::Selected;
    proxies.groups.push(own);
    proxies.processes.push(haproxy);
    Ok(proxies)
}

fn on_a_router(stage: &Stage, spec: &Spec) -> Result<Proxies, Trouble> {
    let Some(router) = &stage.router else {
        return Err(Trouble::new(
            "setting up TPROXY",
            "the stage has no router between its hosts",
        ));
    };
    let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, BEHIND);
    let mut haproxy = start(router, &router.proxy, &plain(at, "transparent"))?;
    haproxy.wait_listening(at.into())?;
    router.ip(&["rule", "add", "fwmark", KEPT, "lookup", KEPT])?;
    let everything = ["route", "add", "local", "default", "dev", "lo"];
    router.ip(&[&everything[..], &["table", KEPT]].concat())?;
    iptables::tproxy(router, spec.rules, BEHIND, KEPT)?;
    Ok(Proxies {
        groups: vec![router.proxy.clone()],
        processes: vec![haproxy],
        ..Proxies::none()
    })
}

fn start(host: &Host, group: &Group, configuration: &str) -> Result<Process, Trouble> {
    let file = host.write("haproxy.cfg", configuration)?;
    // -db: in the foreground.
    let words = ["-db".as_ref(), "-f".as_ref(), file.as_os_str()];
    host.spawn(group, "haproxy", &words, Streams::Log)
}

/// What all have in common. There is no `log` line, so that nothing is logged.
fn global(more: &str) -> String {
    format!(
        "global\n  nbthread {}\n  maxconn {}\n  tune.bufsize {BUFFER}\n{more}\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
        pair::cpus(),
        pair::connections(),
    )
}

fn tls(end: &End<'_>, resumption: bool) -> Result<String, Trouble> {
    let own = end.pem()?;
    let own = format!(
        "ssl crt {} ca-file {} verify required ssl-min-ver TLSv1.3 ciphersuites {SUITE}",
        own.display(),
        end.certificates.ca.display()
    );
    let mut text = String::new();
    match end.side {
        Side::Near => {
            let reuse = if resumption { "" } else { "no-ssl-reuse" };
            let name = &end.certificates.server.name;
            let _ = writeln!(
                text,
                "listen near\n  bind {NEAR}\n  server far {FAR} {own} verifyhost {name} \
                 sni str({name}) {reuse}"
            );
        }
        // Sessions from its cache take a tenth less CPU time than sessions in tickets.
        Side::Far => {
            let _ = writeln!(
                text,
                "listen far\n  bind {FAR} {own} curves {GROUP} no-tls-tickets\n  server app {APP}"
            );
        }
    }
    Ok(text)
}

/// 0.0.0.0 without a port: whatever the client wanted.
fn plain(at: SocketAddrV4, how: &str) -> String {
    let user = format!("  uid {USER}\n");
    // A process that is not root keeps what it takes to bind to others' addresses.
    global(&user) + &format!("listen behind\n  bind {at} {how}\n  server asked-for 0.0.0.0\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::SERVER;

    #[test]
    fn the_buffers_and_threads_are_set_before_the_defaults() {
        let text = plain(SocketAddrV4::new(SERVER, 1), "transparent");
        let (global, rest) = text.split_once("defaults\n").unwrap();
        assert!(global.contains("nbthread"), "{global}");
        assert!(global.contains("uid 65534"), "{global}");
        assert!(rest.contains("bind 10.99.0.2:1 transparent"), "{rest}");
    }
}

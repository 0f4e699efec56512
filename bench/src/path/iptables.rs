//! What Sidetrack takes the place of: rules of iptables in OUTPUT of the table `nat`.
//!
//! The rules are written as deployments write them: the proxy's own user is exempted first, then comes a
//! rule for each destination. They, and with them the tracking of connections, are in the network
//! namespace of the client's host alone. The backend is that of the `iptables` in the path.

use std::{fmt::Write as _, net::SocketAddrV4};

use super::{Proxies, Spec, others, ready::PORT};
use crate::{
    Trouble,
    stage::{Host, SERVER, Stage, has},
};

/// Whether iptables is there.
pub(crate) fn available() -> Result<(), Trouble> {
    for program in ["iptables", "iptables-restore"] {
        has(program, "iptables")?;
    }
    Ok(())
}

/// Rules of which none is for the server.
pub(super) fn set_up(stage: &Stage, spec: &Spec) -> Result<Proxies, Trouble> {
    let rules = rules(others::destinations(spec.rules), 15_001, None);
    restore(&stage.client, &rules)?;
    Ok(Proxies::none())
}

/// Sends what goes to the server's port to one of this host, by the last of so many rules; what `user`
/// connects is left alone.
pub(crate) fn redirect(host: &Host, rules: u32, to: u16, user: u32) -> Result<(), Trouble> {
    let server = SocketAddrV4::new(SERVER, PORT);
    let all = others::destinations(rules.saturating_sub(1)).chain([server]);
    restore(host, &self::rules(all, to, Some(user)))
}

/// Lets what comes through this host on its way to the server's port be accepted at one of its own, by the
/// last of so many rules. `mark` is what its routes know such packets by. Those of connections that are
/// open go past the list.
pub(crate) fn tproxy(host: &Host, rules: u32, to: u16, mark: &str) -> Result<(), Trouble> {
    let mut text = format!(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:DIVERT - [0:0]\n-A DIVERT -j MARK --set-mark {mark}\n\
         -A DIVERT -j ACCEPT\n-A PREROUTING -p tcp -m socket --transparent -j DIVERT\n"
    );
    let server = SocketAddrV4::new(SERVER, PORT);
    for destination in others::destinations(rules.saturating_sub(1)).chain([server]) {
        let _ = writeln!(
            text,
            "-A PREROUTING -d {}/32 -p tcp -m tcp --dport {} -j TPROXY --on-port {to} --tproxy-mark {mark}",
            destination.ip(),
            destination.port()
        );
    }
    text.push_str("COMMIT\n");
    restore(host, &text)
}

/// Puts them in force, all at once.
fn restore(host: &Host, rules: &str) -> Result<(), Trouble> {
    host.run("iptables-restore", &["--wait"], rules).map(drop)
}

/// In the words of iptables-save(8).
fn rules(destinations: impl Iterator<Item = SocketAddrV4>, to: u16, exempt: Option<u32>) -> String {
    let mut text = String::from("*nat\n:OUTPUT ACCEPT [0:0]\n");
    if let Some(user) = exempt {
        let _ = writeln!(text, "-A OUTPUT -m owner --uid-owner {user} -j RETURN");
    }
    for destination in destinations {
        let _ = writeln!(
            text,
            "-A OUTPUT -d {}/32 -p tcp -m tcp --dport {} -j REDIRECT --to-ports {to}",
            destination.ip(),
            destination.port()
        );
    }
    text.push_str("COMMIT\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_user_comes_first_and_the_rule_that_matches_last() {
        let server = SocketAddrV4::new(SERVER, PORT);
        let text = rules(others::destinations(2).chain([server]), 15_001, Some(7));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "*nat",
                ":OUTPUT ACCEPT [0:0]",
                "-A OUTPUT -m owner --uid-owner 7 -j RETURN",
                "-A OUTPUT -d 100.64.0.0/32 -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 15001",
                "-A OUTPUT -d 100.64.0.1/32 -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 15001",
                "-A OUTPUT -d 10.99.0.2/32 -p tcp -m tcp --dport 7000 -j REDIRECT --to-ports 15001",
                "COMMIT"
            ]
        );
    }
}

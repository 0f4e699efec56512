//! What is said of the paths beside their figures.

use std::process::Command;

use super::Kind;

/// Of all pairs of other make.
macro_rules! pair {
    ($of:literal) => {
        concat!(
            $of,
            " TLS 1.3 with X25519, AES-128-GCM and ECDSA P-256, each end verifying the other; \
             TCP_NODELAY, no log. The client connects to the near one by its address: nothing is \
             intercepted. OpenSSL before 3.5 has no post-quantum key exchange to compare with."
        )
    };
}

impl Kind {
    /// How bytes go, in some words.
    pub fn about(self) -> &'static str {
        match self {
            Self::Direct => "nothing between client and server",
            Self::Unselected => "a daemon runs, and no rule selects the client",
            Self::Passed => "a rule is for the client, and leaves it alone",
            Self::Redirected => "through the daemon, in plain text",
            Self::Mtls => "a daemon at each end, tunnels of mutual TLS",
            Self::MtlsTls => "a daemon at each end, mutual TLS for each connection, resumed",
            Self::MtlsFull => "the same, a full handshake for each connection",
            Self::RedirectRelay => "Sidetrack's programs, and a plain relay",
            Self::IptablesRelay => "iptables REDIRECT, and the same relay",
            Self::IptablesPassed => "iptables has rules, and none is for the client",
            Self::RedirectHaproxy => "Sidetrack's programs, and HAProxy in plain text",
            Self::IptablesHaproxy => "iptables REDIRECT, and the same HAProxy",
            Self::TproxyHaproxy => "a router with iptables TPROXY, and HAProxy on it",
            Self::HaproxyPair => "HAProxy at each end, mutual TLS, sessions resumed",
            Self::HaproxyPairFull => "the same, a full handshake for each connection",
            Self::NginxPair => "NGINX at each end, mutual TLS, sessions resumed",
            Self::StunnelPair => "stunnel at each end, mutual TLS, sessions resumed",
        }
    }

    /// How it is configured, for those who judge its figures.
    pub fn notes(self) -> &'static str {
        match self {
            Self::Direct => "The two hosts are network namespaces on one veth pair, here as on all paths.",
            Self::Unselected => "The programs are attached above the client's cgroup, which no selection names.",
            Self::Passed => "action = \"ignore\": decided in connect(), then left alone.",
            Self::Redirected => {
                "action = \"passthrough\" on the client's host, one worker thread for each CPU, access records off."
            }
            Self::Mtls => {
                "wire = \"tunnel\": TLS 1.3 with X25519MLKEM768, AES-128-GCM and ECDSA P-256; a tunnel is \
                 reused by one connection after another. Access records off."
            }
            Self::MtlsTls => {
                "wire = \"tls\": TLS 1.3 with AES-128-GCM and ECDSA P-256, each connection with a handshake of \
                 its own whose session is resumed. groups = [\"X25519\"], the key exchange of the pairs \
                 of other make. Access records off."
            }
            Self::MtlsFull => {
                "wire = \"tls\", resumption = false, groups = [\"X25519\"]: the handshakes of haproxy-pair-full. \
                 Access records off."
            }
            Self::RedirectRelay => {
                "action = \"redirect\" to the benchmark's own relay, which asks for SO_ORIGINAL_DST."
            }
            Self::IptablesRelay => {
                "-j REDIRECT in OUTPUT of the table nat, to the same relay; the relay's user is exempted by \
                 the first rule, and the client's is the last."
            }
            Self::IptablesPassed => "All rules of OUTPUT in the table nat are looked at, and none fits.",
            Self::RedirectHaproxy => {
                "action = \"redirect\" to HAProxy in mode tcp, a thread for each CPU, buffers of 64 KiB, no log."
            }
            Self::IptablesHaproxy => {
                "-j REDIRECT in OUTPUT of the table nat, to the same HAProxy; its user is exempted by the \
                 first rule, and the client's is the last."
            }
            Self::TproxyHaproxy => {
                "-j TPROXY in PREROUTING of the table mangle of a host between the two, after -m socket for \
                 connections that are open; HAProxy as behind REDIRECT. Its wire has one hop more than the other paths."
            }
            Self::HaproxyPair => pair!(
                "nbthread for each CPU, tune.bufsize 64 KiB, sessions reused by tickets and cache."
            ),
            Self::HaproxyPairFull => pair!(
                "no-ssl-reuse at the near end, no-tls-tickets at the far one, else as haproxy-pair."
            ),
            Self::NginxPair => pair!(
                "stream module, a worker for each CPU with reuseport, proxy_buffer_size 64 KiB, \
                 proxy_ssl_session_reuse, ssl_session_cache and tickets."
            ),
            Self::StunnelPair => pair!("A thread for each connection, sessions cached."),
        }
    }

    /// The program of other make on the path, with its version as it says it. It is run for that.
    pub fn version(self) -> Option<String> {
        let (program, words): (_, &[&str]) = match self {
            Self::HaproxyPair | Self::HaproxyPairFull | Self::RedirectHaproxy => ("haproxy", &["-v"]),
            Self::IptablesHaproxy | Self::TproxyHaproxy => ("haproxy", &["-v"]),
            Self::NginxPair => ("nginx", &["-v"]),
            Self::StunnelPair => ("stunnel", &["-version"]),
            Self::IptablesRelay | Self::IptablesPassed => ("iptables", &["--version"]),
            _ => return None,
        };
        // NGINX and stunnel say it on standard error.
        let said = Command::new(program).args(words).output().ok()?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        said.lines().find_map(|line| version_in(line, program))
    }
}

/// `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://…`, `nginx version: nginx/1.22.1`,
/// `stunnel 5.68 on x86_64-pc-linux-gnu platform`, `iptables v1.8.9 (nf_tables)`.
fn version_in(line: &str, program: &str) -> Option<String> {
    let starts = line.get(..program.len())?.eq_ignore_ascii_case(program);
    let word = line
        .split_whitespace()
        .map(|word| word.rsplit_once('/').map_or(word, |(_, after)| after))
        .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))?;
    let backend = line.split_whitespace().find(|word| word.starts_with('('));
    let backend = backend.map_or_else(String::new, |backend| format!(" {backend}"));
    starts.then(|| format!("{program} {}{backend}", word.trim_start_matches('v')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_each_program_says() {
        for (line, program, version) in [
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "haproxy",
                "haproxy 2.6.12-1+deb12u4",
            ),
            ("nginx version: nginx/1.22.1", "nginx", "nginx 1.22.1"),
            ("stunnel 5.68 on x86_64-pc-linux-gnu platform", "stunnel", "stunnel 5.68"),
            ("iptables v1.8.9 (nf_tables)", "iptables", "iptables 1.8.9 (nf_tables)"),
        ] {
            assert_eq!(version_in(line, program).as_deref(), Some(version));
        }
        assert_eq!(version_in("Initializing inetd mode configuration", "stunnel"), None);
    }

    #[test]
    fn every_path_says_what_it_is_and_how_it_is_configured() {
        for kind in Kind::ALL {
            assert!(kind.about().len() > 10 && kind.notes().ends_with('.'), "{kind}");
        }
    }
}

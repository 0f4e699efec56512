//! How the paths are configured, for those who judge their figures.

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
    /// How it is configured, for those who judge its figures.
    pub fn notes(self) -> &'static str {
        match self {
            Self::Direct => {
                "The two hosts are network namespaces on one veth pair, here as on all paths."
            }
            Self::Unselected => {
                "The programs are attached above the client's cgroup, which no selection names."
            }
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
            Self::IptablesPassed => {
                "All rules of OUTPUT in the table nat are looked at, and none fits."
            }
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
                "nbthread for each CPU, tune.bufsize 64 KiB, sessions reused from the far end's cache \
                 (no-tls-tickets takes less CPU time than tickets)."
            ),
            Self::HaproxyPairFull => pair!("no-ssl-reuse at the near end, else as haproxy-pair."),
            Self::NginxPair => pair!(
                "stream module, a worker for each CPU with reuseport, proxy_buffer_size 64 KiB, \
                 proxy_ssl_session_reuse, ssl_session_cache and tickets."
            ),
            Self::StunnelPair => pair!("A thread for each connection, sessions cached."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_says_how_it_is_configured() {
        for kind in Kind::ALL {
            assert!(kind.notes().ends_with('.'), "{kind}");
        }
    }
}
